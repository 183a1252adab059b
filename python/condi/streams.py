"""zlib streams and bit streams, both read to exactly their declared ends."""

from __future__ import annotations

import zlib

import numpy as np

from .errors import PackedError

MAXIMUM_DEFLATE_RATIO = 1032


def inflate(data: bytes, length: int, what: str) -> bytes:
    """One zlib stream that gives exactly `length` bytes and ends with `data`."""
    if length > MAXIMUM_DEFLATE_RATIO * len(data):
        raise PackedError(f"{what}: {len(data)} bytes cannot inflate to {length}")
    inflater = zlib.decompressobj()
    try:
        # One byte more than wanted, so that a longer stream shows itself.
        output = inflater.decompress(data, length + 1)
    except zlib.error as error:
        raise PackedError(f"{what}: {error}") from error
    if len(output) != length or not inflater.eof:
        raise PackedError(f"{what}: expected {length} inflated bytes")
    if inflater.unused_data:
        raise PackedError(f"{what}: {len(inflater.unused_data)} bytes follow the zlib stream")
    return output


def stream_byte_count(count: int, bits: int) -> int:
    return (count * bits + 7) // 8


def unpack_codes(data: np.ndarray, count: int, bits: int, what: str) -> np.ndarray:
    """`count` codes of `bits` bits (1 to 63) as uint8 or uint64; unused bits must be zero.

    Code k is in bits k·b ..< (k+1)·b; bit i of the stream is bit i mod 8 of byte i div 8.
    """
    if data.size != stream_byte_count(count, bits):
        raise PackedError(f"{what}: expected {stream_byte_count(count, bits)} bytes of codes")
    if (used := count * bits % 8) and data[-1] >> used:
        raise PackedError(f"{what}: unused bits of the last byte are not zero")
    if bits == 8:
        return data
    planes = np.unpackbits(data, count=count * bits, bitorder="little").reshape(count, bits)
    dtype = np.dtype(np.uint8 if bits < 8 else np.uint64)
    codes: np.ndarray = np.zeros(count, dtype)
    for bit in range(bits):
        codes |= np.left_shift(planes[:, bit].astype(dtype), np.array(bit, dtype))
    return codes
