"""Loops written as LLVM vectors, for numba: they compute the same on every processor, at different speeds.

numba vectorises a plain loop differently on different processors, which changes the order of a sum, and it does not
vectorise a search at all. Here the lanes are written out, and LLVM maps them onto AVX-512, AVX2, SSE or NEON.

`dot` adds up in the same order on every machine: element i goes to lane i mod 32, in rising order; the 32 lanes are
added by halves (l and l + 16, then l + 8, 4, 2, 1); the last D mod 32 elements are then added one after the other.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils as _cgutils
from numba.extending import intrinsic as _intrinsic

MASK_LANES = 64

# numba's own types for these are wrong or absent.
cgutils: Any = _cgutils
intrinsic: Any = _intrinsic

_F32, _F64 = ir.FloatType(), ir.DoubleType()
_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_LINE = 16  # float32 numbers of a cache line


@intrinsic  # type: ignore[untyped-decorator]
def dot(typing: Any, x: Any, w: Any, x_start: Any, w_start: Any, n: Any) -> Any:
    """Return sum x[x_start + i] * w[w_start + i], i < n, in float64; x, w flat float32. The products are exact."""
    integers = types.int64
    return types.float64(x, w, integers, integers, integers), _dot_of(_F64, 8)


@intrinsic  # type: ignore[untyped-decorator]
def dot_ahead(typing: Any, x: Any, w: Any, x_start: Any, w_start: Any, n: Any, x_next: Any, w_next: Any) -> Any:
    """Return `dot`, and prefetch the operands of the next call: x from x_next on, w from w_next on."""
    integers = types.int64
    return types.float64(x, w, integers, integers, integers, integers, integers), _dot_of(_F64, 8)


@intrinsic  # type: ignore[untyped-decorator]
def dot_float32(typing: Any, x: Any, w: Any, x_start: Any, w_start: Any, n: Any) -> Any:
    """Return the same sum in float32, in 64 lanes. It can rule a feature out; it cannot decide that one is active."""
    integers = types.int64
    return types.float32(x, w, integers, integers, integers), _dot_of(_F32, 16)


def _dot_of(wide: Any, width: int) -> Any:
    """Return the code of a dot product with sums of type `wide`, in four vectors of `width`.

    Two more arguments, if there are any, are where the operands of the next call begin; they are prefetched. Rows are
    read in random order, so the processor's own prefetcher does not fetch them.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_at, w_at = (_pointer(context, builder, signature.args[i], args[i], args[i + 2]) for i in (0, 1))
        n, vector = args[4], ir.VectorType(wide, width)
        following = [_pointer(context, builder, signature.args[i], args[i], at) for i, at in enumerate(args[5:])]
        sums = [cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * width)) for _ in range(4)]

        def load(start: Any, at: Any, kind: Any, wide_kind: Any) -> Any:
            value = builder.load(builder.bitcast(builder.gep(start, [at]), kind.as_pointer()), align=4)
            return value if kind == wide_kind else builder.fpext(value, wide_kind)

        def add(total: Any, at: Any, kind: Any, wide_kind: Any) -> None:
            # In float64 the product is exact, so that fusing it with the sum changes nothing.
            term = builder.fmul(*(load(start, at, kind, wide_kind) for start in (x_at, w_at)), flags=("contract",))
            builder.store(builder.fadd(builder.load(total), term, flags=("contract",)), total)

        blocks = builder.sdiv(n, ir.Constant(_I64, 4 * width))
        with cgutils.for_range(builder, blocks, intp=_I64) as loop:
            first = builder.mul(loop.index, ir.Constant(_I64, 4 * width))
            for start in following:
                for line in range(0, 4 * width, _LINE):
                    _prefetch(builder, builder.gep(start, [builder.add(first, ir.Constant(_I64, line))]))
            for part, total in enumerate(sums):
                add(total, builder.add(first, ir.Constant(_I64, width * part)), ir.VectorType(_F32, width), vector)
        a, b, c, d = (builder.load(total) for total in sums)
        lanes, half = builder.fadd(builder.fadd(a, c), builder.fadd(b, d)), width // 2
        while half:
            places = ([ir.Constant(_I32, i) for i in range(start, start + half)] for start in (0, half))
            masks = [ir.Constant(ir.VectorType(_I32, half), part) for part in places]
            lanes = builder.fadd(*(builder.shuffle_vector(lanes, lanes, mask) for mask in masks))
            half //= 2
        total = cgutils.alloca_once_value(builder, builder.extract_element(lanes, ir.Constant(_I32, 0)))
        done = builder.mul(blocks, ir.Constant(_I64, 4 * width))
        with cgutils.for_range(builder, builder.sub(n, done), intp=_I64) as loop:
            add(total, builder.add(done, loop.index), _F32, wide)
        return builder.load(total)

    return generate


@intrinsic  # type: ignore[untyped-decorator]
def reaching(
    typing: Any,
    product: Any,
    start: Any,
    terms: Any,
    row: Any,
    stride: Any,
    factors: Any,
    column: Any,
    n: Any,
    u_out: Any,
) -> Any:
    """Return the bits of 64 rows t = row, row + 1, ... whose product reaches its limit; bit 0 is row `row`.

    product: flat int32, uint16 (bfloat16's bits) or float32, from `start`. terms: flat float32, n of them a row,
    `stride` apart; factors: flat float32, n of them from `column` on. With L = factors[0] - the sum of factors[k] *
    terms[k], k > 0, a row reaches its limit unless p < L - u_out |L|; a NaN among these numbers reaches the limit. An
    int32 p is multiplied by terms[0] first.
    """
    integers = types.int64
    signature = types.uint64(product, integers, terms, integers, integers, factors, integers, integers, types.float32)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p_at = _pointer(context, builder, signature.args[0], args[0], args[1])
        terms_at = _pointer(context, builder, signature.args[2], args[2], args[3])
        factors_at = _pointer(context, builder, signature.args[5], args[5], args[6])
        stride, n, u_out, kind = args[4], args[7], args[8], signature.args[0].dtype
        vector, ints = ir.VectorType(_F32, 16), ir.VectorType(_I32, 16)
        parts = [ir.Constant(_I64, 16 * part) for part in range(MASK_LANES // 16)]

        def spread(value: Any) -> Any:
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
            return builder.shuffle_vector(one, one, ir.Constant(ints, [0] * 16))

        def load(pointer: Any, at: Any, kind: Any, align: int = 4) -> Any:
            return builder.load(builder.bitcast(builder.gep(pointer, [at]), kind.as_pointer()), align=align)

        limit = spread(builder.load(factors_at, align=4))
        limits = [cgutils.alloca_once_value(builder, limit) for _ in parts]
        with cgutils.for_range_slice(builder, ir.Constant(_I64, 1), n, ir.Constant(_I64, 1), intp=_I64) as (k, _):
            factor = spread(load(factors_at, k, _F32))
            for at, limit in zip(parts, limits, strict=True):
                term = load(terms_at, builder.add(at, builder.mul(stride, k)), vector)
                share = builder.fmul(factor, term, flags=("contract",))
                builder.store(builder.fsub(builder.load(limit), share, flags=("contract",)), limit)
        no_sign, u_out = ir.Constant(ints, [0x7FFFFFFF] * 16), spread(u_out)
        bits = ir.Constant(_I64, 0)
        for at, limit in zip(parts, limits, strict=True):
            reach = builder.load(limit)
            size = builder.bitcast(builder.and_(builder.bitcast(reach, ints), no_sign), vector)
            reach = builder.fsub(reach, builder.fmul(u_out, size, flags=("contract",)), flags=("contract",))
            if kind == types.uint16:
                wide = builder.zext(load(p_at, at, ir.VectorType(_I16, 16), align=2), ints)
                p = builder.bitcast(builder.shl(wide, ir.Constant(ints, [16] * 16)), vector)
            elif kind == types.int32:
                p = builder.fmul(builder.sitofp(load(p_at, at, ints), vector), load(terms_at, at, vector))
            else:
                p = load(p_at, at, vector)
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
    """Return a number of the product as float32; a uint16 holds the bits of a bfloat16."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if signature.args[0] == types.uint16:
            return builder.bitcast(builder.shl(builder.zext(args[0], _I32), ir.Constant(_I32, 16)), _F32)
        return builder.sitofp(args[0], _F32) if signature.args[0] == types.int32 else args[0]

    return types.float32(value), generate


def _prefetch(builder: Any, address: Any) -> None:
    """Prefetch a cache line into all levels; an invalid address is no error."""
    kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    is_write, locality, is_data = (ir.Constant(_I32, flag) for flag in (0, 3, 1))
    builder.call(function, [builder.bitcast(address, _I8.as_pointer()), is_write, locality, is_data])


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, start: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [start])
