"""A tiny writer of packed files, from the format's page and apart from the reader's code."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

MAGIC = bytes.fromhex("89434F4E44490D0A")


def bit_stream(codes: list[int], bits: int) -> bytes:
    """Codes as one little-endian number, low bits first."""
    number = sum(code << (index * bits) for index, code in enumerate(codes))
    return number.to_bytes((len(codes) * bits + 7) // 8, "little")


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


class Builder:
    """Collects entries and their records, then writes the file."""

    def __init__(self, **members: Any) -> None:
        self.members = {"format": "condi", "producer": "test 1.0", **members}
        self.entries: list[dict[str, Any]] = []
        self.data = bytearray()
        self.padding = b"\x00"

    def add(
        self, name: str, type: str, shape: list[int], encoding: str, record: bytes,
        *, compressed: bool = False, **members: Any,
    ) -> Builder:  # fmt: skip
        if compressed:
            members |= {"compression": "zlib", "encodedBytes": len(record)}
            record = zlib.compress(record, 9)
        if len(record) >= 4096:
            self.data += self.padding * (-(64 + len(self.data)) % 64)
        self.entries.append({
            "name": name, "type": type, "shape": shape, "role": "weight", "encoding": encoding,
            **members, "offset": 64 + len(self.data), "bytes": len(record),
            "crc32": f"{zlib.crc32(record):08x}",
        })  # fmt: skip
        self.data += record
        return self

    def share(self, name: str, other: str) -> Builder:
        self.entries.append({"name": name, "sharesWith": other})
        return self

    def header(self) -> bytes:
        return json.dumps({**self.members, "tensors": self.entries}, ensure_ascii=False).encode()

    def bytes(self, header: bytes | None = None) -> bytes:
        header = self.header() if header is None else header
        return seal(bytes(self.data), zlib.compress(header, 9), len(header))


def seal(
    data: bytes, stored: bytes, inflated: int, *, major: int = 1, minor: int = 0,
    reserved: int = 0, reserved2: bytes = bytes(8), offset: int | None = None,
    length: int | None = None,
) -> bytes:  # fmt: skip
    """Prologue, data and stored header, with right checksums whatever the fields say."""
    offset = 64 + len(data) if offset is None else offset
    length = 64 + len(data) + len(stored) if length is None else length
    first = MAGIC + struct.pack("<HHIQQQQI", major, minor, reserved, offset, len(stored), inflated,
                                length, zlib.crc32(stored)) + reserved2  # fmt: skip
    return first + struct.pack("<I", zlib.crc32(first)) + data + stored


def everything() -> Builder:
    """A file with every encoding, small, without padding."""
    builder = Builder(
        source={"format": "pytorch", "byteCount": 10, "sha256": "0" * 64, "tensorByteCount": 8},
        metadata={"format": "pt"},
        values={"epoch": 3, "best": 3.5, "name": "x", "none": None,
                "big": {"integer": "99999999999999999999"}, "nan": {"real": "nan"},
                "z": {"complex": [1, "inf"]}, "raw": {"bytes": "AP8="}},
        activations=[{"name": "a.input", "bits": 2, "lower": -0.5, "upper": 1.5}],
        unknown={"kept": [1, 2]},
    )  # fmt: skip
    builder.add("raw", "float32", [2], "raw", floats(1.5, -2.0))
    builder.add("affine", "float32", [2, 3], "affine",
                floats(-1.0, 0.5) + bit_stream([0, 1, 2, 3, 2, 1], 2),
                bits=2, granularity="tensor")
    builder.add("qkv", "float32", [3, 2], "affine",
                floats(0, 1, 2, 1, 10, 100) + bit_stream([0, 1, 2, 3, 4, 7], 3),
                bits=3, granularity="tensor", parts=3)
    builder.share("tied", "affine")
    builder.add("palette", "int64", [5], "palette",
                struct.pack("<3Q", 1, 5, 2**64 - 1) + bit_stream([0, 1, 2, 1, 0], 2),
                bits=2, distinct=3)
    builder.add("constant", "float16", [3, 3], "palette", b"\x00\x3c", bits=0, distinct=1)
    builder.add("index", "int32", [4], "integer", bit_stream([0, 5, 7, 3], 3), bits=3, base=-2)
    builder.add("mask", "uint8", [64], "raw", bytes(64), compressed=True)
    builder.add("empty", "float32", [0, 3], "raw", b"")
    builder.add("scalar", "bool", [], "raw", b"\x01")
    return builder


def padded() -> Builder:
    """A file in which a large record follows a small one, so that there is padding."""
    builder = Builder()
    builder.add("small", "uint8", [3], "raw", b"abc")
    builder.add("large", "uint8", [4096], "raw", bytes(index % 251 for index in range(4096)))
    builder.add("after", "uint8", [1], "raw", b"z")
    return builder
