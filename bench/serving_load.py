"""A server under full load: what gRPC costs, who waits how long, and that none is lost.

Server, engine and padded server are processes of their own with one thread for the
model each, on the bundled model and dictionary, float32, over loopback; the caller is
this process. Requests are of 16 RNAs (calls in the overload: of 4), drawn as in
bench/lm_throughput.py: four in five from the sample in the box, every fifth joined
from such to 200 to 1,000 nt. Eight requests are at work at a time. Speeds are compared
by processor time of whoever computes, in turns, medians over rounds: other work on the
machine then matters little; figures by the clock stand beside them.

    python bench/serving_load.py [--quick]

    grpc_vs_engine              nucleotides a second of processor time, a server's
                                through a stream over the engine's without a server
    interactive_p99_vs_batch    single calls beside a stream that never ends: 99th
                                percentile of their wait over the time of one batch

Exits with 1 if anything was lost, wrong or left over. The last line is JSON.
"""

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from lm_throughput import draw_mix
from serving import faults, processes, speed, swapping, versions
from serving.caller import Load
from serving.speed import IN_FLIGHT, Interactive, Pass

_BATCH = 16
_QUEUE_TOKENS = 65_536
"""Room of each lane: half a minute's work, so that the overload ends soon."""
_DOCS = Path(__file__).parents[1] / "docs" / "metrics.md"


class Bench:
    """Collects what is measured, and prints it as it comes."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.figures: dict[str, float] = {}
        self.ratios: dict[str, float] = {}
        self.wrongs: list[str] = []
        mix = draw_mix(1600)
        self.loads = [Load.of(mix[i : i + _BATCH]) for i in range(0, len(mix), _BATCH)]
        self.begun_s = time.monotonic()

    def tell(self, **figures: float) -> None:
        """Keeps and prints figures."""
        self.figures |= figures
        passed_s = time.monotonic() - self.begun_s
        text = ", ".join(f"{name} {number:.4g}" for name, number in figures.items())
        print(f"[{passed_s:5.0f} s] {text}", flush=True)

    def keep(self, result: faults.Result) -> None:
        """Keeps what a trial gave."""
        self.tell(**result.figures)
        for wrong in result.wrongs[:20]:
            print(f"WRONG: {wrong}", flush=True)
        self.wrongs += result.wrongs


async def throughput(
    bench: Bench,
    server: processes.Server,
    padded: processes.Server,
    engine: processes.RawEngine,
) -> float:
    """Measures all in turns; gives what the server does, nucleotides a second."""
    options = bench.options
    warm = speed.engine_pass(engine, bench.loads[:4])
    await speed.calls_pass(server, bench.loads[:4])
    await speed.calls_pass(padded, bench.loads[:1])
    per_load = warm.n_nucleotides / 4
    n = round(options.round_s * warm.per_s / per_load)
    n = min(max(n, IN_FLIGHT), len(bench.loads))
    rounds: dict[str, list[Pass]] = {}
    for turn in range(options.rounds):
        loads = [speed.rotated(load, turn + 1) for load in bench.loads[:n]]
        few = loads[: max(4, n // 4)]
        found = {
            "engine": speed.engine_pass(engine, loads),
            "stream": await speed.stream_pass(server, loads),
            "batch": await speed.calls_pass(server, loads),
            "padded": await speed.stream_pass(padded, few),
        }
        for name, one in found.items():
            rounds.setdefault(name, []).append(one)
            bench.tell(
                **{
                    f"{name}_nucleotides_per_cpu_s": one.per_cpu_s,
                    f"{name}_nucleotides_per_s": one.per_s,
                }
            )
    for name, passes in rounds.items():
        bench.figures |= {
            f"{name}_nucleotides_per_cpu_s": median(p.per_cpu_s for p in passes),
            f"{name}_nucleotides_per_s": median(p.per_s for p in passes),
        }
    streams = rounds["stream"]
    share = median(p.caller_cpu_s / (p.caller_cpu_s + p.cpu_s) for p in streams)
    bench.tell(requests_per_pass=n, caller_share_of_cpu=share)
    by_cpu: Callable[[Pass], float] = lambda one: one.per_cpu_s  # noqa: E731
    by_clock: Callable[[Pass], float] = lambda one: one.per_s  # noqa: E731
    for name, of, base, rate in (
        ("grpc_vs_engine", "stream", "engine", by_cpu),
        ("grpc_batch_vs_engine", "batch", "engine", by_cpu),
        ("grpc_vs_engine_by_clock", "stream", "engine", by_clock),
        ("grpc_batch_vs_engine_by_clock", "batch", "engine", by_clock),
        ("vs_padded", "stream", "padded", by_cpu),
        ("vs_padded_by_clock", "stream", "padded", by_clock),
    ):
        pairs = zip(rounds[of], rounds[base], strict=True)
        bench.ratios[name] = median(rate(a) / rate(b) for a, b in pairs)
        print(f"  {name} {bench.ratios[name]:.3f}", flush=True)
    return bench.figures["batch_nucleotides_per_s"]


async def waits(
    bench: Bench, server: processes.Server, padded: processes.Server
) -> None:
    """Measures interactive calls beside a stream, on both servers."""
    sample = [load for load in bench.loads for load in map(_single, load.sequences)]
    found: dict[str, Interactive] = {}
    for name, one in (("interactive", server), ("padded_interactive", padded)):
        got = await speed.interactive(
            one, bench.loads, sample, bench.options.interactive_s
        )
        found[name] = got
        bench.tell(
            **{
                f"{name}_calls": len(got.waits_s),
                f"{name}_p50_s": got.wait_s(0.5),
                f"{name}_p99_s": got.wait_s(0.99),
                f"{name}_bulk_nucleotides_per_s": got.bulk_per_s,
            }
        )
        if got.n_failed:
            bench.wrongs.append(f"{got.n_failed} calls failed beside a stream")
    ours, theirs = found["interactive"], found["padded_interactive"]
    bench.tell(batch_s=ours.batch_s)
    bench.ratios |= {
        "interactive_p50_vs_batch": ours.wait_s(0.5) / ours.batch_s,
        "interactive_p99_vs_batch": ours.wait_s(0.99) / ours.batch_s,
        "padded_interactive_p99_vs_ours": theirs.wait_s(0.99) / ours.wait_s(0.99),
    }


def check_metrics(bench: Bench, server: processes.Server) -> None:
    """Notes metrics that the docs do not name."""
    names = {name for name, _ in server.metrics()}
    known = set(re.findall(r"`((?:ribolex|process)_\w+)`", _DOCS.read_text()))
    known |= {name.removesuffix("_total") for name in known}
    suffix = re.compile(r"_(bucket|sum|count|created)$")
    unknown = {n for n in names if n not in known and suffix.sub("", n) not in known}
    bench.tell(metrics_scraped=len(names), metrics_not_in_docs=len(unknown))
    bench.wrongs += [f"docs/metrics.md has no {name}" for name in sorted(unknown)]


async def run(bench: Bench) -> None:
    """Runs everything; results are in the bench."""
    options = bench.options
    with ExitStack() as stack:
        engine = processes.RawEngine(_QUEUE_TOKENS)
        stack.callback(engine.close)
        flags = {"max_queue_tokens": _QUEUE_TOKENS, "log_format": "json"}
        server = stack.enter_context(processes.ribolex(bench.folder, "server", **flags))
        padded = stack.enter_context(processes.padded(bench.folder))
        print("started", flush=True)
        capacity = await throughput(bench, server, padded, engine)
        compared = wrong = 0
        for one in (server, padded):
            found = await speed.check_answers(
                one, bench.loads[: options.n_checked], engine
            )
            compared, wrong = compared + found[0], wrong + found[1]
        bench.tell(answers_compared=compared, answers_wrong=wrong)
        if wrong:
            bench.wrongs.append(f"{wrong} of {compared} codes differ from the twin's")
        await waits(bench, server, padded)
        padded.popen.kill()
        small = [Load.of(load.sequences[:4]) for load in bench.loads]
        mean = sum(load.n_nucleotides for load in small) / len(small)
        rate = 10 * capacity / mean
        bench.keep(await faults.overload(server, small, rate, options.overload_s))
        check_metrics(bench, server)
        bench.keep(await faults.terminate(server, small, callers=24))
        await swaps(bench, engine)


async def swaps(bench: Bench, engine: processes.RawEngine) -> None:
    """Swaps dictionaries under load, then kills the Redis of registry and cache."""
    loads = [Load.of(load.sequences[:4]) for load in bench.loads[:48]]
    texts = [text for load in loads for text in load.sequences]
    codes = speed.as_codes(engine.ask(codes=texts)["codes"])
    with versions.valkey(bench.folder / "valkey") as redis:
        url = f"{redis.url}?artefacts={bench.folder / 'artefacts'}"
        name, n_features = versions.publish_versions(url, bench.folder)
        oracle = swapping.Oracle(dict(zip(texts, codes, strict=True)), n_features)
        flags = {"registry": url, "cache": redis.url, "batch_tokens": 512}
        with processes.ribolex(bench.folder, "swapping", **flags) as server:
            n_swaps, seconds = bench.options.swaps, bench.options.redis_s
            traffic = swapping.Traffic(loads)
            bench.keep(await swapping.swap(server, name, traffic, oracle, n_swaps))
            traffic = swapping.Traffic(loads)
            bench.keep(
                await swapping.lose_redis(server, name, redis, traffic, oracle, seconds)
            )


def _single(sequence: str) -> Load:
    return Load.of([sequence])


def main() -> None:
    """Runs it and prints one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="less of everything")
    options = parser.parse_args()
    options.rounds, options.round_s = (1, 2.0) if options.quick else (3, 8.0)
    options.interactive_s = 10.0 if options.quick else 60.0
    options.overload_s = 8.0 if options.quick else 60.0
    options.swaps, options.redis_s = (20, 4.0) if options.quick else (100, 10.0)
    options.n_checked = 1 if options.quick else 8
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, Path(folder))
        asyncio.run(run(bench))
    setting = {
        "quick": options.quick,
        "threads": 1,
        "dtype": "float32",
        "rnas_per_request": _BATCH,
        "in_flight": IN_FLIGHT,
        "max_queue_tokens": _QUEUE_TOKENS,
        "padded_batch": 32,
    }
    print(
        json.dumps(
            {
                "bench": "serving_load",
                "setting": setting,
                "ratios": bench.ratios,
                "figures": bench.figures,
                "wrongs": bench.wrongs,
            }
        )
    )
    sys.exit(bool(bench.wrongs))


if __name__ == "__main__":
    main()
