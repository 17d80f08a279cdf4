"""Sparse vectors searched by others' engines, in an environment of their own.

Started by bench/search.py; knows nothing of Ribolex. Vectors of length 1, largest inner
product first. Prints one JSON line: for each setting of the engine the ids found and
the seconds of each query, from the least to the most thorough.

    python bench/peers/sparse_search.py ENGINE VECTORS.npz
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

TOP = 10


class Vectors(NamedTuple):
    """Rows of sparse vectors."""

    bounds: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    width: int

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start, stop in zip(self.bounds, self.bounds[1:], strict=False):
            yield self.indices[start:stop], self.values[start:stop]

    def dense(self) -> np.ndarray:
        """Returns all rows of all columns."""
        out = np.zeros((len(self), self.width), np.float32)
        out[np.repeat(np.arange(len(self)), np.diff(self.bounds)), self.indices] = (
            self.values
        )
        return out


Search = Callable[[np.ndarray, np.ndarray], Sequence[int]]


def faiss_flat(rows: Vectors) -> Iterator[tuple[str, Search]]:
    """Yields exact search of dense vectors of 32 bits."""
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(rows.width)
    index.add(rows.dense())

    def search(indices: np.ndarray, values: np.ndarray) -> Sequence[int]:
        query = np.zeros((1, rows.width), np.float32)
        query[0, indices] = values
        return index.search(query, TOP)[1][0].tolist()  # type: ignore[no-any-return]

    yield "flat", search


def seismic(rows: Vectors) -> Iterator[tuple[str, Search]]:
    """Yields searches that cut more and more of the query and of blocks.

    Of all postings only the heaviest are kept, as it is meant to be used: with more of
    them the summaries of its blocks take minutes for a thousand vectors like these.
    """
    from seismic import SeismicDataset, SeismicIndex, get_seismic_string

    kind = get_seismic_string()
    names = np.array([str(i) for i in range(rows.width)], dtype=kind)
    data = SeismicDataset()
    for i, (indices, values) in enumerate(rows):
        data.add_document(str(i), names[indices], values)
    index = SeismicIndex.build_from_dataset(
        data,
        n_postings=400,
        doc_cut=5,
        num_threads=1,
    )
    for cut, factor in ((10, 0.8), (50, 0.8), (200, 0.9), (1000, 0.9), (3000, 1.0)):

        def search(
            indices: np.ndarray,
            values: np.ndarray,
            cut: int = cut,
            factor: float = factor,
        ) -> Sequence[int]:
            found = index.search(
                query_id="0",
                query_components=names[indices],
                query_values=values,
                k=TOP,
                query_cut=cut,
                heap_factor=factor,
            )
            return [int(name) for _, _, name in found]

        yield f"query_cut {cut}, heap_factor {factor}", search


def sindi(rows: Vectors) -> Iterator[tuple[str, Search]]:
    """Yields searches of VSAG's SINDI that prune less and less."""
    import pyvsag

    about = {
        "dtype": "sparse",
        "metric_type": "ip",
        "dim": rows.width,
        "index_param": {
            "use_reorder": True,
            "term_id_limit": rows.width,
            "doc_prune_ratio": 0.0,
            "window_size": 60000,
        },
    }
    index = pyvsag.Index("sindi", json.dumps(about))
    index.build(
        rows.bounds.astype(np.uint32),
        rows.indices.astype(np.uint32),
        rows.values,
        np.arange(len(rows)),
    )
    for prune in (0.8, 0.5, 0.2, 0.0):
        asked = {"query_prune_ratio": prune, "term_prune_ratio": 0, "n_candidate": 200}

        def search(
            indices: np.ndarray,
            values: np.ndarray,
            asked: str = json.dumps({"sindi": asked}),
        ) -> Sequence[int]:
            ids, _ = index.knn_search(
                np.array([0, len(indices)], np.uint32),
                indices.astype(np.uint32),
                values,
                TOP,
                asked,
            )
            return np.asarray(ids).ravel().tolist()  # type: ignore[no-any-return]

        yield f"query_prune_ratio {prune}", search


def qdrant_edge(rows: Vectors) -> Iterator[tuple[str, Search]]:
    """Yields exact search of a shard of Qdrant Edge, optimised."""
    import qdrant_edge as q

    folder = tempfile.mkdtemp()
    config = q.EdgeConfig(sparse_vectors={"code": q.EdgeSparseVectorParams()})
    shard = q.EdgeShard.create(folder, config)
    points = []
    for i, (indices, values) in enumerate(rows):
        vector = q.SparseVector(indices=indices.tolist(), values=values.tolist())
        points.append(q.Point(i, {"code": vector}, {}))
        if len(points) == 1000 or i == len(rows) - 1:
            shard.update(q.UpdateOperation.upsert_points(points))
            points = []
    shard.optimize()

    def search(indices: np.ndarray, values: np.ndarray) -> Sequence[int]:
        vector = q.SparseVector(indices=indices.tolist(), values=values.tolist())
        query = q.Query.Nearest(vector, using="code")
        return [p.id for p in shard.query(q.QueryRequest(query=query, limit=TOP))]

    yield "exact", search


def milvus_lite(rows: Vectors) -> Iterator[tuple[str, Search]]:
    """Yields exact search of Milvus Lite, in this process."""
    from pymilvus import DataType, MilvusClient

    client = MilvusClient(tempfile.mkdtemp() + "/codes.db")
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("code", DataType.SPARSE_FLOAT_VECTOR)
    params = client.prepare_index_params()
    params.add_index("code", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    client.create_collection("codes", schema=schema, index_params=params)
    part = []
    for i, (indices, values) in enumerate(rows):
        code = dict(zip(indices.tolist(), values.tolist(), strict=True))
        part.append({"id": i, "code": code})
        if len(part) == 500 or i == len(rows) - 1:
            client.insert("codes", part)
            part = []

    def search(indices: np.ndarray, values: np.ndarray) -> Sequence[int]:
        query = dict(zip(indices.tolist(), values.tolist(), strict=True))
        (hits,) = client.search("codes", [query], limit=TOP, anns_field="code")
        return [hit["id"] for hit in hits]

    yield "exact", search


ENGINES: dict[str, Callable[[Vectors], Iterator[tuple[str, Search]]]] = {
    "faiss_flat": faiss_flat,
    "seismic": seismic,
    "sindi": sindi,
    "qdrant_edge": qdrant_edge,
    "milvus_lite": milvus_lite,
}


def main() -> None:
    """Builds, searches, prints."""
    engine, path = sys.argv[1:]
    with np.load(path) as file:
        n, width = int(file["n_queries"]), int(file["width"])
        rows = Vectors(file["bounds"], file["indices"], file["values"], width)
        queries = Vectors(
            file["query_bounds"], file["query_indices"], file["query_values"], width
        )
    asked = list(queries)[:n]
    begun = time.perf_counter(), time.process_time()
    out: list[dict[str, Any]] = []
    build: tuple[float, float] | None = None
    for name, search in ENGINES[engine](rows):
        if build is None:
            now = time.perf_counter(), time.process_time()
            build = now[0] - begun[0], now[1] - begun[1]
        search(*asked[0])
        found, seconds, cpu = [], [], []
        for query in asked:
            start = time.perf_counter(), time.process_time()
            found.append(search(*query))
            seconds.append(time.perf_counter() - start[0])
            cpu.append(time.process_time() - start[1])
        out.append({"setting": name, "found": found, "s": seconds, "cpu_s": cpu})
    print(json.dumps({"build_s": build, "runs": out}))


if __name__ == "__main__":
    main()
