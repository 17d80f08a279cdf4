"""What the loops of pooled codes do that numba does not turn into fast code.

Put together in LLVM's language for whatever registers the processor has: sums that
stay in registers, 64 rows compared at once, and arrays of which only the address is
known. Counts are of whole numbers: every processor gives the same.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from ribolex.rna import llvm

ROWS_AT_ONCE = 64
N_ASKED = 7
"""Numbers that tell what rows are compared with."""

_I8, _I64 = ir.IntType(8), ir.IntType(64)
_WORDS = ir.VectorType(_I64, 8)
_REALS = ir.VectorType(ir.FloatType(), 16)
_N_SUMS = 4
_LOOSE = ("contract",)


def _compiled(build: Callable[..., Any]) -> Any:
    """Returns a function for compiled loops; mypy would miss its first argument."""
    return intrinsic(build)


@_compiled
def pointer_to(typing_context: Any, address: Any, like: Any) -> Any:
    """Returns an address as a pointer to such numbers as an array has."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        return builder.inttoptr(values[0], kind)

    return types.CPointer(like.dtype)(address, like), build


@_compiled
def fetch(typing_context: Any, address: Any) -> Any:
    """Has the line of memory at an address fetched while other work is done."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = builder.inttoptr(values[0], _I8.as_pointer())
        hints = [llvm.I32(number) for number in (0, 3, 1)]
        llvm.call(builder, "llvm.prefetch.p0", (pointer, *hints), ir.VoidType())
        return context.get_dummy_value()

    return types.void(types.int64), build


@_compiled
def n_ones(typing_context: Any, word: Any) -> Any:
    """Returns how many bits of a word are set."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.ctpop(values[0])

    return types.uint64(types.uint64), build


@_compiled
def first_one(typing_context: Any, word: Any) -> Any:
    """Returns the number of the lowest bit that is set, of a word that is not 0."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.IntType(1)(1))

    return types.int64(types.uint64), build


@_compiled
def apart(typing_context: Any, first: Any, second: Any, asked: Any) -> Any:
    """Returns the distance of the two words of one row from what is asked.

    That is what signs weigh that are not as asked: 1, 3, 5 or 7 each. `asked` are of
    each word the signs, those that weigh 2 more, and those that weigh 4 more; then
    what is added to all distances.
    """

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        asked = [builder.extract_value(values[2], i) for i in range(N_ASKED)]
        return _distance(builder, values[0], values[1], asked)

    return types.uint64(types.uint64, types.uint64, asked), build


@_compiled
def nearer(typing_context: Any, address: Any, room: Any, asked: Any, limit: Any) -> Any:
    """Returns which of ROWS_AT_ONCE rows are nearer than a limit, a bit each.

    Args:
        typing_context: numba's.
        address: of the first words of the rows; int64.
        room: how many words further their second ones are; int64.
        asked: see `apart`.
        limit: uint64.
    """

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address, room, asked, limit = values
        firsts = builder.inttoptr(address, _I64.as_pointer())
        seconds = builder.gep(firsts, [room])
        wide = [
            llvm.spread(builder, builder.extract_value(asked, i), _WORDS)
            for i in range(N_ASKED)
        ]
        highest = llvm.spread(builder, limit, _WORDS)
        out = _I64(0)
        for part in range(ROWS_AT_ONCE // _WORDS.count):
            first = llvm.load(builder, firsts, _I64(part), _WORDS, 8)
            second = llvm.load(builder, seconds, _I64(part), _WORDS, 8)
            distance = _distance(builder, first, second, wide)
            near = builder.icmp_unsigned("<", distance, highest)
            bits = builder.zext(builder.bitcast(near, _I8), _I64)
            out = builder.or_(out, builder.shl(bits, _I64(part * _WORDS.count)))
        return out

    return types.uint64(address, room, asked, limit), build


def _distance(builder: Any, first: Any, second: Any, asked: Any) -> Any:
    """Of one word each, or of many side by side."""
    total = asked[6]
    for word, (sides, more, most) in ((first, asked[:3]), (second, asked[3:6])):
        other = builder.xor(word, sides)
        for mask, shift in ((None, 0), (more, 1), (most, 2)):
            chosen = other if mask is None else builder.and_(other, mask)
            count = _count(builder, chosen)
            if shift:
                count = builder.shl(count, _constant(count.type, shift))
            total = builder.add(total, count)
    return total


def _count(builder: Any, word: Any) -> Any:
    if isinstance(word.type, ir.VectorType):
        return llvm.call(builder, "llvm.ctpop.v8i64", (word,), word.type)
    return builder.ctpop(word)


def _constant(kind: Any, number: int) -> Any:
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [number] * kind.count)
    return kind(number)


@_compiled
def add_up(
    typing_context: Any,
    features: Any,
    weights: Any,
    n: Any,
    directions: Any,
    out: Any,
) -> Any:
    """Writes the sums of 64 coordinates of the directions of features, weighted.

    Args:
        typing_context: numba's.
        features: [n], of whole numbers.
        weights: [n], float32.
        n: int64.
        directions: [n_features, 64], float32.
        out: [64], float32.
    """

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        arrays = llvm.pointers(context, builder, signature, values)
        features, weights, n, directions, out = arrays
        zero = ir.Constant(_REALS, None)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(_N_SUMS)]
        with cgutils.for_range(builder, n, intp=_I64) as loop:
            feature = builder.load(builder.gep(features, [loop.index]))
            weight = builder.load(builder.gep(weights, [loop.index]))
            wide = llvm.spread(builder, weight, _REALS)
            row = builder.mul(builder.zext(feature, _I64), _I64(_N_SUMS * _REALS.count))
            own = builder.gep(directions, [row])
            for i, total in enumerate(sums):
                direction = llvm.load(builder, own, _I64(i), _REALS, 4)
                part = builder.fmul(direction, wide, flags=_LOOSE)
                added = builder.fadd(builder.load(total), part, flags=_LOOSE)
                builder.store(added, total)
        for i, total in enumerate(sums):
            llvm.store(builder, builder.load(total), out, _I64(i), 4)
        return context.get_dummy_value()

    arguments = features, weights, n, directions, out
    return types.void(*arguments), build
