"""What loops that are put together in LLVM's language have in common.

Knows nothing of what they compute.
"""

from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, config, types

I32 = ir.IntType(32)


def pointers(context: Any, builder: Any, signature: Any, values: Any) -> list[Any]:
    """Returns the arguments of an intrinsic, arrays as pointers to what they hold."""
    return [
        context.make_array(kind)(context, builder, value).data
        if isinstance(kind, types.Array)
        else value
        for kind, value in zip(signature.args, values, strict=True)
    ]


def cpu_features() -> str:
    """Returns what the processor has that code is made for: "+avx2,+avx512bw,..."."""
    features: str | None = config.CPU_FEATURES  # type: ignore[attr-defined]
    if features is None:
        features = str(binding.get_host_cpu_features().flatten())
    return features


def spread(builder: Any, number: Any, kind: Any) -> Any:
    """Returns the number in every lane of a vector of some kind."""
    none = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(none, number, I32(0))
    zeros = ir.Constant(ir.VectorType(I32, kind.count), None)
    return builder.shuffle_vector(first, none, zeros)


def load(builder: Any, array: Any, index: Any, kind: Any, align: int) -> Any:
    """Returns entry `index` of an array, read as one of entries of some kind.

    `align` is that of the array's own entries: numba promises no more.
    """
    pointer = builder.gep(builder.bitcast(array, kind.as_pointer()), [index])
    value = builder.load(pointer)
    value.align = align
    return value


def store(builder: Any, value: Any, array: Any, index: Any, align: int) -> None:
    """Writes what `load` would read."""
    pointer = builder.gep(builder.bitcast(array, value.type.as_pointer()), [index])
    builder.store(value, pointer).align = align


def call(builder: Any, name: str, values: tuple[Any, ...], kind: Any) -> Any:
    """Returns what one of LLVM's functions gives."""
    form = ir.FunctionType(kind, [value.type for value in values])
    return builder.call(
        cgutils.get_or_insert_function(builder.module, form, name), values
    )
