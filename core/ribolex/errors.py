"""Every error that Ribolex raises on purpose, in one tree.

    RibolexError
    ├── InvalidRequestError              a field asks for what cannot be
    │   ├── InvalidSequenceError         a sequence is empty or not of RNA letters
    │   └── SequenceTooLongError         a sequence is longer than can be encoded
    ├── NotFoundError                    a name leads to nothing
    │   ├── DictionaryNotFoundError
    │   ├── FeatureNotFoundError
    │   ├── CollectionNotFoundError
    │   ├── RnaNotFoundError
    │   └── ModelNotFoundError
    ├── AlreadyExistsError               a name is taken
    │   ├── DictionaryExistsError
    │   └── CollectionExistsError
    ├── IncompatibleDictionaryError      made for another model, layer or width
    ├── DictionaryInUseError             cannot be withdrawn, somebody needs it
    ├── StaleWriteError                  the registry moved underneath
    ├── CollectionMovedError             it is under another dictionary by now
    ├── OverloadedError                  a bounded queue is full
    ├── TooManyCallsError                a client has as many calls open as it may
    ├── NotAuthenticatedError            no token came, or one that is not known
    ├── NotPermittedError                a token does not reach that far
    ├── SwitchedOffError                 a server does not do that unless told to
    ├── NotReadyError                    loading, draining, or a store is away
    ├── StorageFullError                 there is no space left on a disk
    ├── CorruptArtefactError             an artefact is not what was published
    ├── CorruptInputError                a file is not what it claims to be
    └── DownloadError                    a file could not be fetched as published

Classes carry fields and build their message from them: where, what was found, what
was expected. How an error looks to a gRPC caller is decided elsewhere.
"""

from pathlib import Path


class RibolexError(Exception):
    """Root of the tree; raised through its subclasses only."""


class InvalidRequestError(RibolexError):
    """Raised when a field of a request asks for what cannot be.

    Attributes:
        field: The field at fault, counted from 0: "options.k", "sequences[3]".
        message: What was found and what was expected.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class InvalidSequenceError(InvalidRequestError):
    """Raised when a sequence is empty or holds what is no RNA letter.

    Attributes:
        field: Which sequence: "sequences[3]", or its name in a file.
    """

    def __init__(self, where: str, message: str) -> None:
        super().__init__(where, message)


class SequenceTooLongError(InvalidRequestError):
    """Raised when a sequence is longer than the model or the server can encode.

    Attributes:
        field: Which sequence: "sequences[3]", or its name in a file.
        limit: Nucleotides allowed.
        got: Nucleotides found.
    """

    def __init__(self, where: str, limit: int, got: int) -> None:
        super().__init__(where, f"{got} nucleotides, expected at most {limit}")
        self.limit = limit
        self.got = got


class NotFoundError(RibolexError):
    """Raised, through its subclasses, when a name leads to nothing."""


class DictionaryNotFoundError(NotFoundError):
    """Raised when there is no such dictionary, or no such version of it.

    Attributes:
        ref: What was asked for, "name" or "name@version"; "" if any would do.
    """

    def __init__(self, ref: str, message: str | None = None) -> None:
        super().__init__(message or f"there is no dictionary {ref!r}")
        self.ref = ref


class FeatureNotFoundError(NotFoundError):
    """Raised when a dictionary has no feature of that id.

    Attributes:
        feature: The id asked for.
        ref: The dictionary, "name@version".
        n_features: How many features it has.
    """

    def __init__(self, feature: int, ref: str, n_features: int) -> None:
        super().__init__(
            f"there is no feature {feature} in dictionary {ref!r}, "
            f"expected 0 to {n_features - 1}"
        )
        self.feature = feature
        self.ref = ref
        self.n_features = n_features


class CollectionNotFoundError(NotFoundError):
    """Raised when there is no such collection.

    Attributes:
        name: The name asked for.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no collection {name!r}")
        self.name = name


class RnaNotFoundError(NotFoundError):
    """Raised when a collection has no RNA of that name.

    Attributes:
        name: The name asked for.
        collection: The collection.
    """

    def __init__(self, name: str, collection: str) -> None:
        super().__init__(f"there is no RNA {name!r} in collection {collection!r}")
        self.name = name
        self.collection = collection


class ModelNotFoundError(NotFoundError):
    """Raised when no language model has that name, or its weights are not here.

    Attributes:
        name: The name asked for.
        message: What is known or here instead, and what to do.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"model {name!r}: {message}")
        self.name = name
        self.message = message


class AlreadyExistsError(RibolexError):
    """Raised, through its subclasses, when a name is taken."""


class DictionaryExistsError(AlreadyExistsError):
    """Raised when a dictionary version is published a second time.

    Attributes:
        ref: The version, "name@version".
    """

    def __init__(self, ref: str) -> None:
        super().__init__(f"dictionary {ref!r} exists already")
        self.ref = ref


class CollectionExistsError(AlreadyExistsError):
    """Raised when a collection is made under a name that is taken.

    Attributes:
        name: The name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"collection {name!r} exists already")
        self.name = name


class IncompatibleDictionaryError(RibolexError):
    """Raised when a dictionary was made for another model, layer or width.

    Attributes:
        ref: The dictionary, "name@version".
        what: The part of its identity that does not fit: "layer", "n_features".
        got: What was found.
        expected: What would have fitted.
    """

    def __init__(self, ref: str, what: str, got: object, expected: object) -> None:
        other = " is of another language model" if what == "lm_digest" else ""
        fault = f"{what} is {got}, expected {expected}"
        super().__init__(f"dictionary {ref!r}{other}: {fault}")
        self.ref = ref
        self.what = what
        self.got = got
        self.expected = expected


class DictionaryInUseError(RibolexError):
    """Raised when a dictionary version is to be withdrawn that is still needed.

    Attributes:
        ref: The version, "name@version".
        message: Who needs it: "it is current".
    """

    def __init__(self, ref: str, message: str) -> None:
        super().__init__(f"dictionary {ref!r} is in use: {message}")
        self.ref = ref
        self.message = message


class StaleWriteError(RibolexError):
    """Raised when the registry moved between a reading and the write based on it.

    Attributes:
        name: The dictionary whose current version was to be set.
        expected: The current version that the writer had seen; none if None.
        got: The current version that was found; none if None.
    """

    def __init__(
        self,
        name: str,
        expected: int | None,
        got: int | None,
        message: str | None = None,
    ) -> None:
        super().__init__(
            message
            or f"dictionary {name!r}: the current version is {got}, expected {expected}"
        )
        self.name = name
        self.expected = expected
        self.got = got


class CollectionMovedError(RibolexError):
    """Raised when a collection is under another dictionary than when a call began.

    Attributes:
        name: The collection.
        ref: The dictionary that it is under now, "name@version".
    """

    def __init__(self, name: str, ref: str) -> None:
        super().__init__(
            f"collection {name!r} moved to dictionary {ref!r} meanwhile; ask again"
        )
        self.name = name
        self.ref = ref


class OverloadedError(RibolexError):
    """Raised when a bounded queue has no room; the same call may succeed later.

    Attributes:
        unit: What the queue counts: "tokens", "requests".
        limit: How many of them may wait.
        got: How many would have waited.
        retry_s: Seconds until there should be room; None if that is not known.
    """

    def __init__(
        self, unit: str, limit: int, got: int, retry_s: float | None = None
    ) -> None:
        super().__init__(
            f"the queue is full: {got} {unit} would wait, expected at most {limit}"
        )
        self.unit = unit
        self.limit = limit
        self.got = got
        self.retry_s = retry_s


class TooManyCallsError(RibolexError):
    """Raised when a client has as many calls open as it may.

    Attributes:
        client: The name of its token or certificate, else its address.
        limit: How many may be open at once.
        got: How many would have been.
    """

    def __init__(self, client: str, limit: int, got: int) -> None:
        super().__init__(
            f"calls: client {client!r} would have {got} open, expected at most {limit}"
        )
        self.client = client
        self.limit = limit
        self.got = got


class NotAuthenticatedError(RibolexError):
    """Raised when a call brings no token, or one that is not known.

    Attributes:
        message: What came, and what was expected.
    """

    def __init__(self, message: str) -> None:
        super().__init__(f"authorization: {message}")
        self.message = message


class NotPermittedError(RibolexError):
    """Raised when a token's scope does not hold what a method takes.

    Attributes:
        method: The method, "/ribolex.v1.EncoderService/Encode".
        token: The token's name.
        got: The scope that it has.
        expected: The scope that the method takes.
    """

    def __init__(self, method: str, token: str, got: str, expected: str) -> None:
        super().__init__(
            f"{method}: token {token!r} has scope {got!r}, expected {expected!r}"
        )
        self.method = method
        self.token = token
        self.got = got
        self.expected = expected


class SwitchedOffError(RibolexError):
    """Raised when a server is asked for what it does only if it is told to.

    Attributes:
        what: What it does not do.
        setting: What tells it to: "--steering".
    """

    def __init__(self, what: str, setting: str) -> None:
        super().__init__(f"{what} is switched off on this server ({setting})")
        self.what = what
        self.setting = setting


class NotReadyError(RibolexError):
    """Raised when the server is loading or draining, or cannot reach a store.

    Attributes:
        reason: What it is doing: "loading the model", "draining".
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"not ready: {reason}")
        self.reason = reason


class StorageFullError(RibolexError):
    """Raised when there is no space left on a disk for what a call is to write.

    Attributes:
        where: The file or folder on that disk.
    """

    def __init__(self, where: Path | str) -> None:
        super().__init__(
            f"{where}: its disk is full, nothing was written; "
            "free some space there, then try again"
        )
        self.where = str(where)


class CorruptArtefactError(RibolexError):
    """Raised when an artefact is not what was published, a digest above all.

    Attributes:
        where: The file or folder.
        message: What was found and what was expected.
    """

    def __init__(self, where: Path | str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = str(where)
        self.message = message


class CorruptInputError(RibolexError):
    """Raised when a file from outside cannot be read as what it claims to be.

    Attributes:
        where: The file, with the line where it is known: "rnas.fasta:12".
        message: What was found and what was expected.
    """

    def __init__(self, where: Path | str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = str(where)
        self.message = message


class DownloadError(RibolexError):
    """Raised when a file could not be fetched, or is not what its host states.

    Attributes:
        url: The address.
        message: What happened and what to do.
    """

    def __init__(self, url: str, message: str) -> None:
        super().__init__(f"{url}: {message}")
        self.url = url
        self.message = message
