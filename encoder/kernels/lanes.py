"""Two loops written as LLVM vectors, for numba: what they compute is the same on every processor, only the speed differs.

numba vectorises plain loops as it sees fit, which changes the order of a sum with the processor, and it does not
vectorise a search at all. Here the lanes are spelled out; LLVM maps them onto AVX-512, AVX2, SSE or NEON.

`dot` adds up in this order, whatever the machine: element i goes to lane i mod 32, in rising order; the 32 lanes are
added by halves (l and l + 16, then l + 8, 4, 2, 1); what D mod 32 leaves over is then added one after the other.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

DOT_LANES = 32
MASK_LANES = 64
N_TERMS = 4

_F32, _F64, _I16, _I32, _I64 = ir.FloatType(), ir.DoubleType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)


@intrinsic  # type: ignore[untyped-decorator]
def dot(typing: Any, x: Any, w: Any, x_start: Any, w_start: Any, n: Any) -> Any:
    """Return sum x[x_start + i] * w[w_start + i], i < n, in float64; x, w flat float32. The products are exact."""
    signature = types.float64(x, w, types.int64, types.int64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_at, w_at = (_pointer(context, builder, signature.args[i], args[i], args[i + 2]) for i in (0, 1))
        n = args[4]
        narrow, wide = ir.VectorType(_F32, 8), ir.VectorType(_F64, 8)
        sums = [cgutils.alloca_once_value(builder, ir.Constant(wide, [0.0] * 8)) for _ in range(DOT_LANES // 8)]

        def product(at: Any, kind: Any, wide_kind: Any) -> Any:
            both = []
            for start in (x_at, w_at):
                pointer = builder.bitcast(builder.gep(start, [at]), kind.as_pointer())
                both.append(builder.fpext(builder.load(pointer, align=4), wide_kind))
            return builder.fmul(*both, flags=("contract",))  # exact either way, so fusing changes nothing

        blocks = builder.sdiv(n, ir.Constant(_I64, DOT_LANES))
        with cgutils.for_range(builder, blocks, intp=_I64) as loop:
            first = builder.mul(loop.index, ir.Constant(_I64, DOT_LANES))
            for part, total in enumerate(sums):
                term = product(builder.add(first, ir.Constant(_I64, 8 * part)), narrow, wide)
                builder.store(builder.fadd(builder.load(total), term, flags=("contract",)), total)
        a, b, c, d = (builder.load(total) for total in sums)
        lanes = builder.fadd(builder.fadd(a, c), builder.fadd(b, d))
        for half in (4, 2, 1):
            low, high = ([ir.Constant(_I32, i) for i in range(start, start + half)] for start in (0, half))
            mask = [ir.Constant(ir.VectorType(_I32, half), part) for part in (low, high)]
            lanes = builder.fadd(*(builder.shuffle_vector(lanes, lanes, part) for part in mask))
        total = cgutils.alloca_once_value(builder, builder.extract_element(lanes, ir.Constant(_I32, 0)))
        done = builder.mul(blocks, ir.Constant(_I64, DOT_LANES))
        with cgutils.for_range(builder, builder.sub(n, done), intp=_I64) as loop:
            term = product(builder.add(done, loop.index), _F32, _F64)
            builder.store(builder.fadd(builder.load(total), term, flags=("contract",)), total)
        return builder.load(total)

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def reaching(typing: Any, product: Any, start: Any, rows: Any, row: Any, stride: Any, column: Any, u_out: Any) -> Any:
    """Return the bits of 64 rows t = row, row + 1, ... whose product reaches its limit; bit 0 is row `row`.

    product: flat uint16 (bfloat16's bits) or float32, from `start`. rows: flat float32, four terms of `stride` each.
    column: tuple of five float32: limit and the four factors. With L = limit - sum of factor * term, a row reaches
    the limit unless p < L - u_out |L|; NaN anywhere reaches it.
    """
    column_type = types.UniTuple(types.float32, N_TERMS + 1)
    signature = types.uint64(product, types.int64, rows, types.int64, types.int64, column_type, types.float32)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p_at = _pointer(context, builder, signature.args[0], args[0], args[1])
        rows_at = _pointer(context, builder, signature.args[2], args[2], args[3])
        is_bf16 = signature.args[0].dtype == types.uint16
        vector = ir.VectorType(_F32, 16)

        def spread(value: Any) -> Any:
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
            return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_I32, 16), [0] * 16))

        def load(pointer: Any, at: Any, kind: Any, align: int) -> Any:
            return builder.load(builder.bitcast(builder.gep(pointer, [at]), kind.as_pointer()), align=align)

        limit, *factors = (spread(builder.extract_value(args[5], i)) for i in range(N_TERMS + 1))
        u_out = spread(args[6])
        ints = ir.VectorType(_I32, 16)
        no_sign = ir.Constant(ints, [0x7FFFFFFF] * 16)
        bits = ir.Constant(_I64, 0)
        for part in range(MASK_LANES // 16):
            at = ir.Constant(_I64, 16 * part)
            reach = limit
            for term, factor in enumerate(factors):
                offset = builder.add(at, builder.mul(args[4], ir.Constant(_I64, term)))
                value = load(rows_at, offset, vector, 4)
                reach = builder.fsub(reach, builder.fmul(factor, value, flags=("contract",)), flags=("contract",))
            size = builder.bitcast(builder.and_(builder.bitcast(reach, ints), no_sign), vector)
            margin = builder.fmul(u_out, size, flags=("contract",))
            reach = builder.fsub(reach, margin, flags=("contract",))
            if is_bf16:
                wide = builder.zext(load(p_at, at, ir.VectorType(_I16, 16), 2), ints)
                p = builder.bitcast(builder.shl(wide, ir.Constant(ints, [16] * 16)), vector)
            else:
                p = load(p_at, at, vector, 4)
            found = builder.bitcast(builder.fcmp_unordered(">=", p, reach), _I16)
            bits = builder.or_(bits, builder.shl(builder.zext(found, _I64), at))
        return bits

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def lowest_bit(typing: Any, bits: Any) -> Any:
    """Return the place of the lowest set bit of a uint64 that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def as_float32(typing: Any, value: Any) -> Any:
    """Return a float32 as it is, and a bfloat16, given as the uint16 of its bits, widened."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if signature.args[0] == types.float32:
            return args[0]
        bits = builder.shl(builder.zext(args[0], _I32), ir.Constant(_I32, 16))
        return builder.bitcast(bits, _F32)

    return types.float32(value), generate


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, start: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [start])
