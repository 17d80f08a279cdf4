"""The letters of RNA as RiNALMo numbers them.

Knows letters and token ids only; nothing of files, models or batches.
"""

import numpy as np
from jaxtyping import UInt8

from ribolex.errors import InvalidSequenceError

CLS, PAD, EOS, UNK, MASK = 0, 1, 2, 3, 4

VOCABULARY: tuple[str, ...] = (
    "<cls>", "<pad>", "<eos>", "<unk>", "<mask>",
    "A", "C", "G", "T", "I", "R", "Y", "K", "M", "S", "W", "B", "D", "H", "V", "N", "-",
)  # fmt: skip
"""The 22 tokens in RiNALMo's order; T stands for U."""

GAPS = "-."
_WITHOUT_GAPS = {ord(gap): None for gap in GAPS}
_READABLE = frozenset("ACGUTIRYKMSWBDHVN" + "acgutirykmswbdhvn")
_INVALID = 255
_TOKEN_OF_BYTE = np.full(256, _INVALID, dtype=np.uint8)
for _token, _letter in enumerate(VOCABULARY[5:], start=5):
    _TOKEN_OF_BYTE[ord(_letter)] = _token
_TOKEN_OF_BYTE[ord("U")] = _TOKEN_OF_BYTE[ord("T")]


def normalise(sequence: str, where: str, *, degap: bool = False) -> str:
    """Returns the sequence upper-cased, T read as U, ready for `tokenise`.

    Args:
        sequence: letters of the IUPAC nucleotide alphabet and I, either case.
        where: what the message of an error calls this sequence.
        degap: remove the gaps "-" and "." instead of refusing them.

    Raises:
        InvalidSequenceError: the sequence is empty or holds another letter.
    """
    refused = set(sequence) - (_READABLE | set(GAPS) if degap else _READABLE)
    if refused:
        position = next(i for i, letter in enumerate(sequence) if letter in refused)
        letter = sequence[position]
        advice = " (gaps can be removed on request)" if letter in GAPS else ""
        raise InvalidSequenceError(
            where, f"{letter!r} at position {position + 1} is not an RNA letter{advice}"
        )
    text = sequence.upper().replace("T", "U")
    if degap:
        text = text.translate(_WITHOUT_GAPS)
    if not text:
        raise InvalidSequenceError(where, "the sequence is empty")
    return text


def tokenise(sequence: str) -> UInt8[np.ndarray, " token"]:
    """Returns the token ids of one sequence, framed by CLS and EOS.

    Letters outside the vocabulary become UNK, as in RiNALMo; `normalise` refuses
    them first wherever a sequence comes from outside.
    """
    letters = np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)
    ids = _TOKEN_OF_BYTE[letters]
    tokens = np.empty(len(ids) + 2, dtype=np.uint8)
    tokens[0], tokens[-1] = CLS, EOS
    tokens[1:-1] = np.where(ids == _INVALID, UNK, ids)
    return tokens
