"""What can be asked of features and places: a small language, read into a tree.

    812, f812               feature 812 fires somewhere; 812>1.5, 812>=1.5: so strongly
    A and B, A or B, not A  in the same RNA; a comma is an "and" that binds least
    A before B, A after B   A fires at a nucleotide before (after) one at which B does
    A within 30 of B        at most 30 nucleotides apart; or within 30 before (after) B
    A not within 30 of B    with no B there; "start", "end": first and last nucleotide

Places may be chained, "A before B within 9 of C", and "(A or B) before C" takes either.
Knows the language alone; nothing of which features there are, or of how it is answered.
"""

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, NoReturn, get_args

import numpy as np

from ribolex.errors import InvalidRequestError

MAX_CHARACTERS = 4096
MAX_FEATURES = 32
_MAX_DEPTH = 32
_FAR = 2**31 - 1
"""Farther than any two nucleotides are."""


@dataclass(frozen=True, slots=True)
class Fires:
    """The nucleotides at which a feature fires, so strongly."""

    feature: int
    threshold: float = 0.0
    """A float32, >= 0."""
    is_reached: bool = False
    """Whether the threshold itself is enough."""


@dataclass(frozen=True, slots=True)
class Edge:
    """The first or the last nucleotide."""

    side: Literal["start", "end"]


@dataclass(frozen=True, slots=True)
class Reach:
    """How far after a place another one may lie, both ends included."""

    low: int
    high: int
    is_negated: bool = False
    """Whether there must be none; only at the end of a chain."""


Place = tuple[Fires | Edge, ...]
"""Nucleotides of one kind or another."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Places each of which is in reach of the one before; mostly just one."""

    places: tuple[Place, ...]
    reaches: tuple[Reach, ...] = ()
    """One less."""


@dataclass(frozen=True, slots=True)
class Not:
    """What must not hold."""

    part: "Query"


@dataclass(frozen=True, slots=True)
class All:
    """What must hold together."""

    parts: tuple["Query", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """Of what one must hold."""

    parts: tuple["Query", ...]


Query = Chain | Not | All | Some


def parse(text: str) -> Query:
    """Returns what a text asks for.

    Raises:
        InvalidRequestError: its field names the character at fault, counted from 0:
            "query[12]"; "query" alone if there is none.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidRequestError(
            "query", f"{len(text)} characters, expected at most {MAX_CHARACTERS}"
        )
    return _Parser(text).parse()


def features_of(query: Query) -> tuple[int, ...]:
    """Returns the features that a query names, each once, in its order."""
    found = (one.feature for one in _leaves(query) if isinstance(one, Fires))
    return tuple(dict.fromkeys(found))


def _leaves(query: Query) -> list[Fires | Edge]:
    if isinstance(query, Chain):
        return [one for place in query.places for one in place]
    parts = (query.part,) if isinstance(query, Not) else query.parts
    return [one for part in parts for one in _leaves(part)]


_Kind = Literal["end", "number", "word", "sign", "odd"]
_KINDS: tuple[_Kind, ...] = get_args(_Kind)


class _Token(NamedTuple):
    kind: _Kind
    text: str
    """In lower case."""
    at: int
    raw: str


_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]))|(?P<word>[a-z]\w*)"
    r"|(?P<sign>>=|[>(),])|(?P<odd>[^\s>(),]+))",
    re.IGNORECASE | re.ASCII,
)
_FEATURE = re.compile(r"f?(\d{1,9})", re.ASCII)
_RELATIONS = ("within", "before", "after")
_OPERANDS = "a feature, start, end, not or ("


def _tokens(text: str) -> list[_Token]:
    out = []
    for found in _TOKEN.finditer(text):
        kind = _KINDS[found.lastindex or 0]
        out.append(_Token(kind, found[kind].lower(), found.start(kind), found[kind]))
    return [*out, _Token("end", "", len(text.rstrip()), "")]


class _Parser:
    """Reads one text from left to right, once."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = 0
        self._n_features = 0
        self._depth = 0

    def parse(self) -> Query:
        query = self._conditions()
        if self._here.kind != "end":
            self._expected("and, or, a comma, within, before, after or the end")
        return query

    @property
    def _here(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *texts: str) -> bool:
        """Returns whether one of these stands here, and goes past it."""
        is_here = self._here.text in texts and self._here.kind != "end"
        self._next += is_here
        return is_here

    def _expected(self, what: str) -> NoReturn:
        token = self._here
        found = "the end" if token.kind == "end" else repr(_short(token.raw))
        _fail(token.at, f"{found} found, expected {what}")

    def _conditions(self) -> Query:
        parts = [self._either()]
        while self._take(","):
            parts.append(self._either())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _either(self) -> Query:
        parts = [self._both()]
        while self._take("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _both(self) -> Query:
        parts = [self._unary()]
        while self._take("and"):
            parts.append(self._unary())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _unary(self) -> Query:
        is_negated = False
        while self._take("not"):
            is_negated = not is_negated
        query = self._chain()
        return Not(query) if is_negated else query

    def _chain(self) -> Query:
        at = self._here.at
        first = self._operand()
        if not self._is_relation():
            return first
        places, reaches = [_as_place(first, at)], list[Reach]()
        while self._is_relation():
            if reaches and reaches[-1].is_negated:
                self._expected("no further place after one that must not be there")
            reaches.append(self._reach())
            at = self._here.at
            places.append(_as_place(self._operand(), at))
        return Chain(tuple(places), tuple(reaches))

    def _is_relation(self) -> bool:
        if self._here.text in _RELATIONS:
            return True
        is_not = self._here.text == "not"
        return is_not and self._tokens[self._next + 1].text in _RELATIONS

    def _reach(self) -> Reach:
        is_negated = self._take("not")
        distance = _FAR
        is_within = self._take("within")
        if is_within:
            token = self._here
            if token.kind != "number" or not re.fullmatch(r"\d{1,9}", token.text):
                self._expected("a whole number of nucleotides")
            distance = int(token.text)
            self._next += 1
            self._take("nt")
        if self._take("before"):
            return Reach(1, distance, is_negated)
        if self._take("after"):
            return Reach(-distance, -1, is_negated)
        if not is_within or not self._take("of"):
            self._expected("of, before or after")
        return Reach(-distance, distance, is_negated)

    def _operand(self) -> Query:
        token = self._here
        if self._take("("):
            return self._enclosed(token)
        if self._take("start"):
            return Chain(((Edge("start"),),))
        if self._take("end"):
            return Chain(((Edge("end"),),))
        found = _FEATURE.fullmatch(token.text)
        if found is None:
            self._expected(_OPERANDS)
        self._next += 1
        self._n_features += 1
        if self._n_features > MAX_FEATURES:
            _fail(token.at, f"one more feature, expected at most {MAX_FEATURES}")
        return Chain(((self._threshold(int(found[1])),),))

    def _enclosed(self, opening: _Token) -> Query:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            _fail(opening.at, f"more than {_MAX_DEPTH} brackets within each other")
        query = self._conditions()
        if not self._take(")"):
            self._expected(f"the ) of the ( at character {opening.at + 1}")
        self._depth -= 1
        return query

    def _threshold(self, feature: int) -> Fires:
        is_reached = self._here.text == ">="
        if not self._take(">", ">="):
            return Fires(feature)
        token = self._here
        # Values are float32: 2.3 must be what is printed as 2.3.
        with np.errstate(over="ignore"):
            number = np.float32(token.text) if token.kind == "number" else np.inf
        if not np.isfinite(number):
            self._expected("a number that is not negative")
        self._next += 1
        return Fires(feature, float(number), is_reached)


def _as_place(query: Query, at: int) -> Place:
    """Returns the nucleotides that a query stands for, if it stands for some."""
    if isinstance(query, Some):
        return tuple(one for part in query.parts for one in _as_place(part, at))
    if not isinstance(query, Chain) or query.reaches:
        _fail(at, "expected one feature here, or several with or in brackets")
    return query.places[0]


def _short(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:20]}..."


def _fail(at: int, message: str) -> NoReturn:
    raise InvalidRequestError(f"query[{at}]", message)
