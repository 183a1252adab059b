"""Files as the safetensors package writes them, and files assembled by hand."""

from __future__ import annotations

import json
from typing import Any

import safetensors
import safetensors.numpy
import safetensors.torch
import torch

from .archives import safetensors_bytes
from .manifest import Manifest, tensor_entry
from .torch_files import sample
from .torch_tensors import expectation

WRITTEN = (
    "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 bfloat16 float32 float64 "
    "complex64 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu"
).split()


def make(manifest: Manifest) -> None:
    make_written(manifest)
    make_by_hand(manifest)
    make_sharded(manifest)
    make_refused(manifest)


# MARK: Files to read


def add(
    manifest: Manifest, name: str, data: bytes, tensors: dict[str, torch.Tensor], **extra: Any
) -> None:
    """Expects `tensors` in the order of the file's data, having read them with the package."""
    path = manifest.path(f"safetensors/{name}")
    path.write_bytes(data)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    order = sorted(header, key=lambda key: header[key]["data_offsets"])
    if set(order) != set(tensors):
        raise ValueError(f"{name}: {order}")
    with safetensors.safe_open(path, framework="pt") as file:
        for key, tensor in tensors.items():
            if tensor.dtype is torch.float4_e2m1fn_x2 or tensor.dtype is torch.float8_e8m0fnu:
                continue  # Written, but not read, by the package's PyTorch side.
            read = file.get_tensor(key)
            if read.dtype != tensor.dtype or read.shape != tensor.shape:
                raise ValueError(f"{name}: {key}")
    entry = expectation({key: tensors[key] for key in order})
    del entry["values"]
    manifest.add(f"safetensors/{name}", {**entry, "metadata": metadata, **extra})


def make_written(manifest: Manifest) -> None:
    tensors = {name: sample(getattr(torch, name), (3, 4)) for name in WRITTEN}
    tensors["float4_e2m1"] = sample(torch.float4_e2m1fn_x2, (3, 4))
    for name, tensor in tensors.items():
        add(manifest, f"{name}.safetensors", safetensors.torch.save({"weight": tensor}),
            {"weight": tensor})
    add(manifest, "all_types.safetensors", safetensors.torch.save(tensors), tensors,
        note="sorted by element type, then name")
    shapes = {"scalar": torch.tensor(2.5), "empty": torch.zeros(0), "odd": torch.ones(3, 5, 7),
              "empty_3d": torch.zeros(2, 0, 3, dtype=torch.int16), "one": torch.ones(1, 1, 1, 1)}
    add(manifest, "shapes.safetensors", safetensors.torch.save(shapes), shapes)
    weight = {"weight": torch.arange(6.0).reshape(2, 3)}
    # One key only: the package writes several in the random order of a Rust hash map.
    add(manifest, "metadata.safetensors",
        safetensors.torch.save(weight, {"format": "pt \"quoted\" Grüße"}), weight)
    add(manifest, "no_tensors.safetensors", safetensors.torch.save({}), {})
    names = {"": torch.zeros(1), "a.b/c d": torch.ones(1), "ключ \U0001f511": torch.zeros(2),
             "quote\"and\\": torch.ones(3), "line\nbreak": torch.ones(1)}
    add(manifest, "names.safetensors", safetensors.torch.save(names), names)


def field(dtype: str, shape: list[Any], *offsets: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def dumped(header: dict[str, Any]) -> bytes:
    return json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()


def make_by_hand(manifest: Manifest) -> None:
    tensors = {
        "b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor([1, 2, 3], dtype=torch.uint8),
        "c": torch.tensor([[-1, 2**40]]),
    }  # fmt: skip
    header = {
        "__metadata__": {"format": "mlx", "second": "kept in order", "first": "",
                         "padding": ""},
        "a": field("U8", [3], 0, 3),
        "b": field("F32", [2, 3], 3, 27),
        "c": field("I64", [1, 2], 27, 43),
    }  # fmt: skip
    header["__metadata__"]["padding"] = "x" * (226 - len(dumped(header)))
    data = b"\x01\x02\x03" + tensors["b"].numpy().tobytes() + tensors["c"].numpy().tobytes()
    text = dumped(header)
    add(manifest, "misaligned.safetensors", safetensors_bytes(text, data), tensors,
        note=f"the header is {len(text)} bytes, as MLX writes them: no tensor is aligned")
    shuffled = {key: header[key] for key in ("c", "a", "__metadata__", "b")}
    text = b" ".join(dumped(shuffled).split(b"\n"))
    add(manifest, "header_order.safetensors", safetensors_bytes(text + b"  ", data), tensors,
        note="the header's order is not the data's; expected in the data's order")
    spaced = json.dumps(header, indent=1).encode()
    add(manifest, "header_spaced.safetensors", safetensors_bytes(spaced, data), tensors)
    escaped = dumped({"\u00e9": field("U8", [3], 0, 3)}).replace("é".encode(), b"\\u00e9")
    add(manifest, "header_escapes.safetensors", safetensors_bytes(escaped, b"\x01\x02\x03"),
        {"\u00e9": tensors["a"]})

    # The package defines F6 types but writes and reads them in no framework.
    name = "safetensors/float6.safetensors"
    data = bytes((index * 37 + 64) % 256 for index in range(12))
    header = {"a": field("F6_E2M3", [2, 4], 0, 6), "b": field("F6_E3M2", [8], 6, 12)}
    manifest.path(name).write_bytes(safetensors_bytes(dumped(header), data))
    safetensors.deserialize((manifest.folder / name).read_bytes())
    manifest.add(name, {"tensors": [
        tensor_entry("a", "float6_e2m3", [2, 4], data[:6], float6(data[:6], 2, 3, 1)),
        tensor_entry("b", "float6_e3m2", [8], data[6:], float6(data[6:], 3, 2, 3)),
    ], "metadata": {}})  # fmt: skip


def float6(data: bytes, exponent_bits: int, mantissa_bits: int, bias: int) -> list[float]:
    """OCP microscaling's 6-bit reals, packed without padding, low bits first."""
    whole = int.from_bytes(data, "little")
    values = []
    for index in range(len(data) * 8 // 6):
        code = whole >> (6 * index) & 63
        mantissa = code & ((1 << mantissa_bits) - 1)
        exponent = code >> mantissa_bits & ((1 << exponent_bits) - 1)
        fraction = mantissa / (1 << mantissa_bits)
        value = fraction * 2.0 ** (1 - bias) if exponent == 0 else (1 + fraction) * 2.0 ** (
            exponent - bias)
        values.append(-value if code >> 5 else value)
    return values


def make_sharded(manifest: Manifest) -> None:
    """Two shards and their index, as `huggingface_hub` splits a model."""
    first = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2).half()}
    second = {"b.weight": torch.arange(4, dtype=torch.int32)}
    files = {"model-00001-of-00002.safetensors": first, "model-00002-of-00002.safetensors": second}
    for name, tensors in files.items():
        add(manifest, f"sharded/{name}", safetensors.torch.save(tensors, {"format": "pt"}), tensors)
    index = {
        "metadata": {"total_size": 44},
        "weight_map": {key: name for name, tensors in files.items() for key in sorted(tensors)},
    }
    name = "safetensors/sharded/model.safetensors.index.json"
    manifest.path(name).write_text(json.dumps(index, indent=2) + "\n")
    entry = expectation({key: {**first, **second}[key] for key in index["weight_map"]})
    manifest.add(name, {"tensors": entry["tensors"], "metadata": {"format": "pt"},
                        "note": "the tensors are in the order of the index"})


# MARK: Files to refuse


def make_refused(manifest: Manifest) -> None:
    def bad(name: str, data: bytes, reason: str) -> None:
        manifest.refuse(f"safetensors/{name}.safetensors", data, reason)
        try:
            safetensors.deserialize(data)
        except Exception as error:  # noqa: BLE001: whatever it is, it is the answer.
            answer = f"refuses: {type(error).__name__}"
        else:
            answer = "loads"
        manifest.files[f"safetensors/{name}.safetensors"]["rival"] = answer

    def hand(name: str, header: Any, data: bytes, reason: str, **options: Any) -> None:
        text = header if isinstance(header, bytes) else dumped(header)
        bad(name, safetensors_bytes(text, data, **options), reason)

    four = bytes(range(4))
    good = {"a": field("U8", [4], 0, 4)}
    text = dumped(good)
    hand("duplicate_key", text[:-1] + b"," + text[1:], four, "the name 'a' occurs twice")
    hand("duplicate_field", text.replace(b'"shape"', b'"dtype":"U8","shape"'), four,
         "the field 'dtype' occurs twice")
    hand("hole", {"a": field("U8", [1], 0, 1), "b": field("U8", [2], 2, 4)}, four,
         "byte 1 belongs to no tensor")
    hand("hole_at_start", {"a": field("U8", [3], 1, 4)}, four, "byte 0 belongs to no tensor")
    hand("overlap", {"a": field("U8", [3], 0, 3), "b": field("U8", [2], 2, 4)}, four,
         "byte 2 belongs to two tensors")
    hand("same_range", {"a": field("U8", [4], 0, 4), "b": field("U8", [4], 0, 4)}, four,
         "two tensors share their bytes")
    hand("trailing_byte", good, four + b"\x00", "a byte follows the last tensor")
    hand("missing_byte", good, four[:3], "the data ends inside 'a'")
    hand("no_tensors_but_data", {}, four, "bytes belong to no tensor")
    hand("wrong_size", {"a": field("U16", [4], 0, 4)}, four, "U16 [4] has 8 bytes, not 4")
    hand("reversed_offsets", {"a": field("U8", [4], 4, 0)}, four, "the end lies before the start")
    hand("negative_offset", {"a": field("U8", [4], -4, 0)}, four, "an offset is negative")
    hand("real_offset", {"a": field("U8", [4], 0, 4.0)}, four, "an offset is no integer")
    hand("exponent_offset", text.replace(b"[0,4]", b"[0,4e0]"), four, "an offset is no integer")
    hand("huge_offset", {"a": field("U8", [2**64 - 1], 0, 2**64 - 1)}, four,
         "the data ends before 2^64 - 1")
    hand("offset_past_64_bits", {"a": field("U8", [4], 0, 2**64 + 4)}, four,
         "an offset does not fit 64 bits")
    hand("three_offsets", {"a": field("U8", [4], 0, 2, 4)}, four, "data_offsets has three numbers")
    hand("text_offset", {"a": field("U8", [4], "0", "4")}, four, "an offset is a text")
    hand("negative_dimension", {"a": field("U8", [-2, -2], 0, 4)}, four, "a dimension is negative")
    hand("shape_overflow", {"a": field("U8", [2**32, 2**32, 4], 0, 4)}, four, "the shape overflows")
    hand("bits_overflow", {"a": field("F64", [2**61], 0, 0)}, b"", "the byte count overflows")
    hand("half_byte", {"a": field("F4", [3], 0, 2)}, four[:2], "3 elements of 4 bits fill no bytes")
    hand("unknown_type", {"a": field("U3", [4], 0, 4)}, four, "element type 'U3' is unknown")
    hand("lower_case_type", {"a": field("u8", [4], 0, 4)}, four, "element type 'u8' is unknown")
    hand("missing_field", {"a": {"dtype": "U8", "shape": [4]}}, four, "there are no data_offsets")
    hand("extra_field", {"a": {**good["a"], "strides": [1]}}, four, "field 'strides' is unknown")
    hand("null_tensor", {"a": None}, b"", "'a' is null")
    hand("metadata_number", {"__metadata__": {"epoch": 3}, **good}, four, "metadata is no text")
    hand("metadata_nested", {"__metadata__": {"a": {"b": "c"}}, **good}, four,
         "metadata is no text")
    hand("metadata_list", {"__metadata__": ["a"], **good}, four, "metadata is no dictionary")
    hand("metadata_duplicate", b'{"__metadata__":{"a":"1","a":"2"},' + text[1:], four,
         "the metadata key 'a' occurs twice")
    hand("bad_utf8", text.replace(b'"a"', b'"\xc3\x28"'), four, "the header is not UTF-8")
    hand("lone_surrogate", text.replace(b'"a"', b'"\\ud800"'), four, "a lone surrogate")
    hand("leading_space", b" " + text, four, "the header starts with a space")
    hand("header_array", b"[]", b"", "the header is no object")
    hand("trailing_text", text + b"x", four, "text follows the header's object")
    hand("trailing_zero", text + b"\x00", four, "a zero byte follows the header's object")
    hand("unclosed", text[:-1], four, "the header's object is not closed")
    hand("comment", text[:-1] + b"/* */}", four, "JSON has no comments")
    hand("single_quotes", text.replace(b'"', b"'"), four, "JSON has no single quotes")
    hand("trailing_comma", text[:-1] + b",}", four, "JSON has no trailing commas")
    hand("deep_nesting", b'{"a":' + b"[" * 100_000, b"", "arrays are nested 100,000 deep")
    hand("header_too_long", text, four, "the header ends after the file", length=1000)
    hand("header_over_limit", text, four, "the header is over 100 MB", length=100_000_001)
    hand("header_length_overflow", text, four, "length + 8 overflows", length=2**64 - 1)
    hand("header_empty", b"", b"", "the header is empty")
    # The page of the format forbids these two, the package reads them.
    for name in ("extra_field", "leading_space"):
        path = f"safetensors/{name}.safetensors"
        refused = manifest.files[path]
        manifest.files[path] = {
            "tensors": expectation({"a": torch.arange(4, dtype=torch.uint8)})["tensors"],
            "metadata": {}, "mayRefuse": True, "rival": refused["rival"],
            "note": refused["reason"],
        }  # fmt: skip
    bad("no_bytes", b"", "the file is empty")
    bad("seven_bytes", bytes(7), "the file ends inside the header's length")
