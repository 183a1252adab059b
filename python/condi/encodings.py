"""Decoding a record: codes, and the logical tensor that they stand for."""

from __future__ import annotations

import numpy as np

from .errors import PackedError
from .header import Record
from .streams import stream_byte_count, unpack_codes


def codes(record: Record, data: np.ndarray) -> np.ndarray:
    """The codes in the tensor's shape, uint8 or (integers of more than 8 bits) uint64.

    `data` is the record when inflated. Everything the page promises of it is checked.
    """
    what = f"tensor '{record.name}'"
    count = record.element_count
    stream = data[data.size - stream_byte_count(count, record.bits) :]
    if record.bits == 0:
        return np.broadcast_to(np.uint8(0), record.shape)
    result = unpack_codes(stream, count, record.bits, what)
    if record.encoding == "palette" and (last := _extremes(result, record.bits)[1]) >= record.distinct:
        raise PackedError(f"{what}: index {last} where {record.distinct} values are")
    return result.reshape(record.shape)


def check(record: Record, data: np.ndarray) -> None:
    """Everything that the page promises of a record's content."""
    what = f"tensor '{record.name}'"
    match record.encoding:
        case "raw":
            _check_raw(record, data, what)
        case "affine":
            codes(record, data)
            parameters(record, data)
        case "palette":
            codes(record, data)
            _palette(record, data)
        case "integer":
            _check_integers(record, codes(record, data), what)


def decode(record: Record, data: np.ndarray, *, rounded: bool = True) -> np.ndarray:
    """The logical tensor in its shape, in the type's NumPy form; an affine one not `rounded` as Float32."""
    check(record, data)
    match record.encoding:
        case "affine":
            values = _dequantized(record, data)
            return _rounded(record, values) if rounded else values
        case "palette":
            found: np.ndarray = _palette(record, data)[codes(record, data)]
            return found
        case "integer":
            # Modulo 2^64, which is exact because every element was checked to fit its type.
            offset = np.uint64(record.base % 2**64)
            return (codes(record, data).astype(np.uint64) + offset).astype(record.type.dtype)
    if record.type.bit_width < 8:
        count = record.element_count
        return unpack_codes(data, count, record.type.bit_width, record.name).reshape(record.shape)
    return data.view(record.type.dtype).reshape(record.shape)


# raw


def _check_raw(record: Record, data: np.ndarray, what: str) -> None:
    used = record.element_count * record.type.bit_width % 8
    if used and data[-1] >> used:
        raise PackedError(f"{what}: unused bits of the last byte are not zero")


# affine


def parameters(record: Record, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower bounds and scales as Float32, one a cell."""
    what = f"tensor '{record.name}'"
    if record.parameters == "scaled6":
        lower, scale = _parameters_of_codes(record, data, what)
    else:
        dtype = np.dtype("<f4" if record.parameters == "float32" else "<f2")
        both = data[: record.parameter_byte_count].view(dtype).astype(np.float32)
        lower, scale = np.split(both, 2)
    if not (np.isfinite(lower).all() and np.isfinite(scale).all()):
        raise PackedError(f"{what}: a lower bound or scale is not finite")
    if (scale < 0).any():
        raise PackedError(f"{what}: a scale is negative")
    with np.errstate(over="ignore", invalid="ignore"):
        for code in (0, 2**record.bits - 1):
            if not _is_finite(_rounded(record, lower + scale * np.float32(code)), record):
                raise PackedError(f"{what}: code {code} is not finite in {record.type.name}")
    return lower, scale


def _parameters_of_codes(
    record: Record, data: np.ndarray, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Lower bounds and scales of groups, from a unit a row and two codes of 6 bits a group."""
    rows, count = record.matrix[0], record.cell_count
    words = data[: 2 * rows].view("<u2")
    units = (words.astype(np.uint32) << 16).view(np.float32)
    if (words >= 0x7F80).any():
        raise PackedError(f"{what}: a row's unit is negative or not finite")
    length = stream_byte_count(count, 6)
    start = 2 * rows
    streams = data[start : start + length], data[start + length : start + 2 * length]
    lower, scale = (unpack_codes(stream, count, 6, what).astype(np.int32) for stream in streams)
    lower -= (lower & 32) << 1
    unit = np.repeat(units, count // rows)
    if ((unit == 0) & ((lower != 0) | (scale != 0))).any():
        raise PackedError(f"{what}: a row's unit is 0, but not its parameters")
    # Exact: a bfloat16 number has 8 significant bits, a code 6.
    with np.errstate(over="ignore"):
        bounds = unit * (lower << record.bits).astype(np.float32)
        return bounds, unit * scale.astype(np.float32)


def _dequantized(record: Record, data: np.ndarray) -> np.ndarray:
    """The values of codes in the tensor's shape, in Float32."""
    lower, scale = parameters(record, data)
    rows, columns = record.matrix
    weights = codes(record, data).reshape(rows, columns).astype(np.float32)
    if (size := record.group_size) is not None:
        cell_of_column = np.arange(columns) // size
        lower, scale = (cells.reshape(rows, -1)[:, cell_of_column] for cells in (lower, scale))
    elif record.granularity == "channel":
        lower, scale = lower[:, None], scale[:, None]
    else:
        weights = weights.reshape(record.parts, -1)
        lower, scale = lower[:, None], scale[:, None]
    # Two operations on Float32: the product is rounded before the sum is taken.
    weights *= scale
    weights += lower
    return weights.reshape(record.shape)


def _rounded(record: Record, weights: np.ndarray) -> np.ndarray:
    """Float32 rounded to the logical type, to nearest, ties to even; bfloat16 as its bits."""
    if record.type.name != "bfloat16":
        return weights.astype(record.type.dtype)
    bits = weights.view(np.uint32)
    # A carry out of the mantissa is the next exponent, and past the largest, infinity. NaN does
    # not occur: parameters are finite.
    return ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype(np.uint16)


def _is_finite(values: np.ndarray, record: Record) -> bool:
    if record.type.name == "bfloat16":
        return bool(((values & 0x7F80) != 0x7F80).all())
    return bool(np.isfinite(values).all())


# palette and integer


def _extremes(found: np.ndarray, bits: int) -> tuple[int, int]:
    """The least and the greatest code; without bits all are 0, however many they claim to be."""
    if found.size == 0 or bits == 0:
        return 0, 0
    return int(found.min()), int(found.max())


def _palette(record: Record, data: np.ndarray) -> np.ndarray:
    width = record.type.bit_width // 8
    raw = data[: record.distinct * width]
    numbers = raw.view(f"<u{width}")
    what = f"tensor '{record.name}'"
    if (numbers[1:] <= numbers[:-1]).any():
        raise PackedError(f"{what}: the palette is not ascending")
    return raw.view(record.type.dtype)


def _check_integers(record: Record, found: np.ndarray, what: str) -> None:
    if found.size == 0:
        return
    limits = np.iinfo(record.type.dtype)
    least, greatest = (record.base + code for code in _extremes(found, record.bits))
    if least < limits.min or greatest > limits.max:
        raise PackedError(f"{what}: {least}...{greatest} does not fit {record.type.name}")
