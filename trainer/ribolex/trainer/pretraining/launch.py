"""Starts a pretraining run: reads the data, spreads it over processes, scores it.

Knows nothing of the command line.
"""

import fcntl
import logging
import signal
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from ribolex.errors import InvalidRequestError
from ribolex.lm import MAX_NUCLEOTIDES, LanguageModel
from ribolex.rna import Rna, read_alignment_rows, read_rnas
from ribolex.trainer.corpus import open_corpus
from ribolex.trainer.pretraining.corpus import FramedRnas
from ribolex.trainer.pretraining.loop import Pretraining, PretrainingPlan
from ribolex.trainer.pretraining.scores import choose_letters, score_lm, spoil

_SCORED_RNAS = 400


@dataclass(frozen=True, slots=True)
class PretrainingData:
    """The files of a run."""

    rnas: Sequence[Path]
    """Tables of RNAs for masked-language-model batches, structures where known."""
    aligned: Path
    """Table of alignment rows for pair batches."""
    validation: Path
    """Table of RNAs of other families, scored at every checkpoint."""

    @classmethod
    def of_corpus(cls, folder: Path) -> "PretrainingData":
        """Returns the files of a corpus: train to learn from, validation to score.

        Raises:
            CorruptArtefactError: the corpus is not what was written.
            InvalidRequestError: it lacks RNAs, or the alignment rows of train.
        """
        corpus = open_corpus(folder)
        return cls(
            [corpus.needed_table("train")],
            corpus.needed_aligned("train"),
            corpus.needed_table("validation"),
        )


def launch(
    plan: PretrainingPlan,
    data: PretrainingData,
    out: Path,
    *,
    processes: int = 1,
    stop_at: float = float("inf"),
) -> None:
    """Runs or resumes pretraining in `out`; returns when every process has ended.

    Args:
        plan: sizes, losses, schedule.
        data: tables to read.
        out: folder of the checkpoint and log; one run a folder.
        processes: on CPU, processes of one thread each that average gradients.
        stop_at: Unix time after which the run ends at its next checkpoint.

    Raises:
        InvalidRequestError: another run is at work in `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    if processes == 1:
        with _alone_in(out):
            _run(plan, data, out, stop_at)
        return
    with _alone_in(out):
        pass  # says so here rather than from another process
    with tempfile.TemporaryDirectory() as folder:
        store = f"file://{folder}/store"
        arguments = (processes, store, plan, data, out, stop_at)
        spawn(_run_rank, arguments, nprocs=processes)  # type: ignore[no-untyped-call]


def _run_rank(
    rank: int,
    world: int,
    store: str,
    plan: PretrainingPlan,
    data: PretrainingData,
    out: Path,
    stop_at: float,
) -> None:
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.WARNING)
    torch.set_num_threads(1)
    # What `spawn` sends when the parent dies; a shell's background job ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    # The rank that writes holds the folder: it may outlive its parent.
    with _alone_in(out) if rank == 0 else nullcontext():
        _run(plan, data, out, stop_at)
    dist.barrier()  # gloo may abort where a rank leaves while another still talks
    dist.destroy_process_group()


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Holds a folder against other runs, until the process ends at the latest."""
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InvalidRequestError(
                "out", f"another run is at work in {out}; wait for it or stop it"
            ) from error
        yield


def _run(
    plan: PretrainingPlan, data: PretrainingData, out: Path, stop_at: float
) -> None:
    rnas = FramedRnas.of_rnas(read_rnas(path) for path in data.rnas)
    structures = {
        rna.sequence: rna.structure
        for path in data.rnas
        for rna in read_rnas(path)
        if rna.structure
    }
    aligned = FramedRnas.of_alignments(read_alignment_rows(data.aligned), structures)
    validation = spread(read_rnas(data.validation), _SCORED_RNAS)
    sequences = [rna.sequence for rna in validation]
    chosen = choose_letters(sequences)
    spoiled = spoil(sequences, chosen)

    def score(lm: LanguageModel) -> Mapping[str, float]:
        result = score_lm(lm, sequences, chosen, spoiled)
        masked = score_lm(lm, sequences, chosen)
        return {
            "validation_cross_entropy": round(result.cross_entropy, 4),
            "validation_accuracy": round(result.accuracy, 4),
            "validation_masked_cross_entropy": round(masked.cross_entropy, 4),
        }

    Pretraining(plan, rnas, aligned, out, score).run(stop_at)


def spread(rnas: Iterable[Rna], n: int) -> list[Rna]:
    """Returns `n` RNAs that fit the context, evenly spaced in the table's order."""
    fitting = [rna for rna in rnas if len(rna.sequence) <= MAX_NUCLEOTIDES]
    step = max(1, len(fitting) // n)
    return fitting[::step][:n]
