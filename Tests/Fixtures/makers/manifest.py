"""The expectations file: how a tensor and a leaf are described, and where they are collected."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any, Iterable

SHOWN_VALUES = 6


def number(value: Any) -> Any:
    """`value` as JSON can hold it: texts for what JSON numbers cannot say."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, complex):
        return [number(value.real), number(value.imag)]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def tensor_entry(
    name: str, element_type: str, shape: Iterable[int], data: bytes, values: list[Any] | None
) -> dict[str, Any]:
    entry = {
        "name": name,
        "elementType": element_type,
        "shape": list(shape),
        "crc32": zlib.crc32(data),
    }
    if values is not None:
        entry["values"] = [number(value) for value in values[:SHOWN_VALUES]]
    return entry


def leaf_entry(value: Any) -> dict[str, Any]:
    """A leaf that is not a tensor, tagged with the case of `ArchiveValue` it becomes."""
    match value:
        case None:
            return {"kind": "none", "value": None}
        case bool():
            return {"kind": "boolean", "value": value}
        case int() if -(2**63) <= value < 2**63:
            return {"kind": "integer", "value": value}
        case int():
            return {"kind": "largeInteger", "value": str(value)}
        case float():
            return {"kind": "real", "value": number(value)}
        case complex():
            return {"kind": "complex", "value": number(value)}
        case str():
            return {"kind": "text", "value": value}
        case bytes() | bytearray():
            return {"kind": "bytes", "value": bytes(value).hex()}
    raise TypeError(f"{type(value).__name__} is not a leaf")


def component(key: Any) -> str:
    """The part of a dotted name that a dictionary key stands for."""
    if isinstance(key, str) or key is None or isinstance(key, (bool, int, float)):
        return str(key)
    raise TypeError(f"{type(key).__name__} is not a key")


def flatten(value: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    """Every leaf of nested containers under its dotted name, in order."""
    if isinstance(value, dict):
        children = [(component(key), child) for key, child in value.items()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        children = [(str(index), child) for index, child in enumerate(value)]
    else:
        yield name, value
        return
    for part, child in children:
        yield from flatten(child, f"{name}.{part}" if name else part)


class Manifest:
    """Collects the expectations for the files below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, dict[str, Any]] = {}

    def path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def add(self, name: str, entry: dict[str, Any]) -> None:
        if name in self.files:
            raise ValueError(f"{name} was made twice")
        if not (self.folder / name).is_file():
            raise ValueError(f"{name} was not made")
        self.files[name] = entry

    def refuse(self, name: str, data: bytes, reason: str, rival: str | None = None) -> None:
        """Writes a file that has to be refused."""
        self.path(name).write_bytes(data)
        entry: dict[str, Any] = {"refused": True, "reason": reason}
        if rival is not None:
            entry["rival"] = rival
        self.add(name, entry)

    def write(self, path: Path) -> None:
        path.write_text(dumps(self.files), encoding="utf-8")


def dumps(files: dict[str, dict[str, Any]]) -> str:
    """JSON with one tensor a line, so that differences between two versions can be read."""

    def compact(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    blocks = []
    for name in sorted(files):
        parts = []
        for key, value in files[name].items():
            if key == "tensors" and value:
                rows = ",\n".join(f"      {compact(row)}" for row in value)
                parts.append(f'    "tensors": [\n{rows}\n    ]')
            else:
                parts.append(f"    {compact(key)}: {compact(value)}")
        body = ",\n".join(parts)
        blocks.append(f"  {compact(name)}: {{\n{body}\n  }}")
    return "{\n" + ",\n".join(blocks) + "\n}\n"
