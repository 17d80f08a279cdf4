"""A server of one's own: started behind a private socket, stopped when done with.

Runs the `ribolex serve` of this interpreter. What the environment says of servers is
for others and does not reach it. Knows nothing of what is asked of it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from ribolex.client.errors import NotReadyError

_KEPT = {"RIBOLEX_CACHE", "RIBOLEX_ZENODO"}
"""Variables of ours that tell where models are."""
_START_S = 120.0
_STOP_S = 20.0


@contextlib.contextmanager
def running_server(
    folder: Path, data: Path | None = None, options: Sequence[str] = ()
) -> Iterator[str]:
    """Gives the address of a server that is ready, and stops it on the way out.

    It is stopped whatever ends the block: its end, an error, Ctrl-C, SIGTERM.
    To be used in the main thread, since it listens for signals.

    Args:
        folder: an empty one that only the caller can enter, for its socket and log.
        data: the folder of its collections; None: one in that folder.
        options: of `ribolex serve`, beside these.

    Raises:
        NotReadyError: it ended, or was not ready in two minutes; says its last words.
    """
    address_file, log_file = folder / "address", folder / "log"
    command = [sys.executable, "-m", "ribolex.client", "serve"]
    command += ["--host", f"unix:{folder / 'socket'}"]
    command += ["--data", str(data or folder / "data")]
    command += ["--address-file", str(address_file), *options]
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RIBOLEX_") or name in _KEPT
    }
    with _ending_by_signal(), log_file.open("wb") as log:
        # In a session of its own: Ctrl-C reaches it through us alone.
        child = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True, env=environment,
        )  # fmt: skip
        try:
            yield _address(child, address_file, log_file)
        finally:
            _stop(child)


def _address(child: "subprocess.Popen[bytes]", address: Path, log: Path) -> str:
    """Waits until the server has written where it is to be found."""
    give_up_s = time.monotonic() + _START_S
    while not address.exists():
        if child.poll() is not None or time.monotonic() > give_up_s:
            words = log.read_text(errors="replace").strip().splitlines()
            last = words[-1] if words else "it said nothing"
            raise NotReadyError(f"the server did not start: {last}")
        time.sleep(0.05)
    return address.read_text().strip()


def _stop(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    try:
        child.wait(_STOP_S)
    except BaseException:
        child.kill()
        child.wait()
        raise


@contextlib.contextmanager
def _ending_by_signal() -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into an exit that runs what is to be run before it."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {
        number: signal.signal(number, leave)
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
