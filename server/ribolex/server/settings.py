"""What a server can be told, each thing once.

A field is a flag, a RIBOLEX_ variable, its default and its help. Knows nothing of
what is done with it.
"""

import ipaddress
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ribolex.errors import InvalidRequestError
from ribolex.server.index.milvus import MilvusAddress

BUNDLED = "bundled"
"""Stands for what comes in the box, where a path is expected."""

MAX_NUCLEOTIDES = 100_000
"""Longest sequence that is taken, unless it is told otherwise."""


class ServerSettings(BaseSettings):
    """Serves codes of RNAs and search; --log-level is also RIBOLEX_LOG_LEVEL, etc."""

    model_config = SettingsConfigDict(
        env_prefix="RIBOLEX_",
        env_ignore_empty=True,
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
    """Address to listen on, or unix:PATH for a socket in a folder, which whoever can
    enter the folder reaches. Any other than a loopback address takes --tls-cert, or
    --public-without-tls, else the server does not start; without --tokens everybody
    who can reach it may use and delete what is there."""

    port: int = Field(default=50051, ge=0, le=65535)
    """Port to listen on; 0 takes a free one, see --address-file."""

    address_file: Path | None = None
    """File to write "host:port" into once the server is ready; for scripts."""

    public_without_tls: bool = False
    """Listen on any address without encryption: whoever is on the way reads the
    sequences and the tokens. For a closed network, or behind a proxy that encrypts."""

    tls_cert: Path | None = None
    """Certificate chain, PEM: calls are then encrypted, and unencrypted ones fail.
    Read again when it changes."""

    tls_key: Path | None = None
    """The certificate's key, PEM, without a password. Read again when it changes."""

    tls_client_ca: Path | None = None
    """Certificates of authorities, PEM: a caller whose own certificate none of them
    signed cannot connect."""

    tokens: Path | None = None
    """File of tokens, see ribolex tokens: a call without one fails with
    UNAUTHENTICATED, one beyond its token's scope with PERMISSION_DENIED. Read again
    when it changes. Health and reflection stay open."""

    reflection: bool = True
    """Tell everybody who can connect which services, methods and messages there are;
    without it tools such as grpcurl need the .proto files."""

    http_port: int | None = Field(default=None, ge=0, le=65535)
    """Port for metrics and probes: /metrics, /healthz, /readyz, open to everybody who
    can reach it; 0 takes a free one. Not given: there is none."""

    http_host: str = "127.0.0.1"
    """Address of --http-port; the rules of --host hold."""

    model: str = BUNDLED
    """Language model: "bundled", a name (see ribolex models list), or a path."""

    registry: str = BUNDLED
    """Dictionaries: "bundled", the folder that they were published to, or
    redis://HOST:PORT/0?artefacts=FOLDER (docs/registry.md)."""

    dictionary: str | None = None
    """Dictionary for requests that name none: "name" for its current version, or
    "name@version". Not given: of those that fit the model the one that is the bundled
    registry's default, or else the first by name."""

    panel_agreement: float = Field(default=0.95, ge=0, le=1)
    """Share of the codes in a dictionary's panel that this server must reproduce with
    its model, device and precision; a dictionary with less is refused. What is not
    reproduced means other features here than where it was made."""

    data: Path = Path("~/.local/share/ribolex")
    """Folder that holds the collections; made if it is not there. One server at a
    time."""

    milvus: str | None = None
    """http://HOST:19530 or https:// of a Milvus that keeps the codes of all collections
    and finds candidates; the RNAs stay in --data. A token is read from a file:
    http://HOST:19530?token_file=PATH. Away: searches fail with UNAVAILABLE, nothing
    else does. Takes ribolex[milvus]. Not given: codes are kept in --data, too."""

    device: str = "cpu"
    """Where the model runs, as torch names it: "cpu", "cuda", "cuda:1"."""

    threads: int = Field(default=0, ge=0)
    """CPU threads for the model; 0 takes all cores, or a container's CPU quota."""

    search_threads: int = Field(default=1, ge=1)
    """CPU threads of one search: more answer it sooner, and fewer of them
    at a time."""

    recall_sample: float = Field(default=0.001, ge=0, le=1)
    """Share of sensitive searches that are done again, exhaustively and in the
    background, for the metric ribolex_search_recall_estimate; 0 for none."""

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

    max_request_nucleotides: int = Field(default=1_048_576, ge=1)
    """Most letters of all sequences in one message, in a stream as elsewhere; past it
    a call fails with INVALID_ARGUMENT."""

    max_client_calls: int = Field(default=1024, ge=1)
    """Most calls and streams that one client may have open, known by its token, its
    certificate or its address; past it a call fails with RESOURCE_EXHAUSTED."""

    max_connection_age_s: int = Field(default=3600, ge=1)
    """Age at which a connection takes no new calls; a client then makes another one,
    maybe to another server behind the same name. Calls in progress go on."""

    max_queue_tokens: int = Field(default=1_048_576, ge=1)
    """Tokens (nucleotides and two for each sequence) that may wait for the model or be
    computed, in each of the two lanes: calls; streams, uploads and what a call marks
    as bulk. Past it a call fails with RESOURCE_EXHAUSTED, and a stream is read on
    later; a request that alone has more fails with INVALID_ARGUMENT."""

    max_queue_requests: int = Field(default=512, ge=1)
    """Requests that may wait for their answers, in each lane; past it as with
    tokens."""

    max_scan_tokens: int = Field(default=8_388_608, ge=1)
    """Most tokens that the model reads for one ScanVariants, all variants together, or
    one CompareGroups; past it a call fails with INVALID_ARGUMENT. All substitutions of
    1,000 nucleotides take 4 million."""

    steering: bool = False
    """Let admins make features fire otherwise in the model (Steer), for research;
    without it such a call fails with PERMISSION_DENIED. Answers to others stay as they
    are."""

    batch_tokens: int = Field(default=2048, ge=1)
    """Tokens that the model works on at once. More keeps a GPU busier, gains nothing
    on a CPU, and makes every other caller wait longer. Less for a while when memory
    runs out."""

    cache_mib: int = Field(default=64, ge=0)
    """Memory for codes computed before: the same sequence with the same options is
    answered from there and does not queue. 0: nothing is kept."""

    cache: SecretStr | None = None
    """redis://HOST:PORT/0, rediss:// or unix://PATH of a Redis or Valkey that keeps
    codes for several servers; it may evict. Away or slower than 50 ms: served without
    it. Not the Redis of --registry, which must not evict."""

    cache_ttl_s: int = Field(default=604_800, ge=1)
    """Seconds that --cache keeps codes."""

    max_message_mib: int = Field(default=64, ge=1, le=2047)
    """Largest message, received or sent. A larger request fails with
    RESOURCE_EXHAUSTED, one with a larger answer with INVALID_ARGUMENT."""

    max_embedding_mib: int = Field(default=1024, ge=1)
    """Memory for answers in parts, activations and codes, on their way to callers, all
    together. A request that alone takes more fails with INVALID_ARGUMENT; an Embed
    that finds too much taken with RESOURCE_EXHAUSTED, a stream waits."""

    drain_s: float = Field(default=30.0, ge=0)
    """Seconds that calls in progress are given to finish after SIGTERM."""

    otlp_endpoint: str | None = None
    """Collector of traces that speaks OTLP over gRPC: http://HOST:4317, https:// with
    TLS. Not given: where OTEL_EXPORTER_OTLP_ENDPOINT says; without that nothing is
    traced. Takes ribolex[otel]; sampling, headers and names by OTEL_ variables."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important events to log, on standard error."""

    log_format: Literal["text", "json"] = "text"
    """Log for people, or one JSON object a line."""

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        """Refuses what would let more people in than was said."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key: expected both or neither")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("--tls-client-ca: expected --tls-cert, too")
        if self.milvus is not None:
            try:
                MilvusAddress.parse(self.milvus)
            except InvalidRequestError as error:
                raise ValueError(str(error)) from error
        hosts = {"--host": self.host}
        if self.http_port is not None:
            hosts["--http-host"] = self.http_host
        for flag, host in hosts.items():
            if flag == "--http-host" and is_socket(host):
                raise ValueError(f"{flag} {host}: expected an address")
            is_safe = self.tls_cert is not None or self.public_without_tls
            if not is_safe and not is_loopback(host):
                raise ValueError(
                    f"{flag} {host} is no loopback address: expected --tls-cert and "
                    "--tls-key, or --public-without-tls if all who can reach it may "
                    "read what is sent"
                )
        return self


def is_loopback(host: str) -> bool:
    """Returns whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or is_socket(host)


def is_socket(host: str) -> bool:
    """Returns whether an address is that of a socket in a folder."""
    return host.startswith("unix:")
