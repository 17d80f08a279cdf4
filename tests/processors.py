"""What a program prints on this processor, and on one without wide registers."""

import os
import subprocess
import sys


def told_by_wide_and_narrow(program: str) -> tuple[str, str]:
    """Gives what it prints here, and where compiled loops are for any processor."""
    wide, narrow = (
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | narrower,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for narrower in ({}, {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""})
    )
    return wide, narrow
