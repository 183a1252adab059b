"""The header's members, checked for type, range and consistency."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from .element_types import ELEMENT_TYPES, ElementType
from .errors import PackedError

ROLES = ("weight", "parameter", "positionTable", "buffer")
ENCODINGS = ("raw", "affine", "palette", "integer")
MAXIMUM_COUNT = 2**63 - 1


@dataclass(frozen=True)
class Record:
    """A tensor entry with a record of its own."""

    name: str
    type: ElementType
    shape: tuple[int, ...]
    role: str
    encoding: str
    offset: int
    byte_count: int
    crc32: int
    bits: int = 0
    granularity: str = ""
    parts: int = 1
    parameters: str = "float32"
    base: int = 0
    distinct: int = 0
    encoded_byte_count: int | None = None
    """The record's length when inflated; `None` where it is not compressed."""

    @property
    def element_count(self) -> int:
        return math.prod(self.shape)

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns for the affine encoding."""
        rows = self.shape[0] if len(self.shape) > 1 else 1
        return rows, self.element_count // rows

    @property
    def group_size(self) -> int | None:
        kind, _, size = self.granularity.partition(":")
        return int(size) if kind == "group" else None

    @property
    def cell_count(self) -> int:
        rows, columns = self.matrix
        if (size := self.group_size) is not None:
            return rows * -(-columns // size)
        return rows if self.granularity == "channel" else self.parts

    @property
    def parameter_byte_count(self) -> int:
        """What lower bounds and scales take."""
        if self.parameters == "scaled6":
            return 2 * self.matrix[0] + 2 * ((6 * self.cell_count + 7) // 8)
        return 2 * self.cell_count * (4 if self.parameters == "float32" else 2)

    @property
    def needed_byte_count(self) -> int:
        """What the encoding needs, before compression."""
        codes = (self.element_count * self.bits + 7) // 8
        match self.encoding:
            case "affine":
                return self.parameter_byte_count + codes
            case "palette":
                return self.distinct * self.type.bit_width // 8 + codes
            case "integer":
                return codes
        return self.type.byte_count(self.element_count)


@dataclass(frozen=True)
class Header:
    members: dict[str, Any]
    records: list[Record]
    """In the order of their entries, which is that of their bytes."""
    names: dict[str, Record]
    """Every name in the archive's order, shared ones included."""


def parse(value: Any) -> Header:
    members = _object(value, "header")
    if members.get("format") != "condi":
        raise PackedError(f"header: format is {members.get('format')!r}, expected 'condi'")
    if not _text(members, "producer", "header"):
        raise PackedError("header: producer is empty")
    _check_optional(members)
    records: list[Record] = []
    names: dict[str, Record] = {}
    for index, item in enumerate(_array(members.get("tensors"), "header: tensors")):
        entry = _object(item, f"header: tensors[{index}]")
        name = _text(entry, "name", f"header: tensors[{index}]")
        if name in names:
            raise PackedError(f"tensor '{name}': the name occurs twice")
        if "sharesWith" in entry:
            names[name] = _shared(entry, name, names)
        else:
            names[name] = _record(entry, name)
            records.append(names[name])
    _check_adjusted(members, {name: record.encoding for name, record in names.items()})
    return Header(members, records, names)


# Tensor entries


def _shared(entry: dict[str, Any], name: str, names: dict[str, Record]) -> Record:
    other = _text(entry, "sharesWith", f"tensor '{name}'")
    if known := [key for key in entry if key in _RECORD_MEMBERS and key != "name"]:
        raise PackedError(f"tensor '{name}': {known[0]} beside sharesWith")
    # A record is listed under its own name; under any other name it is shared itself.
    if other not in names or names[other].name != other:
        raise PackedError(f"tensor '{name}': shares with '{other}', which has no record before it")
    return names[other]


_RECORD_MEMBERS = (
    "name type shape role encoding bits granularity parts parameters base distinct compression "
    "encodedBytes offset bytes crc32"
).split()
_ONLY_FOR = {
    "bits": ("affine", "palette", "integer"), "granularity": ("affine",), "parts": ("affine",),
    "parameters": ("affine",), "base": ("integer",), "distinct": ("palette",),
    "compression": ("raw", "palette", "integer"), "encodedBytes": ("raw", "palette", "integer"),
}  # fmt: skip


def _record(entry: dict[str, Any], name: str) -> Record:
    what = f"tensor '{name}'"
    type_name = _text(entry, "type", what)
    if type_name not in ELEMENT_TYPES:
        raise PackedError(f"{what}: element type '{type_name}' is unknown")
    shape = tuple(
        _integer(size, 0, MAXIMUM_COUNT, f"{what}: shape")
        for size in _array(entry.get("shape"), f"{what}: shape")
    )
    role = _choice(entry, "role", ROLES, what)
    encoding = _choice(entry, "encoding", ENCODINGS, what)
    for key, encodings in _ONLY_FOR.items():
        if key in entry and encoding not in encodings:
            raise PackedError(f"{what}: {key} does not go with {encoding}")
    crc = _text(entry, "crc32", what)
    if not re.fullmatch("[0-9a-f]{8}", crc, re.ASCII):
        raise PackedError(f"{what}: crc32 is '{crc}'")
    fields: dict[str, Any] = {}
    if encoding != "raw":
        limits = {"affine": (1, 8), "palette": (0, 8), "integer": (0, 63)}[encoding]
        fields["bits"] = _integer(entry.get("bits"), *limits, f"{what}: bits")
    if encoding == "integer":
        fields["base"] = _integer(entry.get("base"), -(2**63), 2**64 - 1, f"{what}: base")
    if encoding == "palette":
        fields["distinct"] = _integer(entry.get("distinct"), 1, 256, f"{what}: distinct")
    if encoding == "affine":
        fields |= _affine_fields(entry, what)
    if ("compression" in entry) != ("encodedBytes" in entry):
        raise PackedError(f"{what}: compression and encodedBytes go together")
    if "compression" in entry:
        _choice(entry, "compression", ("zlib",), what)
        fields["encoded_byte_count"] = _integer(
            entry["encodedBytes"], 0, MAXIMUM_COUNT, f"{what}: encodedBytes"
        )
    record = Record(
        name, ELEMENT_TYPES[type_name], shape, role, encoding,
        offset=_integer(entry.get("offset"), 64, MAXIMUM_COUNT, f"{what}: offset"),
        byte_count=_integer(entry.get("bytes"), 0, MAXIMUM_COUNT, f"{what}: bytes"),
        crc32=int(crc, 16), **fields,
    )  # fmt: skip
    _check_consistency(record, what)
    return record


def _affine_fields(entry: dict[str, Any], what: str) -> dict[str, Any]:
    granularity = _text(entry, "granularity", what)
    if not re.fullmatch("tensor|channel|group:[1-9][0-9]{0,18}", granularity, re.ASCII):
        raise PackedError(f"{what}: granularity is '{granularity}'")
    parts = _integer(entry.get("parts", 1), 1, MAXIMUM_COUNT, f"{what}: parts")
    if "parts" in entry and granularity != "tensor":
        raise PackedError(f"{what}: parts go with granularity 'tensor' only")
    parameters = "float32"
    if "parameters" in entry:
        parameters = _choice(entry, "parameters", ("float32", "float16", "scaled6"), what)
    if parameters == "scaled6" and not granularity.startswith("group:"):
        raise PackedError(f"{what}: parameters 'scaled6' go with groups, not with '{granularity}'")
    return {"granularity": granularity, "parts": parts, "parameters": parameters}


def _check_consistency(record: Record, what: str) -> None:
    if record.element_count * record.type.bit_width > MAXIMUM_COUNT:
        raise PackedError(f"{what}: shape {list(record.shape)} overflows")
    if record.encoding == "affine":
        if not record.type.is_affine:
            raise PackedError(f"{what}: {record.type.name} has no affine form")
        if not record.shape or record.element_count == 0:
            raise PackedError(f"{what}: shape {list(record.shape)} has no affine form")
        if record.matrix[0] % record.parts:
            raise PackedError(f"{what}: {record.parts} parts do not divide {record.matrix[0]} rows")
    if record.encoding == "palette":
        if record.type.bit_width not in (8, 16, 32, 64):
            raise PackedError(f"{what}: {record.type.name} has no palette form")
        if record.bits != (record.distinct - 1).bit_length():
            raise PackedError(f"{what}: {record.distinct} values need other than {record.bits} bits")
    if record.encoding == "integer" and not record.type.is_integer:
        raise PackedError(f"{what}: {record.type.name} has no integer form")
    if record.encoded_byte_count is None:
        found = record.byte_count
    else:
        found = record.encoded_byte_count
    if found != record.needed_byte_count:
        raise PackedError(f"{what}: expected {record.needed_byte_count} bytes, found {found}")


# Members beside the tensors


_ACTIVATION_MEMBERS = "name bits lower upper scaling normalized".split()


def group_size(scaling: object) -> int | None:
    """16 for `group:16`; `None` for what does not name groups of 2 to 65,536 values."""
    if not isinstance(scaling, str) or not re.fullmatch("group:[1-9][0-9]{0,4}", scaling, re.ASCII):
        return None
    size = int(scaling.removeprefix("group:"))
    return size if 2 <= size <= 65536 else None


def _check_optional(members: dict[str, Any]) -> None:
    if "source" in members:
        source = _object(members["source"], "header: source")
        for key in ("byteCount", "tensorByteCount"):
            _integer(source.get(key), 0, MAXIMUM_COUNT, f"header: source.{key}")
        for key in ("format", "sha256", *(["root"] if "root" in source else [])):
            _text(source, key, "header: source")
        if not re.fullmatch("[0-9a-f]{64}", source["sha256"], re.ASCII):
            raise PackedError("header: source.sha256 is no digest of 64 hexadecimal digits")
        _check_edits(_object(source.get("edits", {}), "header: source.edits"))
    _object(members.get("recipe", {}), "header: recipe")
    metadata = _object(members.get("metadata", {}), "header: metadata")
    for key in metadata:
        _text(metadata, key, "header: metadata")
    _object(members.get("values", {}), "header: values")
    for index, item in enumerate(_array(members.get("activations", []), "header: activations")):
        what = f"header: activations[{index}]"
        quantizer = _object(item, what)
        _text(quantizer, "name", what)
        _integer(quantizer.get("bits"), 1, 8, f"{what}: bits")
        lower, upper = (_float32(quantizer.get(key), f"{what}: {key}") for key in ("lower", "upper"))
        if lower > upper:
            raise PackedError(f"{what}: lower {lower} is above upper {upper}")
        scaling = quantizer.get("scaling", "tensor")
        if scaling not in ("tensor", "row") and group_size(scaling) is None:
            raise PackedError(f"{what}: scaling {scaling!r} is not known")
        normalized = quantizer.get("normalized", False)
        if not isinstance(normalized, bool) or normalized and group_size(scaling) is not None:
            raise PackedError(f"{what}: normalized is no truth value, or groups are normalized")
        # It may change what the bounds mean.
        if unknown := [key for key in quantizer if key not in _ACTIVATION_MEMBERS]:
            raise PackedError(f"{what}: member '{unknown[0]}' is not known")


def _check_edits(edits: dict[str, Any]) -> None:
    """What was left out, renamed and cast before packing."""
    for key in edits:
        if key not in ("drops", "renames", "casts"):
            raise PackedError(f"header: source.edits: member '{key}' is not known")
    if not all(isinstance(name, str) for name in _array(edits.get("drops", []), "drops")):
        raise PackedError("header: source.edits.drops has an item that is no text")
    for key, members in (("renames", ("pattern", "replacement")), ("casts", ("pattern", "elementType"))):
        for index, item in enumerate(_array(edits.get(key, []), f"header: source.edits.{key}")):
            what = f"header: source.edits.{key}[{index}]"
            for member in members:
                _text(_object(item, what), member, what)


def _check_adjusted(members: dict[str, Any], encodings: dict[str, str]) -> None:
    """Every name is that of a tensor that is kept in full precision."""
    for name in _array(members.get("adjusted", []), "header: adjusted"):
        if not isinstance(name, str):
            raise PackedError("header: adjusted has an item that is no text")
        if name not in encodings:
            raise PackedError(f"header: adjusted names '{name}', but there is no such tensor")
        if encodings[name] == "affine":
            raise PackedError(f"header: adjusted names '{name}', but it is quantized")


def _float32(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PackedError(f"{what} is no number")
    try:
        with np.errstate(over="ignore"):
            is_exact = math.isfinite(value) and float(np.float32(value)) == value
    except OverflowError:
        is_exact = False
    if not is_exact:
        raise PackedError(f"{what}: {value} is no Float32")
    return float(value)


# JSON types


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PackedError(f"{what} is no object")
    return value


def _array(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise PackedError(f"{what} is no array")
    return value


def _text(members: dict[str, Any], key: str, what: str) -> str:
    value = members.get(key)
    if not isinstance(value, str):
        raise PackedError(f"{what}: {key} is no text")
    return value


def _choice(members: dict[str, Any], key: str, choices: tuple[str, ...], what: str) -> str:
    value = _text(members, key, what)
    if value not in choices:
        raise PackedError(f"{what}: {key} '{value}' is none of {', '.join(choices)}")
    return value


def _integer(value: Any, minimum: int, maximum: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise PackedError(f"{what}: expected an integer, found {value!r}")
    if not minimum <= value <= maximum:
        raise PackedError(f"{what}: {value} is not in {minimum}...{maximum}")
    return value
