"""`ribolex demo`: the whole path on real RNAs, from an empty folder to its end.

Starts a server, indexes the sample in the box, looks at three RNAs and at one
feature, and measures how good a neighbour the nearest RNA is.
"""

import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.text import Text

from ribolex.client import cards, output, records
from ribolex.client.child import running_server
from ribolex.client.client import Client
from ribolex.client.families import draw_queries, rate_by_kmers, rate_by_search
from ribolex.client.hits_view import print_hits
from ribolex.client.progress import progress
from ribolex.client.tables import read_rnas
from ribolex.client.tracks import Track, draw, marks

_COLLECTION = "rfam-sample"
_SHOWN = (
    ("a tRNA", "Gene;tRNA"),
    ("a riboswitch", "Cis-reg;riboswitch"),
    ("a snoRNA", "Gene;snRNA;snoRNA;CD-box"),
)
_N_FEATURES = 5
_N_HITS = 4
_N_QUERIES = 1000
_TIMEOUT_S = 120.0


def run_demo(console: Console) -> None:
    """Shows all of it on the console, in a few minutes at most.

    Raises:
        RibolexError: the server failed.
        OSError: the sample is missing, or there is no room for temporary files.
    """
    sample = list(read_rnas(import_module("ribolex_bundle").sample_path()))
    with tempfile.TemporaryDirectory(prefix="ribolex-demo-") as folder:
        _say(console, "Starting a server with the model and the dictionary in the box.")
        with (
            running_server(Path(folder)) as address,
            Client(address, timeout_s=_TIMEOUT_S) as client,
        ):
            _index(console, client, sample)
            cards = _Cards(client)
            tops = [
                _show_rna(console, client, cards, title, rna)
                for title, rna in _choose(sample)
            ]
            _show_feature(console, client, tops[0])
            _measure(console, client, sample)
        _say(console, "Done; the server is stopped and its folder removed.")


def _say(console: Console, text: str) -> None:
    console.print(Text(text))


def _heading(console: Console, text: str) -> None:
    console.print()
    console.rule(Text(text, "bold"), align="left", characters="-")


def _index(console: Console, client: Client, sample: list[records.Rna]) -> None:
    client.create_collection(_COLLECTION)
    begun_s = time.monotonic()
    with progress("indexing", len(sample)) as advance:
        report = client.upsert(_COLLECTION, sample, on_progress=advance)
    took_s = time.monotonic() - begun_s
    families = {rna.metadata["family"] for rna in sample}
    n_nucleotides = sum(len(rna.sequence) for rna in sample)
    _say(
        console,
        f"Indexed {report.n_inserted:,} real RNAs of {len(families)} Rfam families "
        f"({n_nucleotides:,} nucleotides) in {took_s:.0f} s.",
    )


def _choose(sample: list[records.Rna]) -> Iterable[tuple[str, records.Rna]]:
    """Yields the first RNA in the sample of each type that is shown."""
    for title, kind in _SHOWN:
        rna = next(rna for rna in sample if rna.metadata["type"] == kind)
        yield title, rna


class _Weighted(NamedTuple):
    """A feature of an RNA, and how telling it is."""

    weight: float
    feature: records.Feature


class _Cards:
    """What the dictionary says of features, each asked for once."""

    def __init__(self, client: Client) -> None:
        self._ask = partial(client.feature, max_examples=0, max_nearest=0)
        self._known: dict[int, records.Feature] = {}

    def strongest(self, code: records.StoredRna) -> list[_Weighted]:
        """Returns an RNA's features, those that are strong and rare first."""
        codes = code.nucleotide_codes
        if codes is None:
            return []
        indices, places = np.unique(codes.indices, return_inverse=True)
        values = np.zeros(len(indices), np.float32)
        np.maximum.at(values, places, codes.values)
        new = [int(i) for i in indices if int(i) not in self._known]
        with ThreadPoolExecutor(8) as pool:
            for card in pool.map(self._ask, new):
                self._known[card.feature.id] = card.feature
        found = [self._known[int(i)] for i in indices]
        weights = np.log1p(values) * np.sqrt([feature.idf for feature in found])
        order = np.argsort(-weights, kind="stable")
        return [_Weighted(float(weights[i]), found[i]) for i in order]


def _show_rna(
    console: Console, client: Client, cards: _Cards, title: str, rna: records.Rna
) -> int:
    """Shows one RNA and its neighbours; returns its strongest feature."""
    labels = f"{rna.metadata['family']}, {rna.metadata['type']}"
    _heading(console, f"{title}: {rna.name}  {labels}, {len(rna.sequence)} nt")
    stored = client.get_rna(_COLLECTION, rna.name, level="both")
    strongest = cards.strongest(stored)
    _say(
        console, f"Its {_N_FEATURES} strongest of {len(strongest)} features, and where:"
    )
    console.print()
    top = [one.feature for one in strongest[:_N_FEATURES]]
    for line in draw(_tracks(console, stored, top), console.width):
        console.print(line, no_wrap=True, crop=True)
    console.print()
    for one in top:
        line = Text("  ").append(f"f{one.id}", "cyan").append(f"  {one.label or '-'}")
        line.append(f"  (in {one.density:.2%} of all nucleotides)", "dim")
        console.print(line, no_wrap=True, overflow="ellipsis")
    hits = client.search(
        _COLLECTION, rna=rna.name, top_k=_N_HITS, max_shared_features=2
    )
    _say(console, "\nThe RNAs most like it, and the features that make the score")
    _say(console, "(what each adds; the nucleotides here | there in which it fires).")
    if hits.sensitivity != "fast":
        _say(
            console,
            "E-value: how many hits this good chance would make in this search.",
        )
    console.print()
    print_hits(console, hits)
    return top[0].id


def _tracks(
    console: Console, stored: records.StoredRna, features: list[records.Feature]
) -> list[Track]:
    """Returns the letters, the structure and a track for each feature."""
    rna, codes = stored.rna, stored.nucleotide_codes
    tracks = [Track("", rna.sequence, "bold")]
    if rna.structure:
        tracks.append(Track("", rna.structure, "dim"))
    if codes is None:
        return tracks
    rows = np.repeat(np.arange(len(codes)), np.diff(codes.indptr))
    is_plain = output.has_ascii_only(console)
    for feature in features:
        fires = codes.indices == feature.id
        values = dict(
            zip(rows[fires].tolist(), codes.values[fires].tolist(), strict=True)
        )
        signs = marks(len(rna.sequence), values, ascii_only=is_plain)
        tracks.append(Track(f"f{feature.id}", signs, "cyan"))
    return tracks


def _show_feature(console: Console, client: Client, feature: int) -> None:
    _heading(console, "one feature's evidence card")
    card = client.feature(
        feature, collection=_COLLECTION, max_examples=2, max_nearest=3
    )
    cards.print_card(console, card)


def _measure(console: Console, client: Client, sample: list[records.Rna]) -> None:
    _heading(console, "is the nearest RNA of the same family?")
    queries = draw_queries(sample, _N_QUERIES, seed=0)
    begun_s = time.monotonic()
    by_search = rate_by_search(client, _COLLECTION, sample, queries)
    took_ms = (time.monotonic() - begun_s) * 1000 / len(queries)
    by_kmers = rate_by_kmers(sample, queries)
    _say(
        console,
        f"Of {len(queries):,} RNAs drawn at random, {by_search:.1%} have one of their "
        f"own family as the nearest; by cosine of 4-mer counts {by_kmers:.1%}. "
        f"Most of these families were in the training data; {took_ms:.0f} ms a search.",
    )
