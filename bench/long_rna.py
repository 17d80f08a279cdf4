"""What memory and time one long RNA takes of a server: encoded, stored and found.

A server in a process of its own, one caller, one random RNA. Before each call the
kernel's high-water mark of the server's resident memory is reset (Linux only), so a
peak is that call's own.

    python bench/long_rna.py [--model PATH] [--n-nucleotides N] [--threads N]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ribolex.client import Client, Rna

MIB = 1024  # of /proc's kB


def memory_mib(pid: int, key: str) -> float:
    """Gives VmRSS or VmHWM of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / MIB


def measure(pid: int, call: Callable[[], object]) -> dict[str, float]:
    """Gives what a call takes of a server."""
    before = memory_mib(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    begun_s = time.perf_counter()
    call()
    took_s = time.perf_counter() - begun_s
    peak = memory_mib(pid, "VmHWM")
    return {"before_mib": before, "peak_mib": peak, "took_s": took_s}


def run(client: Client, pid: int, text: str) -> dict[str, dict[str, float]]:
    """Gives what each kind of call takes."""
    # What any first call takes is not the long RNA's.
    client.encode([text[:1000]] * 2, level="both")
    client.create_collection("bench")
    calls: dict[str, Callable[[], object]] = {
        "encode_sequence": lambda: client.encode([text]),
        "encode_nucleotides": lambda: client.encode([text], level="nucleotide"),
        "embed_mean": lambda: client.embed([text], pooling="mean"),
        "embed_nucleotides": lambda: client.embed([text]),
        "store": lambda: client.upsert("bench", [Rna("long", text)]),
        "search": lambda: client.search("bench", sequence=text),
    }
    return {name: measure(pid, call) for name, call in calls.items()}


def main() -> None:
    """Runs it and prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--n-nucleotides", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    letters = np.random.default_rng(0).choice(list("ACGU"), options.n_nucleotides)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "address"
        command = [sys.executable, "-m", "ribolex.client", "serve", "--port", "0"]
        command += ["--data", f"{folder}/data", "--address-file", str(file)]
        command += ["--model", options.model, "--threads", str(options.threads)]
        command += ["--max-nucleotides", str(options.n_nucleotides)]
        process = subprocess.Popen([*command, "--log-level", "warning"])
        try:
            while not file.exists():
                if process.poll() is not None:
                    raise SystemExit("the server did not start")
                time.sleep(0.05)
            with Client(file.read_text().strip(), timeout_s=3600) as client:
                figures = run(client, process.pid, "".join(letters))
        finally:
            process.terminate()
            process.wait(timeout=60)
    line = {"bench": "long_rna", "setting": vars(options), "ratios": {}}
    print(json.dumps({**line, "figures": figures}))


if __name__ == "__main__":
    main()
