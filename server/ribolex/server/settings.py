"""What a server can be told, each thing once.

A field is a flag, a RIBOLEX_ variable, its default and its help. Knows nothing of
what is done with it.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

BUNDLED = "bundled"
"""Stands for what comes in the box, where a path is expected."""

MAX_NUCLEOTIDES = 100_000
"""Longest sequence that is taken, unless it is told otherwise."""


class ServerSettings(BaseSettings):
    """Serves codes of RNAs and search; --log-level is also RIBOLEX_LOG_LEVEL, etc."""

    model_config = SettingsConfigDict(
        env_prefix="RIBOLEX_",
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_prog_name="ribolex serve",
    )

    host: str = "127.0.0.1"
    """Address to listen on. There is no encryption and no password yet: with any
    other than a loopback address, everybody who can reach it may use the server."""

    port: int = Field(default=50051, ge=0, le=65535)
    """Port to listen on; 0 takes a free one, see --address-file."""

    address_file: Path | None = None
    """File to write "host:port" into once the server is ready; for scripts."""

    model: str = BUNDLED
    """Language model: "bundled", a name (see ribolex models list), or a path."""

    registry: str = BUNDLED
    """Dictionaries: "bundled", the folder that they were published to, or
    redis://HOST:PORT/0?artefacts=FOLDER (docs/registry.md)."""

    dictionary: str | None = None
    """Dictionary for requests that name none: "name" for its current version, or
    "name@version". Not given: the first by name that fits the model."""

    data: Path = Path("~/.local/share/ribolex")
    """Folder that holds the collections; made if it is not there. One server at a
    time."""

    device: str = "cpu"
    """Where the model runs, as torch names it: "cpu", "cuda", "cuda:1"."""

    threads: int = Field(default=0, ge=0)
    """CPU threads for the model; 0 takes all cores, or a container's CPU quota."""

    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Of the model's matrix products. "auto" takes bfloat16 where the device has units
    for it: faster, and of the 16 features of a nucleotide one in two hundred becomes
    another (docs/benchmarks.md)."""

    max_nucleotides: int = Field(default=MAX_NUCLEOTIDES, ge=1)
    """Longest sequence; a longer one is refused with INVALID_ARGUMENT. One beyond the
    model's context of 1,022 is read in overlapping windows, in batches between those
    of others. What --max-queue-tokens has no room for is refused as well."""

    max_sequences: int = Field(default=256, ge=1)
    """Most sequences in one Encode; past it a call fails with INVALID_ARGUMENT."""

    max_queue_tokens: int = Field(default=1_048_576, ge=1)
    """Tokens (nucleotides and two for each sequence) that may wait for the model or be
    computed, in each of the two lanes: calls; streams, uploads and what a call marks
    as bulk. Past it a call fails with RESOURCE_EXHAUSTED, and a stream is read on
    later; a request that alone has more fails with INVALID_ARGUMENT."""

    max_queue_requests: int = Field(default=512, ge=1)
    """Requests that may wait for their answers, in each lane; past it as with
    tokens."""

    batch_tokens: int = Field(default=2048, ge=1)
    """Tokens that the model works on at once. More keeps a GPU busier, gains nothing
    on a CPU, and makes every other caller wait longer. Less for a while when memory
    runs out."""

    max_message_mib: int = Field(default=64, ge=1, le=2047)
    """Largest message, received or sent. A larger request fails with
    RESOURCE_EXHAUSTED, one with a larger answer with INVALID_ARGUMENT."""

    max_embedding_mib: int = Field(default=1024, ge=1)
    """Memory for activations on their way to callers of Embed, all together. A call
    that alone takes more fails with INVALID_ARGUMENT, one that finds too much taken
    with RESOURCE_EXHAUSTED."""

    drain_s: float = Field(default=30.0, ge=0)
    """Seconds that calls in progress are given to finish after SIGTERM."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important events to log, on standard error."""

    log_format: Literal["text", "json"] = "text"
    """Log for people, or one JSON object a line."""
