"""`python -m ribolex.trainer`: `ribolex trainer`, for torchrun."""

from ribolex.trainer.commands.trainer import main

if __name__ == "__main__":
    main()
