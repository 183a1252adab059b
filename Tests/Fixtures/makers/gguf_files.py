"""GGUF files as the gguf package writes them, and files broken in one way each."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFEndian, GGUFReader, GGUFValueType, GGUFWriter, quants

from .ggml_types import Q1_0, Q2_0
from .manifest import Manifest, leaf_entry, tensor_entry

PLAIN = {
    Type.F32: "float32", Type.F16: "float16", Type.BF16: "bfloat16", Type.F64: "float64",
    Type.I8: "int8", Type.I16: "int16", Type.I32: "int32", Type.I64: "int64",
}  # fmt: skip
# Where the half-precision scales of a block are.
SCALES = {
    Type.Q4_0: (0,), Type.Q4_1: (0, 2), Type.Q5_0: (0,), Type.Q5_1: (0, 2), Type.Q8_0: (0,),
    Q1_0: (0,), Q2_0: (0,), Type.Q2_K: (80, 82), Type.Q3_K: (108,), Type.Q4_K: (0, 2),
    Type.Q5_K: (0, 2), Type.Q6_K: (208,), Type.TQ1_0: (52,), Type.TQ2_0: (64,), Type.MXFP4: (),
    Type.NVFP4: (), Type.IQ1_S: (0,), Type.IQ1_M: (), Type.IQ2_XXS: (0,), Type.IQ2_XS: (0,),
    Type.IQ2_S: (0,), Type.IQ3_XXS: (0,), Type.IQ3_S: (0,), Type.IQ4_NL: (0,), Type.IQ4_XS: (0,),
}  # fmt: skip
HALVES = (0.0, -0.0, 1.0, -1.5, 6e-8, 6.1e-5, -0.007, 65504.0, 0.33325195, 2.0**-14)


def make(manifest: Manifest) -> None:
    make_read(manifest)
    make_refused(manifest)


def pattern(count: int) -> np.ndarray:
    """Bytes that run through all values, in an order that repeats late."""
    return ((np.arange(count, dtype=np.uint64) * 167 + np.arange(count, dtype=np.uint64) // 7)
            % 256).astype(np.uint8)  # fmt: skip


def blocks(kind: Type, rows: int, blocks_per_row: int) -> np.ndarray:
    """Blocks of arbitrary codes with finite scales, zero, negative and subnormal ones included."""
    width = gguf.GGML_QUANT_SIZES[kind][1]
    data = pattern(rows * blocks_per_row * width).reshape(-1, width)
    for index, block in enumerate(data):
        for position, offset in enumerate(SCALES[kind]):
            value = np.array(HALVES[(index + 3 * position) % len(HALVES)], np.float16)
            block[offset : offset + 2] = value.reshape(1).view(np.uint8)
        if kind is Type.IQ1_M:  # the upper nibbles of four words
            bits = int(np.array(HALVES[index % len(HALVES)], np.float16).view(np.uint16))
            for part in range(4):
                block[49 + 2 * part] = block[49 + 2 * part] & 15 | (bits >> 4 * part & 15) << 4
    return data.reshape(rows, blocks_per_row * width)


def plain(kind: Type, shape: tuple[int, ...]) -> np.ndarray:
    if kind is Type.BF16:
        return pattern(2 * int(np.prod(shape))).reshape(*shape[:-1], shape[-1] * 2)
    dtype = np.dtype(PLAIN[kind])
    count = int(np.prod(shape)) * dtype.itemsize
    return pattern(count).view(dtype).reshape(shape)


def written(
    path: Path, tensors: dict[str, tuple[np.ndarray, Type]], *, alignment: int | None = None,
    endianness: GGUFEndian = GGUFEndian.LITTLE, metadata: bool = False,
) -> bytes:  # fmt: skip
    writer = GGUFWriter(path, "condi-test", endianess=endianness)
    if alignment is not None:
        writer.add_custom_alignment(alignment)
    if metadata:
        add_metadata(writer)
    for name, (data, kind) in tensors.items():
        is_native = kind in PLAIN and kind is not Type.BF16
        writer.add_tensor(name, data, raw_dtype=None if is_native else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def add_metadata(writer: GGUFWriter) -> None:
    writer.add_uint8("k.uint8", 255)
    writer.add_int8("k.int8", -128)
    writer.add_uint16("k.uint16", 65535)
    writer.add_int16("k.int16", -32768)
    writer.add_uint32("k.uint32", 2**32 - 1)
    writer.add_int32("k.int32", -(2**31))
    writer.add_uint64("k.uint64", 2**64 - 1)
    writer.add_int64("k.int64", -(2**63))
    writer.add_float32("k.float32", 0.1)
    writer.add_float64("k.float64", 0.1)
    writer.add_float32("k.infinity", float("inf"))
    writer.add_bool("k.true", True)
    writer.add_bool("k.false", False)
    writer.add_string("k.text", "Grüße, 世界 😀\n")
    writer.add_array("k.texts", ["<s>", "", "▁the", "quote\"back\\slash"])
    writer.add_array("k.integers", [1, -2, 3])
    writer.add_array("k.reals", [0.5, 1e-5, 3.0])
    writer.add_array("k.flags", [True, False])


def json_array(values: list[Any]) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def add(manifest: Manifest, name: str, data: bytes, *, decoded: bytes | None = None,
        **extra: Any) -> None:  # fmt: skip
    """Expects what the package's reader finds in `decoded`, which is `data` unless given."""
    path = manifest.path(f"gguf/{name}.gguf")
    path.write_bytes(decoded or data)
    reader = GGUFReader(path)
    tensors, values, metadata = [], {}, {}
    for tensor in reader.tensors:
        shape = [int(dimension) for dimension in reversed(tensor.shape)]
        stored = np.ascontiguousarray(tensor.data)
        if tensor.tensor_type in PLAIN:
            element_type, content = PLAIN[tensor.tensor_type], stored.tobytes()
        else:
            element_type = "float32"
            content = quants.dequantize(stored, tensor.tensor_type).astype("<f4").tobytes()
        shown = None
        if element_type == "float32":
            shown = np.frombuffer(content, "<f4").tolist()
        tensors.append(tensor_entry(tensor.name, element_type, shape, content, shown))
    for key, field in reader.fields.items():
        if key.startswith("GGUF."):
            continue  # The header's counts.
        if field.types[0] == GGUFValueType.ARRAY:
            metadata[key] = json_array(field.contents())
        else:
            values[key] = leaf_entry(field.contents())
    path.write_bytes(data)
    manifest.add(f"gguf/{name}.gguf", {"tensors": tensors, "values": values,
                                       "metadata": metadata, **extra})  # fmt: skip


def make_read(manifest: Manifest) -> None:
    scratch = manifest.path("gguf/scratch")
    for kind in PLAIN:
        tensors = {"weight": (plain(kind, (3, 4)), kind)}
        add(manifest, kind.name.lower(), written(scratch, tensors))
    for kind in SCALES:
        tensors = {
            "weight": (blocks(kind, 5, 4), kind),
            "blk.0.ffn.weight": (blocks(kind, 6, 1).reshape(2, 3, -1), kind),
        }
        add(manifest, kind.name.lower(), written(scratch, tensors))
    reals = np.sin(np.arange(4 * 512, dtype=np.float32)).reshape(4, 512)
    tensors = {kind.name: (quants.quantize(reals, kind), kind)
               for kind in (Type.Q8_0, Type.Q4_0, Type.TQ1_0, Type.TQ2_0, Type.MXFP4)}  # fmt: skip
    add(manifest, "quantized", written(scratch, tensors), note="quantized by the package")
    shapes = {"odd": (plain(Type.F32, (3, 5, 7)), Type.F32),
              "four": (plain(Type.F16, (2, 1, 3, 2)), Type.F16),
              "vector": (plain(Type.I8, (17,)), Type.I8)}  # fmt: skip
    data = written(scratch, shapes)
    add(manifest, "shapes", data)
    add(manifest, "version2", data[:4] + struct.pack("<I", 2) + data[8:], decoded=data)
    add(manifest, "alignment", written(scratch, shapes, alignment=64))
    add(manifest, "metadata", written(scratch, shapes, metadata=True))
    add(manifest, "no_tensors", written(scratch, {}))
    scratch.unlink()
    make_split(manifest)


def make_split(manifest: Manifest) -> None:
    """Two models of several files: tensors from the first on, and a first file of metadata alone."""
    for name, is_first_empty in (("split", False), ("split_metadata", True)):
        folder = manifest.path(f"gguf/{name}/model").parent
        writer = GGUFWriter(folder / "model.gguf", "condi-test", split_max_tensors=2,
                            small_first_shard=is_first_empty)  # fmt: skip
        writer.add_string("k.text", "of the whole model")
        writer.add_array("k.integers", [1, 2])
        tensors = {f"blk.{index}.weight": plain(Type.F32, (2, index + 1)) for index in range(4)}
        for key, data in tensors.items():
            writer.add_tensor(key, data)
        writer.add_tensor("output.weight", quants.quantize(plain(Type.F32, (2, 32)) * 0, Type.Q8_0),
                          raw_dtype=Type.Q8_0)  # fmt: skip
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        rows = [tensor_entry(key, "float32", data.shape, data.tobytes(), data.ravel().tolist())
                for key, data in tensors.items()]  # fmt: skip
        rows.append(tensor_entry("output.weight", "float32", (2, 32), bytes(256), [0.0] * 6))
        expected = {"tensors": rows, "metadata": {"k.integers": json_array([1, 2])}, "values": {
            "general.architecture": leaf_entry("condi-test"),
            "k.text": leaf_entry("of the whole model")}}  # fmt: skip
        for path in sorted(folder.glob("*.gguf")):
            manifest.add(f"gguf/{name}/{path.name}", expected)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def tensor_info(name: bytes, dimensions: list[int], kind: int, offset: int) -> bytes:
    return (text(name) + struct.pack("<I", len(dimensions))
            + b"".join(struct.pack("<Q", dimension) for dimension in dimensions)
            + struct.pack("<IQ", kind, offset))  # fmt: skip


def assembled(
    tensors: list[bytes], pairs: list[bytes] = [], data: bytes = bytes(64), *, version: int = 3,
    tensor_count: int | None = None, pair_count: int | None = None,
) -> bytes:  # fmt: skip
    head = b"GGUF" + struct.pack(
        "<IQQ", version, len(tensors) if tensor_count is None else tensor_count,
        len(pairs) if pair_count is None else pair_count) + b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + data


def make_refused(manifest: Manifest) -> None:
    def bad(name: str, data: bytes, reason: str) -> None:
        path = f"gguf/{name}.gguf"
        manifest.refuse(path, data, reason)

    scratch = manifest.path("gguf/scratch")
    tensors = {"weight": (plain(Type.F32, (3, 4)), Type.F32)}
    bad("big_endian", written(scratch, tensors, endianness=GGUFEndian.BIG),
        "big-endian files are not supported")
    for kind in (Type.Q8_1, Type.Q8_K):
        elements, width = gguf.GGML_QUANT_SIZES[kind]
        data = written(scratch, {"good": (plain(Type.F32, (2,)), Type.F32),
                                 "weight": (pattern(2 * width).reshape(2, width), kind)})
        bad(f"unreadable_{kind.name.lower()}", data, f"'weight' is {kind.name}")
    scratch.unlink()

    good = tensor_info(b"a", [4], 0, 0)
    flag = text(b"k") + struct.pack("<IB", 7, 1)
    bad("version1", assembled([good], version=1), "version 1")
    bad("version4", assembled([good], version=4), "version 4")
    bad("unknown_type", assembled([tensor_info(b"a", [4], 77, 0)]), "the type 77 is unknown")
    bad("removed_type", assembled([tensor_info(b"a", [32], 4, 0)]), "type 4 was removed")
    bad("five_axes", assembled([tensor_info(b"a", [1] * 5, 0, 0)]), "five axes")
    bad("huge_rank", assembled([tensor_info(b"a", [1] * 4, 0, 0).replace(
        struct.pack("<I", 4), struct.pack("<I", 2**32 - 1), 1)]), "2^32 - 1 axes")
    bad("dimension_overflow", assembled([tensor_info(b"a", [2**62, 4], 0, 0)]), "2^64 elements")
    bad("dimension_past_63_bits", assembled([tensor_info(b"a", [2**63], 24, 0)]), "2^63 elements")
    bad("bytes_overflow", assembled([tensor_info(b"a", [2**61], 28, 0)]), "2^64 bytes")
    # 1024 elements in blocks of 128, as a variant of the type has them, are 272 bytes.
    bad("other_q2_0", assembled([tensor_info(b"a", [1024], 42, 0)], data=bytes(272)),
        "blocks of 128 elements under the number of blocks of 64")
    bad("past_the_end", assembled([tensor_info(b"a", [17], 0, 0)]), "68 bytes of 64")
    bad("offset_past_the_end", assembled([tensor_info(b"a", [4], 0, 96)]), "offset 96 of 64")
    bad("offset_overflow", assembled([tensor_info(b"a", [4], 0, 2**64 - 32)]), "offset 2^64 - 32")
    bad("misaligned", assembled([tensor_info(b"a", [4], 0, 8)]), "offset 8 is not aligned")
    bad("half_a_block", assembled([tensor_info(b"a", [16, 2], 2, 0)]), "rows of half a block")
    bad("overlap", assembled([good, tensor_info(b"b", [4], 0, 0)]), "two tensors at one offset")
    bad("duplicate_tensor", assembled([good, tensor_info(b"a", [4], 0, 32)]), "'a' occurs twice")
    bad("duplicate_key", assembled([good], [flag, flag]), "the key 'k' occurs twice")
    bad("bad_flag", assembled([good], [text(b"k") + struct.pack("<IB", 7, 2)]), "a flag of 2")
    bad("bad_utf8", assembled([good], [text(b"\xff") + struct.pack("<IB", 7, 1)]), "no UTF-8")
    bad("unknown_value_type", assembled([good], [text(b"k") + struct.pack("<IB", 13, 1)]),
        "the metadata type 13")
    for value in (0, 48, 2**31):
        pair = text(b"general.alignment") + struct.pack("<II", 4, value)
        bad(f"alignment_{value}", assembled([good], [pair]), f"an alignment of {value}")
    bad("alignment_text", assembled([good], [text(b"general.alignment") + struct.pack("<I", 8)
                                             + text(b"32")]), "an alignment that is a text")
    bad("tensor_count", assembled([good], tensor_count=2**63), "2^63 tensors")
    bad("tensor_count_too_large", assembled([good], tensor_count=5), "5 tensors, one is there")
    bad("pair_count", assembled([good], pair_count=2**64 - 1), "2^64 - 1 metadata pairs")
    huge = text(b"k") + struct.pack("<IIQ", 9, 0, 2**60)
    bad("array_length", assembled([good], [huge]), "an array of 2^60 elements")
    bad("text_length", assembled([good], [text(b"k") + struct.pack("<IQ", 8, 2**64 - 1)]),
        "a text of 2^64 - 1 bytes")
    nested = text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 200
    bad("deep_array", assembled([good], [nested + struct.pack("<IQ", 0, 0)]),
        "arrays nested 200 deep")
    bad("only_magic", b"GGUF", "the file ends after the magic")
