"""How fast a server encodes, stores and searches the bundled RNAs, over gRPC.

A server in a process of its own, one caller. Encoding is one stream of batches,
sequence codes only; search is by stored RNA (no model involved) and by sequence, one
call after the other. Recall is that of the ten best, against all RNAs compared
exactly by the same measure.

    python bench/serve.py [--model PATH] [--registry PATH] [--threads N]
        [--n-rnas N | --quick]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np

import ribolex_bundle
from ribolex.dictionary import Dictionary, SequenceCode
from ribolex.registry import open_registry
from ribolex.rna import Rna, read_rnas
from ribolex.server.convert.codes import decode_codes
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.pooled import PooledSearch
from ribolex.server.index.records import PooledCode
from ribolex.v1 import codes_pb2, collection_pb2, encoder_pb2
from ribolex.v1.collection_pb2_grpc import CollectionServiceStub
from ribolex.v1.encoder_pb2_grpc import EncoderServiceStub

BATCH = 64
N_QUERIES = 200
FAST = collection_pb2.SENSITIVITY_FAST
COLLECTION = "bench"


@contextmanager
def server(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Gives the address of a server that ends with the block."""
    file = folder / "address"
    command = [sys.executable, "-m", "ribolex.client", "serve", "--port", "0"]
    command += ["--data", str(folder / "data"), "--address-file", str(file)]
    command += ["--model", options.model, "--registry", options.registry]
    command += ["--threads", str(options.threads), "--log-level", "warning"]
    command += ["--batch-tokens", str(options.batch_tokens)]
    process = subprocess.Popen(command)
    try:
        while not file.exists():
            if process.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.05)
        yield file.read_text().strip()
    finally:
        process.terminate()
        process.wait(timeout=60)


def encode(
    stub: EncoderServiceStub, rnas: Sequence[Rna]
) -> tuple[codes_pb2.DictionaryRef, list[SequenceCode], float]:
    """Gives the dictionary used, the sequence code of each RNA, and the seconds."""
    requests = (
        encoder_pb2.EncodeStreamRequest(
            request=encoder_pb2.EncodeRequest(
                sequences=[rna.sequence for rna in rnas[start : start + BATCH]],
                options=encoder_pb2.EncodeOptions(pooling=codes_pb2.POOLING_COUNT),
            )
        )
        for start in range(0, len(rnas), BATCH)
    )
    begun_s, codes = time.perf_counter(), []
    for answer in stub.EncodeStream(requests):
        ref = answer.response.dictionary
        for result in answer.response.results:
            codes.append(decode_codes(result.encoded.sequence_code, "code").row(0))
    return ref, codes, time.perf_counter() - begun_s


def store(stub: CollectionServiceStub, rnas: Sequence[Rna]) -> float:
    """Stores the RNAs; gives the seconds."""
    stub.CreateCollection(collection_pb2.CreateCollectionRequest(name=COLLECTION))
    begun_s = time.perf_counter()
    stub.UpsertRnas(
        collection_pb2.UpsertRnasRequest(
            collection=COLLECTION,
            rnas=[
                collection_pb2.RnaRecord(name=str(start + i), sequence=rna.sequence)
                for i, rna in enumerate(rnas[start : start + BATCH])
            ],
        )
        for start in range(0, len(rnas), BATCH)
    )
    return time.perf_counter() - begun_s


def search(
    stub: CollectionServiceStub, queries: Sequence[collection_pb2.SearchSimilarRequest]
) -> tuple[list[list[int]], list[float]]:
    """Gives the hits of each query, and its milliseconds."""
    found, wait_ms = [], []
    for query in queries:
        begun_s = time.perf_counter()
        answer = stub.SearchSimilar(query)
        wait_ms.append(1e3 * (time.perf_counter() - begun_s))
        found.append([int(hit.rna.name) for hit in answer.hits])
    return found, wait_ms


def exact(
    codes: Sequence[SequenceCode], dictionary: Dictionary, queries: Sequence[int]
) -> list[list[float]]:
    """Gives, for each query, its score with every RNA; 0 with itself."""
    search = PooledSearch(SearchMeasure(), dictionary.features.idf)
    pooled = [PooledCode(features, values, values) for features, values in codes]
    search.index.put(range(len(codes)), 0, pooled)
    scores = np.zeros((len(queries), len(codes)))
    for row, query in zip(scores, queries, strict=True):
        found = search.nearest(search.weigh(pooled[query]), len(codes), exact=True)
        row[found.ids] = found.scores
    for query, row in zip(queries, scores, strict=True):
        row[query] = 0
    return [row.tolist() for row in scores]


def recall(found: list[list[int]], scores: list[list[float]]) -> float:
    """Gives the share of hits that are as good as the tenth best; ties count."""
    good = 0
    for hits, row in zip(found, scores, strict=True):
        tenth = sorted(row)[-10]
        good += sum(row[hit] >= tenth - 1e-6 for hit in hits)
    return good / (10 * len(found))


def main() -> None:
    """Runs it and prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--registry", default="bundled")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--n-rnas", type=int, default=5000)
    parser.add_argument(
        "--quick", action="store_const", dest="n_rnas", const=300, help="300 RNAs"
    )
    options = parser.parse_args()
    rnas = list(read_rnas(ribolex_bundle.sample_path()))
    rnas = [rna for rna in rnas if len(rna.sequence) <= 1022][: options.n_rnas]
    n_nucleotides = sum(len(rna.sequence) for rna in rnas)
    with tempfile.TemporaryDirectory() as folder:
        with server(options, Path(folder)) as address:
            channel = grpc.insecure_channel(address)
            encoder, collections = (
                EncoderServiceStub(channel),
                CollectionServiceStub(channel),
            )
            ref, codes, encode_s = encode(encoder, rnas)
            store_s = store(collections, rnas)
            picked = np.linspace(0, len(rnas) - 1, N_QUERIES).astype(int).tolist()
            by_name, name_ms = search(
                collections,
                [
                    collection_pb2.SearchSimilarRequest(
                        collection=COLLECTION, rna=str(i), sensitivity=FAST
                    )
                    for i in picked
                ],
            )
            _, sequence_ms = search(
                collections,
                [
                    collection_pb2.SearchSimilarRequest(
                        collection=COLLECTION,
                        sequence=rnas[i].sequence,
                        sensitivity=FAST,
                    )
                    for i in picked
                ],
            )
            channel.close()
        size_bytes = sum(
            file.stat().st_size for file in Path(folder, "data").rglob("*.sqlite3")
        )
    dictionary = open_registry(options.registry).get(f"{ref.name}@{ref.version}")
    figures = {
        "encode_nucleotides_per_s": n_nucleotides / encode_s,
        "encode_rnas_per_s": len(rnas) / encode_s,
        "store_rnas_per_s": len(rnas) / store_s,
        "disk_bytes_per_rna": size_bytes / len(rnas),
        "features_per_rna": float(np.mean([len(code.indices) for code in codes])),
        "search_by_rna_ms_p50": float(np.median(name_ms)),
        "search_by_rna_ms_p99": float(np.quantile(name_ms, 0.99)),
        "search_by_sequence_ms_p50": float(np.median(sequence_ms)),
        "search_by_sequence_ms_p99": float(np.quantile(sequence_ms, 0.99)),
    }
    setting = {
        **vars(options),
        "n_rnas": len(rnas),
        "n_nucleotides": n_nucleotides,
        "batch": BATCH,
        "dtype": "float32",
        "dictionary": f"{ref.name}@{ref.version}",
        "n_features": dictionary.sae.n_features,
        "k": dictionary.sae.k,
    }
    ratios = {"recall_at_10": recall(by_name, exact(codes, dictionary, picked))}
    print(
        json.dumps(
            {"bench": "serve", "setting": setting, "ratios": ratios, "figures": figures}
        )
    )


if __name__ == "__main__":
    main()
