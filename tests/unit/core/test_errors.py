"""The error tree: complete, documented, and telling where and what."""

import inspect

import pytest

from ribolex import errors

EXAMPLES: list[tuple[errors.RibolexError, str]] = [
    (
        errors.InvalidRequestError("options.k", "65 is not in 1 to 64"),
        "options.k: 65 is not in 1 to 64",
    ),
    (
        errors.InvalidSequenceError("sequences[3]", "'X' at position 18 is no letter"),
        "sequences[3]: 'X' at position 18 is no letter",
    ),
    (
        errors.SequenceTooLongError("sequences[0]", limit=1022, got=1500),
        "sequences[0]: 1500 nucleotides, expected at most 1022",
    ),
    (errors.DictionaryNotFoundError("rfam@7"), "there is no dictionary 'rfam@7'"),
    (
        errors.FeatureNotFoundError(4096, "rfam@1", n_features=4096),
        "there is no feature 4096 in dictionary 'rfam@1', expected 0 to 4095",
    ),
    (errors.CollectionNotFoundError("mine"), "there is no collection 'mine'"),
    (
        errors.RnaNotFoundError("tRNA-1", collection="mine"),
        "there is no RNA 'tRNA-1' in collection 'mine'",
    ),
    (errors.ModelNotFoundError("nan", "is not known"), "model 'nan': is not known"),
    (errors.DownloadError("http://a/b", "is away"), "http://a/b: is away"),
    (errors.DictionaryExistsError("rfam@1"), "dictionary 'rfam@1' exists already"),
    (errors.CollectionExistsError("mine"), "collection 'mine' exists already"),
    (
        errors.IncompatibleDictionaryError("rfam@1", "layer", got=7, expected=4),
        "dictionary 'rfam@1': layer is 7, expected 4",
    ),
    (
        errors.DictionaryInUseError("rfam@1", "it is current"),
        "dictionary 'rfam@1' is in use: it is current",
    ),
    (
        errors.StaleWriteError("rfam", expected=1, got=2),
        "dictionary 'rfam': the current version is 2, expected 1",
    ),
    (
        errors.CollectionMovedError("mine", "rfam@2"),
        "collection 'mine' moved to dictionary 'rfam@2' meanwhile; ask again",
    ),
    (
        errors.OverloadedError("tokens", limit=100, got=120),
        "the queue is full: 120 tokens would wait, expected at most 100",
    ),
    (
        errors.TooManyCallsError("10.0.0.7", limit=8, got=9),
        "calls: client '10.0.0.7' would have 9 open, expected at most 8",
    ),
    (errors.NotAuthenticatedError("none came"), "authorization: none came"),
    (
        errors.SwitchedOffError("steering", "--steering"),
        "steering is switched off on this server (--steering)",
    ),
    (
        errors.NotPermittedError("/a.B/C", "ann", got="read", expected="write"),
        "/a.B/C: token 'ann' has scope 'read', expected 'write'",
    ),
    (errors.NotReadyError("draining"), "not ready: draining"),
    (
        errors.StorageFullError("a/b"),
        "a/b: its disk is full, nothing was written; free some space there, then try "
        "again",
    ),
    (errors.CorruptArtefactError("a/b", "bad digest"), "a/b: bad digest"),
    (errors.CorruptInputError("a.fasta:3", "no header"), "a.fasta:3: no header"),
]

ABSTRACT = {errors.RibolexError, errors.NotFoundError, errors.AlreadyExistsError}


def _tree() -> set[type[errors.RibolexError]]:
    return {
        member
        for _, member in inspect.getmembers(errors, inspect.isclass)
        if issubclass(member, errors.RibolexError)
    }


@pytest.mark.parametrize(
    ("error", "message"), EXAMPLES, ids=[type(e).__name__ for e, _ in EXAMPLES]
)
def test_message_says_where_and_what(error: errors.RibolexError, message: str) -> None:
    assert str(error) == message


def test_every_error_has_an_example() -> None:
    assert {type(error) for error, _ in EXAMPLES} | ABSTRACT == _tree()


def test_module_docstring_draws_the_whole_tree() -> None:
    drawn = {
        line.split()[0]
        for line in (errors.__doc__ or "").replace("│", "").splitlines()
        for line in [line.strip(" ├└─")]
        if line.split()[:1] and line.split()[0].endswith("Error")
    }
    assert drawn == {member.__name__ for member in _tree()}


def test_faults_of_one_sequence_are_faults_of_the_request() -> None:
    error = errors.SequenceTooLongError("sequences[2]", limit=1022, got=1500)
    assert isinstance(error, errors.InvalidRequestError)
    assert (error.field, error.limit, error.got) == ("sequences[2]", 1022, 1500)
