"""Puts activation quantizers into the header of a packed file.

The records stay where they are, and so does all else in the header.
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

PROLOGUE = struct.Struct("<8sHHIQQQQI8s")


def add_activations(path: Path, ranges: dict[str, list[float]], bits: int) -> None:
    """Quantizes each site to `bits` bits between the ends of its range."""
    data = path.read_bytes()
    magic, major, minor, reserved, offset, stored, *_, tail = PROLOGUE.unpack(data[: PROLOGUE.size])
    header = json.loads(zlib.decompress(data[offset : offset + stored]))
    header["activations"] = [
        {"name": name, "bits": bits, "lower": lower, "upper": upper}
        for name, (lower, upper) in ranges.items()
    ]
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    packed = zlib.compress(text)
    prologue = PROLOGUE.pack(
        magic, major, minor, reserved, offset, len(packed), len(text), offset + len(packed),
        zlib.crc32(packed), tail,
    )
    checksum = struct.pack("<I", zlib.crc32(prologue))
    path.write_bytes(prologue + checksum + data[64:offset] + packed)
