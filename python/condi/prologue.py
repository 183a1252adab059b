"""The first 64 bytes: magic, version, where the header lies, and checksums."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from .errors import PackedError

MAGIC = b"\x89CONDI\r\n"
BYTE_COUNT = 64
MAJOR_VERSION = 1
MAXIMUM_HEADER = 256 << 20
_FIELDS = struct.Struct("<8sHHIQQQQI8sI")


@dataclass(frozen=True)
class Prologue:
    major: int
    minor: int
    header_offset: int
    stored_length: int
    inflated_length: int
    file_length: int
    header_crc: int


def parse(data: bytes, file_length: int) -> Prologue:
    """Checks in the order that the page prescribes.

    `data` is the file's first 64 bytes, or all of a shorter file.
    """
    if data[:8] != MAGIC:
        raise PackedError(f"expected the magic {MAGIC.hex(' ')}, found {data[:8].hex(' ')}")
    if len(data) < BYTE_COUNT:
        raise PackedError(f"expected a prologue of {BYTE_COUNT} bytes, found {len(data)}")
    (_, major, minor, reserved, header_offset, stored, inflated, length, header_crc, reserved2,
     own_crc) = _FIELDS.unpack(data)  # fmt: skip
    if major != MAJOR_VERSION:
        raise PackedError(f"version {major}.{minor} is unknown: this reader knows {MAJOR_VERSION}")
    if zlib.crc32(data[:60]) != own_crc:
        raise PackedError(f"prologue: expected CRC-32 {own_crc:08x}")
    if reserved != 0 or reserved2 != bytes(8):
        raise PackedError("prologue: reserved bytes are not zero")
    if length != file_length:
        raise PackedError(f"expected a file of {length} bytes, found {file_length}")
    if header_offset < BYTE_COUNT or header_offset + stored != length:
        raise PackedError(
            f"a header of {stored} bytes at {header_offset} does not end a file of {length}"
        )
    if inflated > MAXIMUM_HEADER:
        raise PackedError(f"a header of {inflated} bytes is over the limit of {MAXIMUM_HEADER}")
    return Prologue(major, minor, header_offset, stored, inflated, length, header_crc)
