"""What the trainers under test have in common: batches, and turns.

A process that fits waits for a line after its first step and then after every so many,
so that several can take turns on one machine; while it waits it costs nothing. It runs
in the environments of all peers and knows nothing of Ribolex.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def read_order() -> dict[str, Any]:
    """Returns what the process was told to do, and sets its threads."""
    order: dict[str, Any] = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    torch.manual_seed(order["seed"])
    return order


def draw_batches(order: dict[str, Any]) -> Iterator[torch.Tensor]:
    """Yields float32 batches without end, every row once an epoch."""
    rows, size = np.load(order["rows"]), order["batch_rows"]
    mean, sigma = torch.from_numpy(np.load(order["scales"]))
    generator = np.random.default_rng(order["seed"])
    while True:
        shuffled = generator.permutation(len(rows))
        for start in range(0, len(rows) - size + 1, size):
            taken = rows.take(shuffled[start : start + size], axis=0)
            x = torch.from_numpy(taken).float()
            yield (x - mean) / sigma if order["standardised"] else x


class Turns:
    """Waits for the first turn when made, and for the next after each."""

    def __init__(self, steps_a_turn: int) -> None:
        self._steps_a_turn = steps_a_turn
        self._wait()

    def after(self, n_done: int) -> None:
        """Is told how many steps are done; ends the turn where it is time."""
        if (n_done - 1) % self._steps_a_turn == 0:
            wall, cpu = time.perf_counter(), time.process_time()
            self._say(n_done, wall - self._began[0], cpu - self._began[1])
            self._wait()

    def _say(self, n_done: int, wall_s: float, cpu_s: float) -> None:
        answer = {"n_done": n_done, "wall_s": wall_s, "cpu_s": cpu_s}
        print("answer", json.dumps(answer), flush=True)

    def _wait(self) -> None:
        sys.stdin.readline()
        self._began = time.perf_counter(), time.process_time()
