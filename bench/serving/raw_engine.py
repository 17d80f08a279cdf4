"""The engine in a process of its own, no gRPC, told what to do over standard input.

One JSON object a line comes in, one goes out:

    {"run": [[SEQUENCE, ...], ...], "in_flight": 8}   the seconds that orders took
    {"codes": [SEQUENCE, ...]}                        each one's sequence code

Codes are of `ribolex.server.engine.task.compute`, the engine's simple twin: what any
answer of a server is compared with.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from ribolex.dictionary import Dictionary
from ribolex.lm import LanguageModel, load_lm
from ribolex.registry import open_registry
from ribolex.server.dictionaries import choose_default
from ribolex.server.engine.encoding import EncodeTask, Encoding, Recipe
from ribolex.server.engine.front import Engine, Order
from ribolex.server.engine.plan import Lane
from ribolex.server.engine.queue import Limits
from ribolex.server.engine.task import compute
from ribolex.server.settings import BUNDLED, ServerSettings


def task(dictionary: Dictionary, text: str) -> EncodeTask:
    """Gives what a request without options asks for."""
    return EncodeTask(text, dictionary, Recipe(dictionary.sae.k, "max"))


async def run(
    engine: Engine,
    dictionary: Dictionary,
    orders: Sequence[Sequence[str]],
    in_flight: int,
) -> dict[str, float]:
    """Computes orders, so many at a time, as a stream's; gives the seconds."""
    room = asyncio.Semaphore(in_flight)

    async def one(sequences: Sequence[str]) -> None:
        async with room:
            answer = await engine.compute(
                Order(
                    sequences,
                    lambda text: task(dictionary, text),
                    lane=Lane.BULK,
                    is_patient=True,
                )
            )
            assert all(isinstance(each, Encoding) for each in answer.outcomes)

    begun = time.perf_counter(), time.process_time()
    await asyncio.gather(*map(one, orders))
    return {
        "wall_s": time.perf_counter() - begun[0],
        "cpu_s": time.process_time() - begun[1],
    }


def codes(lm: LanguageModel, dictionary: Dictionary, texts: Sequence[str]) -> list[Any]:
    """Gives features and values of each sequence code."""
    done = compute(lm, [task(dictionary, text) for text in texts])
    pooled = [each.pooled for each in done]
    return [[p.indices.tolist(), p.values.tolist()] for p in pooled if p is not None]


async def main() -> None:
    """Answers until standard input ends."""
    torch.set_num_threads(1)
    lm, registry = load_lm(BUNDLED), open_registry(BUNDLED)
    default = registry.get(choose_default(registry, lm))
    batch_tokens = ServerSettings.model_fields["batch_tokens"].default
    limits = Limits(int(sys.argv[1]), 512, batch_tokens)
    engine = Engine(lm, limits, max_nucleotides=2000)
    for line in iter(sys.stdin.readline, ""):  # nothing else goes on
        order = json.loads(line)
        if "run" in order:
            answer: Any = await run(engine, default, order["run"], order["in_flight"])
        else:
            answer = {"codes": codes(lm, default, order["codes"])}
        print(json.dumps(answer), flush=True)
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main())
