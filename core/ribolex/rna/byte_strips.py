"""The innermost loop of the scan: local alignment by lookup, in numbers of 8 bits.

`scan_strip` aligns ROWS nucleotides of a query with LANES targets at once, one target
a lane, as `strips` does; what a pair scores is looked up in a table of each row, by
the state of the target's nucleotide. Numbers saturate: -128 stands for 0, which is
where local alignments begin, so that no floor needs to be set.

A lookup is one instruction where the processor has one for 128 bytes (AVX-512 VBMI),
else eight of 16 bytes each (AVX-512 BW, AVX2), else one of each lane. All give the
same scores. Measured (AMD Zen 4, ns for 64 pairs): 1.1; 5.1 and 6.9; 36. Gaps that
cost more to open than to extend would take 1.6 instead of 1.1. Knows nothing of what
the states stand for.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from ribolex.rna import llvm

LANES = 64
ROWS = 12
N_STATES = 128
"""Entries of a table."""

_I8, _I64 = ir.IntType(8), ir.IntType(64)
_LINE = ir.VectorType(_I8, LANES)
_PART = 16
_N_PARTS = N_STATES // _PART
_LOWEST = ir.Constant(_LINE, [-128] * LANES)


class _Strip(NamedTuple):
    """The arguments of `scan_strip`, arrays as pointers."""

    tables: Any
    states: Any
    above: Any
    best: Any
    n_places: Any
    gap: Any


@intrinsic
def scan_strip(
    typing_context: Any,
    tables: Any,
    states: Any,
    above: Any,
    best: Any,
    n_places: Any,
    gap: Any,
) -> tuple[Any, Callable[..., Any]]:
    """Aligns ROWS query nucleotides with LANES targets.

    Smith and Waterman 1981, with a cost of each nucleotide in a gap; a target a lane as
    in Rognes 2011.

    Arrays are C-contiguous, of 8-bit numbers:

    Args:
        typing_context: numba's.
        tables: [ROWS, N_STATES], score of each row with each state.
        states: [n_places, LANES], < N_STATES.
        above: [n_places, LANES], scores of the row above; left for the row below.
        best: [LANES], raised where the strip scores higher.
        n_places: int64.
        gap: int8, > 0.
    """
    arguments = tables, states, above, best, n_places, gap
    return types.void(*arguments), _generate


def _generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    strip = _Strip(*llvm.pointers(context, builder, signature, values))
    left = [cgutils.alloca_once_value(builder, _LOWEST) for _ in range(ROWS)]
    across = [cgutils.alloca_once_value(builder, _LOWEST) for _ in range(ROWS)]
    corner_state = cgutils.alloca_once_value(builder, _LOWEST)
    best_state = cgutils.alloca_once_value(builder, _load(builder, strip.best, _I64(0)))
    gap = llvm.spread(builder, strip.gap, _LINE)
    with cgutils.for_range(builder, strip.n_places, intp=_I64) as loop:
        states = _load(builder, strip.states, loop.index)
        pairs = _choose_lookup(builder, strip.tables, states)
        corner = builder.load(corner_state)
        above = _load(builder, strip.above, loop.index)
        builder.store(above, corner_state)
        down = _call(builder, "ssub.sat", above, gap)
        best, cell = builder.load(best_state), corner
        for row in range(ROWS):
            pair = _call(builder, "sadd.sat", corner, pairs(row))
            pair = _call(builder, "smax", pair, builder.load(across[row]))
            cell = _call(builder, "smax", pair, down)
            best = _call(builder, "smax", best, cell)
            corner = builder.load(left[row])
            down = _call(builder, "ssub.sat", cell, gap)
            builder.store(down, across[row])
            builder.store(cell, left[row])
        builder.store(best, best_state)
        _store(builder, cell, strip.above, loop.index)
    _store(builder, builder.load(best_state), strip.best, _I64(0))
    return context.get_dummy_value()


_Pairs = Callable[[int], Any]
"""Scores of a row of the strip with the states of one place."""


def _choose_lookup(builder: Any, tables: Any, states: Any) -> _Pairs:
    """Returns the lookup that suits the processor."""
    features = llvm.cpu_features()
    if "+avx512vbmi," in f"{features},":
        return _look_up_whole(builder, tables, states)
    if "+avx512bw" in features:
        lookup = "llvm.x86.avx512.pshuf.b.512"
        return _look_up_parts(builder, tables, states, lookup, 64)
    if "+avx2" in features:
        return _look_up_parts(builder, tables, states, "llvm.x86.avx2.pshuf.b", 32)
    return _look_up_lanes(builder, tables, states)


def _look_up_whole(builder: Any, tables: Any, states: Any) -> _Pairs:
    """Two registers hold a table."""

    def pairs(row: int) -> Any:
        halves = [_load(builder, tables, _I64(2 * row + half)) for half in (0, 1)]
        name = "llvm.x86.avx512.vpermi2var.qi.512"
        return llvm.call(builder, name, (halves[0], states, halves[1]), _LINE)

    return pairs


def _look_up_parts(
    builder: Any, tables: Any, states: Any, name: str, width: int
) -> _Pairs:
    """Each lookup gives 0 for states of the parts that it does not hold."""
    kind = ir.VectorType(_I8, width)
    starts = range(0, LANES, width)
    masked = [
        [
            _call(
                builder,
                "uadd.sat",
                builder.xor(piece, _constant(kind, part * _PART)),
                _constant(kind, 0x70),
            )
            for piece in (_pick(builder, states, start, width) for start in starts)
        ]
        for part in range(_N_PARTS)
    ]

    def pairs(row: int) -> Any:
        found = [_constant(kind, 0) for _ in starts]
        for part in range(_N_PARTS):
            index = _I64(row * _N_PARTS + part)
            table = _load(builder, tables, index, ir.VectorType(_I8, _PART))
            spread = builder.shuffle_vector(
                table, table, _numbers([i % _PART for i in range(width)])
            )
            for i in range(len(starts)):
                own = llvm.call(builder, name, (spread, masked[part][i]), kind)
                found[i] = builder.or_(found[i], own)
        if len(found) == 1:
            return found[0]
        return builder.shuffle_vector(*found, _numbers(list(range(LANES))))

    return pairs


def _look_up_lanes(builder: Any, tables: Any, states: Any) -> _Pairs:
    """One lane after the other, through memory."""
    looked = cgutils.alloca_once(builder, _LINE)
    indices = cgutils.alloca_once(builder, _LINE)
    builder.store(states, indices)

    def pairs(row: int) -> Any:
        table = builder.gep(
            builder.bitcast(tables, _I8.as_pointer()), [_I64(row * N_STATES)]
        )
        sources, goals = (
            builder.bitcast(x, _I8.as_pointer()) for x in (indices, looked)
        )
        with cgutils.for_range(builder, _I64(LANES), intp=_I64) as loop:
            state = builder.load(builder.gep(sources, [loop.index]))
            score = builder.load(builder.gep(table, [builder.zext(state, _I64)]))
            builder.store(score, builder.gep(goals, [loop.index]))
        return builder.load(looked)

    return pairs


def _constant(kind: Any, number: int) -> Any:
    return ir.Constant(kind, [number] * kind.count)


def _numbers(indices: list[int]) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(indices)), indices)


def _pick(builder: Any, line: Any, start: int, width: int) -> Any:
    if width == LANES:
        return line
    return builder.shuffle_vector(
        line, line, _numbers(list(range(start, start + width)))
    )


def _load(builder: Any, array: Any, index: Any, kind: Any = _LINE) -> Any:
    return llvm.load(builder, array, index, kind, 1)


def _store(builder: Any, value: Any, array: Any, index: Any) -> None:
    llvm.store(builder, value, array, index, 1)


def _call(builder: Any, name: str, one: Any, other: Any) -> Any:
    kind = one.type
    return llvm.call(builder, f"llvm.{name}.v{kind.count}i8", (one, other), kind)
