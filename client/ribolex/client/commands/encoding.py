"""The commands `encode` and `embed`: RNAs in, a file of codes or activations out."""

from collections import deque
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ribolex.client import records
from ribolex.client.commands import options
from ribolex.client.commands.batches import count, drawn, noted, report_batch
from ribolex.client.commands.server import Server, with_server
from ribolex.client.embeddings import EmbeddingsWriter
from ribolex.client.fasta import read_fasta
from ribolex.client.local import LocalEmbedder, LocalEncoder
from ribolex.client.npz import CodesWriter
from ribolex.client.progress import progress

PerNucleotide = Annotated[
    bool,
    typer.Option(
        "--per-nucleotide", help="One row a nucleotide; row_offsets says whose."
    ),
]
Kept = Annotated[
    int | None, typer.Option("-k", min=1, help="Features kept for each nucleotide.")
]
Codes = Annotated[
    Path, typer.Option("--output", "-o", help="File to write, for scipy.sparse.")
]
Activations = Annotated[
    Path,
    typer.Option("--output", "-o", help="File to write: .npz or .safetensors."),
]
Layers = Annotated[
    list[int] | None,
    typer.Option(
        "--layer",
        min=1,
        metavar="LAYER",
        help="Counted from 1; may be given several times. Without it: the last.",
    ),
]


class Hook(StrEnum):
    """Which vector of a layer."""

    NORMED = "normed"
    RAW = "raw"


class Pooled(StrEnum):
    """How the activations of the nucleotides become that of their sequence."""

    MEAN = "mean"
    MAX = "max"


@with_server
def encode(
    server: Server,
    fasta: options.Fasta,
    out: Codes,
    local: options.Local = False,
    model: options.Model = "bundled",
    registry: options.Registry = None,
    device: options.Device = "cpu",
    precision: options.ModelPrecision = options.Precision.FLOAT32,
    per_nucleotide: PerNucleotide = False,
    pooling: Annotated[
        options.Pooling, typer.Option(help="How nucleotides make the code of an RNA.")
    ] = options.Pooling.MAX,
    k: Kept = None,
    dictionary: options.DictionaryName = None,
    degap: options.Degap = False,
    skip_rejected: options.SkipRejected = False,
    batch: options.Batch = 256,
    timeout: options.Timeout = 300.0,
) -> None:
    """Write the codes of RNAs as a scipy CSR matrix.

    Row i is the i-th RNA of the file, and "names" in the file written names it; two
    RNAs may have one name.
    """
    total = count(read_fasta(fasta)) if fasta.is_file() else None
    names: deque[str] = deque()
    sequences = noted(read_fasta(fasta), names)
    level: records.Level = "nucleotide" if per_nucleotide else "sequence"
    with ExitStack() as stack:
        writer = stack.enter_context(CodesWriter(out, per_nucleotide=per_nucleotide))
        if local:
            encoder = LocalEncoder(
                model=model, dictionary=dictionary, registry=registry,
                device=device, precision=precision.value,
            )  # fmt: skip
            codes = encoder.encode_stream(
                sequences, level=level, pooling=pooling.value, k=k, degap=degap
            )
        else:
            client = stack.enter_context(server.connect(timeout))
            codes = client.encode_stream(
                sequences,
                level=level,
                pooling=pooling.value,
                k=k,
                dictionary=dictionary,
                degap=degap,
                on_rejection="skip",
                batch=batch,
            )
        advance = stack.enter_context(progress("encoding", total))
        for encoded in codes:
            part = drawn(names, len(encoded))
            report_batch(encoded.rejections, part, skip_rejected)
            writer.add(part, encoded)
            advance(len(encoded))


@with_server
def embed(
    server: Server,
    fasta: options.Fasta,
    out: Activations,
    local: options.Local = False,
    model: options.Model = "bundled",
    device: options.Device = "cpu",
    precision: options.ModelPrecision = options.Precision.FLOAT32,
    layer: Layers = None,
    hook: Annotated[
        Hook,
        typer.Option(help="What the next layer reads, or the layer's own output."),
    ] = Hook.NORMED,
    pooled: Annotated[
        Pooled | None,
        typer.Option(help="One row an RNA; without it, one a nucleotide."),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Write float16, half as large.")
    ] = False,
    degap: options.Degap = False,
    skip_rejected: options.SkipRejected = False,
    batch: options.Batch = 256,
    timeout: options.Timeout = 300.0,
) -> None:
    """Write the language model's activations for RNAs.

    "activations" in the file written are rows of [layer, number]; RNA i of "names"
    owns rows row_offsets[i] up to row_offsets[i + 1].
    """
    total = count(read_fasta(fasta)) if fasta.is_file() else None
    names: deque[str] = deque()
    sequences = noted(read_fasta(fasta), names)
    layers = layer or []
    pooling: records.DensePooling | None = pooled.value if pooled else None
    with ExitStack() as stack:
        writer = stack.enter_context(EmbeddingsWriter(out))
        if local:
            embedder = LocalEmbedder(
                model=model, device=device, precision=precision.value
            )
            batches = embedder.embed_stream(
                sequences, layers=layers, hook=hook.value, pooling=pooling,
                half=half, degap=degap,
            )  # fmt: skip
        else:
            client = stack.enter_context(server.connect(timeout))
            batches = client.embed_stream(
                sequences, layers=layers, hook=hook.value, pooling=pooling,
                half=half, degap=degap, on_rejection="skip", batch=batch,
            )  # fmt: skip
        advance = stack.enter_context(progress("embedding", total))
        for embedded in batches:
            part = drawn(names, len(embedded))
            report_batch(embedded.rejections, part, skip_rejected)
            writer.add(part, embedded)
            advance(len(embedded))
