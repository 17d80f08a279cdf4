"""Every error that the client raises on purpose, in one tree.

    RibolexError
    ├── InvalidRequestError              a field asks for what cannot be
    │   ├── InvalidSequenceError         a sequence is empty or not of RNA letters
    │   ├── SequenceTooLongError         a sequence is longer than can be encoded
    │   └── RejectedError                sequences of a batch were refused
    ├── NotFoundError                    a name leads to nothing
    │   ├── DictionaryNotFoundError
    │   ├── FeatureNotFoundError
    │   ├── CollectionNotFoundError
    │   └── RnaNotFoundError
    ├── AlreadyExistsError               a name is taken
    │   ├── DictionaryExistsError
    │   └── CollectionExistsError
    ├── IncompatibleDictionaryError      made for another model, layer or width
    ├── DictionaryInUseError             cannot be withdrawn, somebody needs it
    ├── StaleWriteError                  the registry moved underneath
    ├── OverloadedError                  the server has no room; try again later
    ├── NotAuthenticatedError            the server wants a token, or another one
    ├── NotPermittedError                the token's scope does not reach so far
    ├── NotReadyError                    loading, draining or not reachable
    ├── TimedOutError                    no answer within timeout_s
    ├── CancelledError                   the call was ended before its answer
    ├── CorruptArtefactError             the server's files are not as published
    ├── ServerError                      anything else that went wrong over there
    └── CorruptInputError                a local file is not what it claims to be

Those of a server's answer are raised `from` the grpc.RpcError, which holds the code.
"""

from dataclasses import dataclass

from ribolex.client.records import Rejection


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field at fault: "options.k", "sequences[3]", counted from 0."""

    field: str
    description: str


class RibolexError(Exception):
    """Root of the tree; raised through its subclasses only.

    Attributes:
        message: One sentence: what was found, where, and what was expected.
        violations: The fields at fault, where the server named them.
        retry_after_s: Seconds after which the server invites another try, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        violations: tuple[FieldViolation, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.violations = violations
        self.retry_after_s = retry_after_s


class InvalidRequestError(RibolexError):
    """Raised when a field of a request asks for what cannot be."""


class InvalidSequenceError(InvalidRequestError):
    """Raised when a sequence is empty or holds what is no RNA letter."""


class SequenceTooLongError(InvalidRequestError):
    """Raised when a sequence is longer than the server can encode."""


class RejectedError(InvalidRequestError):
    """Raised when members of a batch were refused and none were to be skipped.

    Attributes:
        rejections: Which, and why.
    """

    def __init__(
        self, rejections: tuple[Rejection, ...], field: str = "sequences"
    ) -> None:
        first, more = rejections[0], len(rejections) - 1
        others = f" (and {more} more)" if more else ""
        super().__init__(f"{field}[{first.index}]: {first.message}{others}")
        self.rejections = rejections


class NotFoundError(RibolexError):
    """Raised, mostly through its subclasses, when a name leads to nothing."""


class DictionaryNotFoundError(NotFoundError):
    """Raised when there is no such dictionary, or no such version of it."""


class FeatureNotFoundError(NotFoundError):
    """Raised when a dictionary has no feature of that id."""


class CollectionNotFoundError(NotFoundError):
    """Raised when there is no such collection."""


class RnaNotFoundError(NotFoundError):
    """Raised when a collection has no RNA of that name."""


class AlreadyExistsError(RibolexError):
    """Raised, mostly through its subclasses, when a name is taken."""


class DictionaryExistsError(AlreadyExistsError):
    """Raised when a dictionary version is published a second time."""


class CollectionExistsError(AlreadyExistsError):
    """Raised when a collection is made under a name that is taken."""


class IncompatibleDictionaryError(RibolexError):
    """Raised when a dictionary was made for another model, layer or width."""


class DictionaryInUseError(RibolexError):
    """Raised when a dictionary version is to be withdrawn that is still needed."""


class StaleWriteError(RibolexError):
    """Raised when the registry moved between a reading and the write based on it."""


class OverloadedError(RibolexError):
    """Raised when the server has no room; the same call may succeed later."""


class NotAuthenticatedError(RibolexError):
    """Raised when the server wants a token, or does not know the one that it got."""


class NotPermittedError(RibolexError):
    """Raised when the token may not do what was asked for."""


class NotReadyError(RibolexError):
    """Raised when the server is loading, draining or not reachable."""


class TimedOutError(RibolexError):
    """Raised when no answer came within the client's timeout_s."""


class CancelledError(RibolexError):
    """Raised when a call was ended before its answer."""


class CorruptArtefactError(RibolexError):
    """Raised when the server's files are not what was published."""


class ServerError(RibolexError):
    """Raised when the server failed in a way that the contract does not name."""


class CorruptInputError(RibolexError):
    """Raised when a local file cannot be read as what it claims to be.

    Attributes:
        where: The file, with the line where it is known: "rnas.fasta:12".
    """

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where
