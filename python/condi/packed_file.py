"""A packed file, opened: names, tensors, codes and verification."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Any

import numpy as np

from . import encodings, header, prologue, strict_json, streams, values
from .errors import PackedError
from .header import Record
from .progress import Progress, stepwise

ALIGNMENT = 64
ALIGNED_FROM = 4096


def open(path: str | os.PathLike[str]) -> PackedFile:  # noqa: A001: as in gzip and wave.
    """Opens a packed file and checks its prologue, header and layout; no tensor is read."""
    return PackedFile(path)


def load(
    path: str | os.PathLike[str],
    patterns: str | Iterable[str] = "*",
    *,
    rounded: bool = True,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """The tensors of a packed file whose names match a pattern, by name, as `PackedFile.tensor` gives them.

    Patterns are those of `fnmatch`, such as `*.qkv.weight`, and tell upper from lower case; one that
    matches nothing is a `PackedError`. `progress` is called with bytes of the file.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    with open(path) as file:
        for pattern in patterns:
            if pattern != "*" and not any(fnmatchcase(name, pattern) for name in file.names):
                raise PackedError(f"no tensor's name matches '{pattern}'")
        names = [n for n in file.names if any(fnmatchcase(n, pattern) for pattern in patterns)]
        return {
            name: file.tensor(name, rounded=rounded)
            for name in stepwise(names, file.stored_byte_count, progress)
        }


class PackedFile:
    """A `.condi` file, mapped: a tensor's bytes are read when it is asked for."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        length = os.stat(path).st_size
        self._bytes = (
            np.memmap(path, np.uint8, mode="r") if length else np.zeros(0, np.uint8)
        )
        first = self._bytes[: prologue.BYTE_COUNT].tobytes()
        self.prologue = prologue.parse(first, self._bytes.size)
        stored = self._bytes[self.prologue.header_offset :].tobytes()
        if zlib.crc32(stored) != self.prologue.header_crc:
            raise PackedError(f"header: expected CRC-32 {self.prologue.header_crc:08x}")
        text = streams.inflate(stored, self.prologue.inflated_length, "header")
        self._header = header.parse(strict_json.parse(text))
        self._paddings = self._check_layout()

    def __enter__(self) -> PackedFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the mapping; arrays that were handed out keep theirs."""
        self._bytes = np.zeros(0, np.uint8)

    @property
    def header(self) -> dict[str, Any]:
        """The header as it stands in the file, unknown members included."""
        return self._header.members

    @property
    def names(self) -> list[str]:
        """Every tensor's name in the archive's order."""
        return list(self._header.names)

    @property
    def values(self) -> dict[str, Any]:
        """The leaves that are no tensors, as Python has them."""
        members = self.header.get("values", {})
        return {name: values.decode(value, name) for name, value in members.items()}

    @property
    def edits(self) -> dict[str, Any]:
        """What was left out (`drops`), renamed (`renames`) and cast (`casts`) on the way from the
        source, in this order; empty where names and element types are the source's."""
        found: dict[str, Any] = self.header.get("source", {}).get("edits", {})
        return found

    @property
    def activations(self) -> list[dict[str, Any]]:
        """The quantizers of layers' inputs, as the header lists them; tensors do not include them."""
        found: list[dict[str, Any]] = self.header.get("activations", [])
        return found

    def record(self, name: str) -> Record:
        """The entry that holds the tensor's bytes; for a shared name, the other's."""
        return self._header.names[name]

    def element_type(self, name: str) -> str:
        return self.record(name).type.name

    def shape(self, name: str) -> tuple[int, ...]:
        return self.record(name).shape

    def stored_byte_count(self, name: str) -> int:
        """The bytes that the tensor takes in the file; names that share a record each count them."""
        return self.record(name).byte_count

    def tensor(self, name: str, *, rounded: bool = True) -> np.ndarray:
        """The tensor in its shape, dequantized, after every check of its record.

        Codes with scales stand for Float32 values, which are `rounded` to the tensor's own type. Networks
        that run from the file multiply them before that.

        Types that NumPy lacks come as their bits, one unsigned integer an element. Uncompressed
        raw tensors are read-only views of the mapped file.
        """
        record = self.record(name)
        return encodings.decode(record, self._content(record), rounded=rounded)

    def codes(self, name: str) -> np.ndarray:
        """The codes in the tensor's shape, for any encoding but raw."""
        record = self.record(name)
        if record.encoding == "raw":
            raise PackedError(f"tensor '{name}': raw elements have no codes")
        return encodings.codes(record, self._content(record))

    def parameters(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Lower bounds and scales of an affine tensor as Float32, one a cell."""
        record = self.record(name)
        if record.encoding != "affine":
            raise PackedError(f"tensor '{name}': {record.encoding} has no parameters")
        return encodings.parameters(record, self._content(record))

    def logical_bytes(self, name: str) -> bytes:
        """The tensor's elements, contiguous, row-major, little-endian, narrow ones packed."""
        record = self.record(name)
        if record.encoding == "raw":
            content = self._content(record)
            encodings.check(record, content)
            return content.tobytes()
        return self.tensor(name).tobytes()

    def verify(self, progress: Progress | None = None) -> None:
        """Checks every byte of the file; raises `PackedError` at the first that is wrong.

        `progress` is called with bytes of tensors, after each.
        """
        for start, end in self._paddings:
            if self._bytes[start:end].any():
                raise PackedError(f"padding at {start}..<{end} is not zero")
        for record in stepwise(self._header.records, lambda each: each.byte_count, progress):
            encodings.check(record, self._content(record))
        _ = self.values

    def _check_layout(self) -> list[tuple[int, int]]:
        """Every record where the page puts it; returns the paddings between them."""
        paddings = []
        end = prologue.BYTE_COUNT
        for record in self._header.records:
            start = end
            if record.byte_count >= ALIGNED_FROM:
                start = -(-end // ALIGNMENT) * ALIGNMENT
            if record.offset != start:
                raise PackedError(
                    f"tensor '{record.name}': expected at byte {start}, found {record.offset}"
                )
            if start > end:
                paddings.append((end, start))
            end = start + record.byte_count
        if end != self.prologue.header_offset:
            raise PackedError(
                f"records end at byte {end}, the header starts at {self.prologue.header_offset}"
            )
        return paddings

    def _content(self, record: Record) -> np.ndarray:
        """The record's bytes, checked and inflated."""
        stored = np.asarray(self._bytes[record.offset : record.offset + record.byte_count])
        if stored.size != record.byte_count:
            raise PackedError("the file is closed")
        if zlib.crc32(stored.data) != record.crc32:
            raise PackedError(f"tensor '{record.name}': expected CRC-32 {record.crc32:08x}")
        if record.encoded_byte_count is None:
            return stored
        what = f"tensor '{record.name}'"
        inflated = streams.inflate(stored.tobytes(), record.encoded_byte_count, what)
        return np.frombuffer(inflated, np.uint8)
