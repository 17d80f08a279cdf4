"""Everything under the services: loaded from the settings, and looked at by metrics.

Knows how the parts fit together; nothing of calls, nor of when they are let in.
"""

import asyncio
import logging
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from ribolex.dictionary import Dictionary
from ribolex.lm import LanguageModel, in_passing_thread, load_lm, sensible_threads
from ribolex.registry import open_registry
from ribolex.server.cache.memory import MemoryCache
from ribolex.server.cache.remote import ERRORS, RemoteCache
from ribolex.server.cache.results import ResultCache
from ribolex.server.dictionaries import Dictionaries, choose_default
from ribolex.server.engine.front import Engine
from ribolex.server.engine.observer import BatchDone, Observer
from ribolex.server.engine.plan import Lane
from ribolex.server.engine.queue import Limits
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.milvus import Milvus, MilvusAddress
from ribolex.server.index.recall_sample import RecallSample
from ribolex.server.index.store import CollectionStore, FindDictionary
from ribolex.server.index.tending import Tending
from ribolex.server.index.upkeep import RelativesOptions
from ribolex.server.metrics import Metrics, Reading
from ribolex.server.panel import panel_check
from ribolex.server.reindex import Reindexer
from ribolex.server.services.gate import Backend
from ribolex.server.services.room import Room
from ribolex.server.settings import ServerSettings
from ribolex.server.swaps import REASONS, Swaps
from ribolex.server.tracing import Tracing

_LOG = logging.getLogger(__name__)


def _observer(metrics: Metrics, tracing: Tracing | None) -> Observer:
    """Returns what has the engine's work counted."""

    def count(batch: BatchDone) -> None:
        metrics.batch_windows.observe(batch.n_windows)
        metrics.batch_tokens.observe(batch.n_tokens)
        metrics.stage_seconds.labels("prepare").observe(batch.prepare_s)
        metrics.stage_seconds.labels("compute").observe(batch.compute_s)

    return Observer(
        count,
        lambda reason: metrics.dropped_requests.labels(reason).inc(),
        metrics.failed_batches.inc,
        tracing,
    )


def _readings(backend: Backend, data: Path) -> list[Reading]:
    """Returns what can be looked up about a loaded server."""
    lm, room, store = backend.lm, backend.room, backend.collections
    queue, disk = backend.engine.queue, partial(shutil.disk_usage, data)
    found: list[Reading] = [
        Reading(
            "queue_tokens",
            "Tokens that wait.",
            lambda: _by_lane(queue.n_tokens),
            ("lane",),
        ),
        Reading(
            "queue_requests",
            "Requests that wait.",
            lambda: _by_lane(queue.n_requests),
            ("lane",),
        ),
        Reading("embedding_bytes", "Answers in memory.", lambda: room.n_taken),
        Reading("disk_free_bytes", "Free where --data is.", lambda: disk().free),
        Reading("disk_size_bytes", "Of that disk.", lambda: disk().total),
        Reading("collections", "Collections.", lambda: len(store.sizes)),
        Reading("index_codes", "RNAs in them.", lambda: sum(store.sizes.values())),
        Reading(
            "reindexing_collections",
            "On their way to another dictionary, and worked on.",
            lambda: len(backend.reindexer.n_left),
        ),
        Reading(
            "reindexing_rnas",
            "RNAs in them that are still to be encoded.",
            lambda: sum(backend.reindexer.n_left.values()),
        ),
        Reading(
            "search_recall_estimate",
            "Part of the hits there are that sensitive searches find.",
            lambda: store.recall,
        ),
        Reading(
            "model_info",
            "1, of the language model.",
            lambda: {(lm.name, lm.digest): 1.0},
            ("name", "digest"),
        ),
    ]
    found += _dictionary_readings(backend)
    found += _milvus_readings(store.tending)
    found += _cache_readings(backend.cache)
    if torch.cuda.is_available():
        read = torch.cuda.memory_allocated
        found.append(Reading("device_memory_bytes", "Taken by tensors.", read))
    return found


def _dictionary_readings(backend: Backend) -> list[Reading]:
    dictionaries, swaps = backend.dictionaries, backend.swaps

    def info() -> dict[tuple[str, ...], float]:
        return {
            (one.name, str(one.version), one.content_id, one.kind): 1.0
            for one in swaps.state()
        }

    return [
        Reading(
            "dictionary_info",
            "1, of the version in use and of the one kept for a rollback.",
            info,
            ("name", "version", "content_id", "state"),
        ),
        Reading("dictionaries", "Versions in memory.", lambda: dictionaries.n_loaded),
        Reading("watchers", "Open calls of Watch.", lambda: len(swaps.watchers)),
        Reading("registry_up", "1 if it answers.", lambda: not swaps.follower.away),
    ]


def _milvus_readings(tending: Tending | None) -> list[Reading]:
    return [
        Reading(
            "milvus_up",
            "0 if the Milvus of --milvus is away.",
            lambda: tending is None or tending.is_up,
        ),
        Reading(
            "milvus_behind_collections",
            "Collections that cannot be searched until the Milvus has their codes.",
            lambda: 0 if tending is None else tending.n_behind,
        ),
    ]


def _cache_readings(cache: ResultCache) -> list[Reading]:
    memory, remote = cache.memory, cache.remote
    return [
        Reading(
            "cache_bytes", "Taken by codes.", lambda: memory.n_bytes if memory else 0
        ),
        Reading("cache_entries", "Codes.", lambda: len(memory) if memory else 0),
        Reading(
            "cache_up",
            "0 if the cache of --cache is away.",
            lambda: remote is None or remote.is_up,
        ),
    ]


def _by_lane(numbers: Mapping[Lane, int]) -> dict[tuple[str, ...], float]:
    return {(lane.name.lower(),): float(n) for lane, n in numbers.items()}


async def load_backend(
    settings: ServerSettings, metrics: Metrics, tracing: Tracing | None
) -> Backend:
    """Returns everything under the services, loaded and running."""
    torch.set_num_threads(settings.threads or sensible_threads())
    load = partial(load_lm, device=settings.device, precision=settings.precision)
    lm = await in_passing_thread(load, settings.model)
    _LOG.info("model %s loaded, digest %s", lm.name, lm.digest[:12])
    registry = open_registry(settings.registry)
    default = settings.dictionary
    if not default:
        default = await asyncio.to_thread(choose_default, registry, lm)
    cache = _cache(settings, lm, metrics)
    engine = _engine(settings, lm, cache, _observer(metrics, tracing))
    try:
        check = panel_check(engine, settings.panel_agreement)
        dictionaries = Dictionaries(registry, lm, default, settings.device, check)

        async def find(name: str, version: int) -> Dictionary:
            return (await dictionaries.get(name, version)).dictionary

        found = await dictionaries.start()
        _LOG.info("dictionary %s loaded, the default", found.ref)
        collections = _collections(settings, metrics, find)
        dictionaries.bind(lambda: collections.bound)
        await collections.open()
        reindexer = Reindexer(engine, dictionaries, collections)
        await reindexer.resume()
    except BaseException:
        await engine.close()
        raise
    backend = Backend(
        lm,
        engine,
        dictionaries,
        collections,
        settings.max_sequences,
        settings.max_message_mib << 20,
        settings.max_scan_tokens,
        settings.steering,
        Room(settings.max_embedding_mib << 20),
        metrics,
        Swaps(dictionaries, metrics),
        cache,
        reindexer,
    )
    for reason in REASONS:
        metrics.swap_failures.labels(reason)
    metrics.watch(_readings(backend, settings.data.expanduser()))
    return backend


def _collections(
    settings: ServerSettings, metrics: Metrics, find: FindDictionary
) -> CollectionStore:
    data, milvus = settings.data.expanduser(), None
    if settings.milvus is not None:
        milvus = Milvus(MilvusAddress.parse(settings.milvus), data)
    options = RelativesOptions(
        settings.search_threads, RecallSample(settings.recall_sample), milvus
    )
    count = partial(_count_commit, metrics)
    return CollectionStore(data, SearchMeasure(), find, options, count)


def _count_commit(metrics: Metrics, n_changes: int, took_s: float) -> None:
    metrics.commit_changes.observe(n_changes)
    metrics.commit_seconds.observe(took_s)


def _cache(
    settings: ServerSettings, lm: LanguageModel, metrics: Metrics
) -> ResultCache:
    memory = MemoryCache(settings.cache_mib << 20) if settings.cache_mib else None
    remote = None
    for kind in (*ERRORS, "corrupt"):
        metrics.cache_errors.labels(kind)
    for store in ("memory", "remote"):
        for result in ("hit", "miss"):
            metrics.cache_lookups.labels(store, result)
    if settings.cache is not None:
        url = settings.cache.get_secret_value()
        remote = RemoteCache(
            url,
            settings.cache_ttl_s,
            lambda kind: metrics.cache_errors.labels(kind).inc(),
        )
    computed_by = f"{settings.device.partition(':')[0]} {lm.dtype}"
    return ResultCache(lm.digest, computed_by, memory, remote, metrics)


def _engine(
    settings: ServerSettings, lm: LanguageModel, cache: ResultCache, observer: Observer
) -> Engine:
    limits = Limits(
        max_tokens=settings.max_queue_tokens,
        max_requests=settings.max_queue_requests,
        batch_tokens=settings.batch_tokens,
    )
    return Engine(
        lm,
        limits,
        max_nucleotides=settings.max_nucleotides,
        observer=observer,
        cache=cache,
    )
