"""`python -m ribolex.client` is the `ribolex` command."""

from ribolex.client.cli import main

main()
