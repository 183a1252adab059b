"""Makes random files of many formats with the programs that they come from, has condi-convert read each,
and compares element by element with what the program itself reads.

    python random_formats.py path/to/condi-convert [--count 300] [--seed 0] [--only gguf]

GGUF of all block types, in one file or split; safetensors of all its types; ONNX with typed, raw and
external data and sub-graphs; Flax; PyTorch's distributed checkpoints; GPTQ, AWQ, compressed-tensors and
MLX, whose weights are put together. Exit code 1 on any difference. Needs requirements.txt.
"""

from __future__ import annotations

import argparse
import collections
import json
import logging
import os
import random
import shutil
import string
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import ml_dtypes  # noqa: E402
import numpy as np  # noqa: E402

F = np.float32
# The types of a safetensors file, by their names in its header.
SAFETENSORS_TYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16, "U32": np.uint32,
    "I32": np.int32, "U64": np.uint64, "I64": np.int64, "F16": np.float16, "F32": np.float32,
    "F64": np.float64, "C64": np.complex64, "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz, "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
}  # fmt: skip
TYPE_NAMES = {np.dtype(value): key for key, value in SAFETENSORS_TYPES.items()}


class Sample:
    """A file, how to convert it, and what must come out."""

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self.what = what
        self.options: list[str] = []
        # Arrays, or `(header's type, shape, bytes)` of types that NumPy has not.
        self.expected: dict[str, Any] = {}
        # The largest difference, in units of the value; 0 for the same bits.
        self.tolerance = 0.0
        # Whether tensors that are not expected may come out.
        self.is_part = False


def elements(chance: random.Random, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Any bits, NaN and infinity included."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    raw = chance.randbytes(count * dtype.itemsize)
    if dtype == bool:
        return (np.frombuffer(raw, np.uint8) % 2 == 0).reshape(shape)
    return np.frombuffer(raw, dtype).reshape(shape)


def a_shape(chance: random.Random, rank: int | None = None) -> tuple[int, ...]:
    rank = chance.randrange(5) if rank is None else rank
    return tuple(chance.choice([0, 1, 2, 3, 5, 7, 16]) for _ in range(rank))


def a_name(chance: random.Random, taken: Any) -> str:
    letters = string.ascii_letters + string.digits + "_-"
    while True:
        parts = ["".join(chance.choices(letters, k=chance.randrange(1, 9))) for _ in range(chance.randrange(1, 5))]
        name = ".".join(parts)
        # No name may lie below another, and none may be a weight's part.
        if all(not f"{name}.".startswith(f"{other}.") and not f"{other}.".startswith(f"{name}.") for other in taken):
            return name


# GGUF


def gguf_file(chance: random.Random, folder: Path) -> Sample:
    import gguf
    from gguf import GGMLQuantizationType as Type
    from gguf import quants
    from makers.gguf_files import HALVES, SCALES

    plain = {Type.F32: np.float32, Type.F16: np.float16, Type.F64: np.float64, Type.I8: np.int8,
             Type.I16: np.int16, Type.I32: np.int32, Type.I64: np.int64}  # fmt: skip
    pieces = chance.choice([0, 0, 1, 2])
    sample = Sample(folder / "model.gguf", f"gguf{', split' if pieces else ''}")
    writer = gguf.GGUFWriter(sample.path, "llama", split_max_tensors=pieces)
    for key in range(chance.randrange(4)):
        writer.add_uint32(f"test.{key}", chance.randrange(1 << 32))
    writer.add_array("test.list", [chance.random() for _ in range(3)])
    used = []
    for _ in range(chance.randrange(1, 6)):
        name = a_name(chance, sample.expected)
        kind = chance.choice(list(SCALES) + list(plain) + [Type.BF16])
        used.append(getattr(kind, "name", str(kind)))
        if kind in plain:
            # gguf has no empty tensors.
            shape = tuple(max(1, side) for side in a_shape(chance, chance.randrange(1, 5)))
            array = elements(chance, plain[kind], shape)
            writer.add_tensor(name, array)
            sample.expected[name] = array
            continue
        if kind not in gguf.GGML_QUANT_SIZES:
            continue
        size, width = gguf.GGML_QUANT_SIZES[kind]
        rows, blocks = chance.randrange(1, 4), chance.randrange(1, 4)
        try:
            if chance.random() < 0.5:
                values = np.array([chance.gauss(0, 0.1) for _ in range(rows * blocks * size)], F)
                data = quants.quantize(values.reshape(rows, blocks * size), kind)
            else:
                raise NotImplementedError
        except NotImplementedError:
            data = np.frombuffer(chance.randbytes(rows * blocks * width), np.uint8).copy()
            if kind is Type.BF16:
                data = data.reshape(rows, -1)
            else:
                data = data.reshape(-1, width)
                for block in data:
                    for offset in SCALES[kind]:
                        half = np.array(chance.choice(HALVES), np.float16)
                        block[offset : offset + 2] = half.reshape(1).view(np.uint8)
                    if kind is Type.IQ1_M:
                        bits = int(np.array(chance.choice(HALVES), np.float16).view(np.uint16))
                        for part in range(4):
                            block[49 + 2 * part] = block[49 + 2 * part] & 15 | (bits >> 4 * part & 15) << 4
                data = data.reshape(rows, blocks * width)
        try:
            with np.errstate(all="ignore"):
                values = quants.dequantize(data, kind)
        except NotImplementedError:
            continue
        if kind is Type.BF16:
            values = data.view(ml_dtypes.bfloat16)
        writer.add_tensor(name, data, raw_dtype=kind)
        sample.expected[name] = values
    if not sample.expected:
        sample.expected["x"] = np.ones(3, F)
        writer.add_tensor("x", sample.expected["x"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if not sample.path.exists():
        sample.path = sorted(folder.glob("*.gguf"))[0]
    sample.what += f" ({', '.join(sorted(set(used)))})"
    return sample


# Safetensors


def safetensors_file(chance: random.Random, folder: Path) -> Sample:
    import safetensors

    sample = Sample(folder / "model.safetensors", "safetensors")
    # The program's names of types, by the header's.
    names = {"BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32",
             "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16", "F32": "float32", "F64": "float64",
             "C64": "complex64", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
             "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E8M0": "float8_e8m0fnu",
             "F4": "float4_e2m1fn_x2", "F6_E2M3": "float6_e2m3fn", "F6_E3M2": "float6_e3m2fn"}  # fmt: skip
    tensors, used = {}, []
    for _ in range(chance.randrange(1, 9)):
        kind = chance.choice(list(names))
        name = a_name(chance, tensors)
        shape = a_shape(chance)
        bits = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}.get(kind)
        if bits:
            shape = (*shape[:2], 16)
            count = int(np.prod(shape))
            data = chance.randbytes(count * bits // 8)
            given = (*shape[:-1], shape[-1] // 2) if kind == "F4" else shape
            sample_value: Any = (kind, shape, data)
        else:
            array = elements(chance, SAFETENSORS_TYPES[kind], shape)
            data, given, sample_value = array.tobytes(), shape, array
        entry = {"dtype": names[kind], "shape": list(given), "data": data}
        try:
            safetensors.serialize({"x": entry})
        except Exception:  # This version has no such type.
            continue
        tensors[name] = entry
        sample.expected[name] = sample_value
        used.append(kind)
    metadata = {"format": "pt", "a": "Grüße"} if chance.random() < 0.5 else None
    tensors = dict(chance.sample(list(tensors.items()), len(tensors)))
    sample.path.write_bytes(safetensors.serialize(tensors, metadata))
    sample.what += f" ({', '.join(sorted(set(used)))})"
    return sample


# ONNX


def onnx_file(chance: random.Random, folder: Path) -> Sample:
    import onnx
    from makers.onnx_files import ELEMENT_TYPES, PACKED, model
    from onnx import TensorProto, helper, numpy_helper

    sample = Sample(folder / "model.onnx", "onnx")
    used: list[str] = []

    def tensor(name: str, key: str) -> TensorProto:
        kind = chance.choice([*ELEMENT_TYPES, *PACKED])
        used.append(kind)
        shape = a_shape(chance)
        dtype = helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind))
        if kind in PACKED:
            bits, signed = int(kind.lstrip("UINT")), kind[0] == "I"
            low = -(1 << bits - 1) if signed else 0
            count = int(np.prod(shape))
            values = np.array([low + chance.randrange(1 << bits) for _ in range(count)], np.int8)
            array = values.astype(dtype).reshape(shape)
        else:
            array = elements(chance, dtype, shape)
        if chance.random() < 0.5 or kind == "FLOAT8E8M0":
            made = numpy_helper.from_array(array, name)
        else:
            made = helper.make_tensor(name, getattr(TensorProto, kind), shape, array.reshape(-1))
        read = numpy_helper.to_array(made)
        sample.expected[key] = read.astype(PACKED[kind]) if kind in PACKED else read
        return made

    initializers = []
    for _ in range(chance.randrange(1, 7)):
        name = a_name(chance, sample.expected)
        initializers.append(tensor(name, name))
    nodes = []
    if chance.random() < 0.5:
        branches = {}
        for branch in ("then_branch", "else_branch"):
            name = f"deep{branch[0]}"
            branches[branch] = helper.make_graph([], branch, [], [], [tensor(name, f"choice.{branch}.{name}")])
        nodes.append(helper.make_node("If", ["w"], ["y"], name="choice", **branches))
        constant = tensor("", "constant")
        nodes.append(helper.make_node("Constant", [], ["constant"], value=constant))
    made = model(initializers, nodes)
    if chance.random() < 0.4:
        sample.what += ", external"
        onnx.save(made, sample.path, save_as_external_data=True, size_threshold=0,
                  all_tensors_to_one_file=chance.random() < 0.5, location=None)  # fmt: skip
    else:
        onnx.save(made, sample.path)
    sample.what += f" ({', '.join(sorted(set(used)))})"
    return sample


# Flax


def flax_file(chance: random.Random, folder: Path) -> Sample:
    from unittest import mock

    from flax import serialization
    from makers.flax_files import NARROW, TYPES
    from makers.manifest import flatten

    def tree(depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for _ in range(chance.randrange(1, 5)):
            name = a_name(chance, made).replace(".", "_")
            match chance.randrange(6 if depth else 5):
                case 0:
                    made[name] = chance.choice([7, -1, 2.5, True, None, "text", 2**60])
                case 1:
                    made[name] = elements(chance, getattr(ml_dtypes, chance.choice(NARROW)), a_shape(chance))
                case 2 | 3 | 4:
                    made[name] = elements(chance, chance.choice(TYPES), a_shape(chance))
                case _:
                    made[name] = tree(depth - 1)
        return made

    sample = Sample(folder / "model.msgpack", "flax")
    content = {"params": tree(2), "z": np.arange(3, dtype=F)}
    chunk = 1 << 30
    if chance.random() < 0.4:
        chunk, sample.what = chance.choice([8, 40, 100]), "flax, in chunks"
    with mock.patch.object(serialization, "MAX_CHUNK_SIZE", chunk):
        sample.path.write_bytes(serialization.msgpack_serialize(content))
    restored = serialization.msgpack_restore(sample.path.read_bytes())
    for name, leaf in flatten(restored):
        if isinstance(leaf, np.ndarray):
            sample.expected[name] = leaf
    return sample


# PyTorch's distributed checkpoints


def dcp_folder(chance: random.Random, folder: Path) -> Sample:
    import torch
    import torch.distributed.checkpoint as dcp
    from random_checkpoints import random_tensor

    sample = Sample(folder / "checkpoint", "distributed checkpoint")
    state: dict[str, Any] = {"model": {}, "step": chance.randrange(1000)}
    for _ in range(chance.randrange(1, 6)):
        name = a_name(chance, state["model"])
        tensor = random_tensor(chance)
        state["model"][name] = tensor
        array = tensor.detach().clone(memory_format=torch.contiguous_format).contiguous()
        raw = array.reshape(-1).view(torch.uint8).numpy() if array.numel() else np.zeros(0, np.uint8)
        name_of_type = str(tensor.dtype).removeprefix("torch.")
        dtype = np.dtype(getattr(ml_dtypes, name_of_type, None) or name_of_type)
        sample.expected[f"model.{name}"] = raw.view(dtype).reshape(tuple(tensor.shape))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=sample.path, no_dist=True)
    return sample


# Quantized checkpoints


def gptq_folder(chance: random.Random, folder: Path) -> Sample:
    from generate_exports import make_gptq
    from safetensors.numpy import load_file

    version, offset = chance.choice([("gptq", 1), ("gptq_v2", 0)])
    bits = chance.choice([2, 3, 4, 8])
    sample = Sample(folder / "gptq", f"{version}, {bits} bits")
    make_gptq(sample.path, version, offset, bits, np.random.default_rng(chance.randrange(1 << 32)))
    sample.expected = load_file(sample.path / "values.safetensors")
    (sample.path / "values.safetensors").unlink()
    sample.options = ["--cast", "fc.weight=float16"]
    sample.is_part = True
    return sample


def awq_folder(chance: random.Random, folder: Path) -> Sample:
    from safetensors.numpy import save_file

    group, inputs = chance.choice([(32, 64), (32, 96), (64, 128), (128, 128)])
    outputs = 8 * chance.randrange(1, 6)
    sample = Sample(folder / "awq", f"awq, groups of {group}")
    sample.path.mkdir()
    rng = np.random.default_rng(chance.randrange(1 << 32))
    codes = rng.integers(0, 16, (inputs, outputs)).astype(np.uint32)
    zeros = rng.integers(0, 16, (inputs // group, outputs)).astype(np.uint32)
    scales = rng.uniform(1e-3, 0.1, zeros.shape).astype(np.float16)

    def packed(numbers: np.ndarray) -> np.ndarray:
        words = np.zeros((numbers.shape[0], outputs // 8), np.uint32)
        for place, column in enumerate([0, 2, 4, 6, 1, 3, 5, 7]):
            words |= numbers[:, column::8] << np.uint32(4 * place)
        return words.view(np.int32)

    rows = np.arange(inputs) // group
    exact = (codes.astype(F) - zeros.astype(F)[rows]) * scales.astype(F)[rows]
    save_file({"fc.qweight": packed(codes), "fc.qzeros": packed(zeros), "fc.scales": scales},
              sample.path / "model.safetensors")  # fmt: skip
    config = {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm", "zero_point": True}
    (sample.path / "config.json").write_text(json.dumps({"quantization_config": config}))
    sample.expected["fc.weight"] = exact.T.astype(np.float16).copy()
    sample.options = ["--cast", "fc.weight=float16"]
    sample.is_part = True
    return sample


def compressed_folder(chance: random.Random, folder: Path) -> Sample:
    import torch
    from compressed_tensors.compressors import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
    from safetensors.torch import save_file

    bits, strategy, symmetric = chance.choice([2, 3, 4, 8]), chance.choice(["group", "channel"]), chance.random() < 0.6
    sample = Sample(folder / "packed", f"compressed-tensors, {bits} bits a {strategy}, symmetric {symmetric}")
    sample.path.mkdir()
    generator = torch.Generator().manual_seed(chance.randrange(1 << 32))
    rows, columns = chance.randrange(1, 9), 32 * chance.randrange(1, 4)
    dtype = chance.choice([torch.bfloat16, torch.float16, torch.float32])
    arguments = QuantizationArgs(num_bits=bits, type="int", strategy=strategy, symmetric=symmetric,
                                 group_size=32 if strategy == "group" else None)  # fmt: skip
    shape = (rows, columns // 32) if strategy == "group" else (rows, 1)
    scale = (torch.rand(shape, generator=generator) * 0.1 + 0.01).to(dtype)
    zero = None if symmetric else torch.randint(
        -(2 ** (bits - 1)), 2 ** (bits - 1), shape, generator=generator).to(torch.int8)  # fmt: skip
    state = {"weight": torch.randn((rows, columns), generator=generator).to(dtype), "weight_scale": scale}
    codes = quantize(state["weight"], scale, zero, arguments, dtype=torch.int8)
    exact = dequantize(codes, scale, zero, arguments).to(dtype)
    if zero is not None:
        state["weight_zero_point"] = zero
    scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
    packed = PackedQuantizationCompressor.compress(state, scheme)
    save_file({f"fc.{key}": value for key, value in packed.items()}, sample.path / "model.safetensors")
    weights = {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": strategy,
               "group_size": 32 if strategy == "group" else None}  # fmt: skip
    config = {"quant_method": "compressed-tensors", "format": "pack-quantized",
              "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}  # fmt: skip
    (sample.path / "config.json").write_text(json.dumps({"quantization_config": config}))
    name = str(dtype).removeprefix("torch.")
    kind = np.dtype(getattr(ml_dtypes, name, None) or name)
    sample.expected["fc.weight"] = exact.contiguous().view(torch.uint8).numpy().view(kind).reshape(rows, columns)
    sample.options = ["--cast", f"fc.weight={name}"]
    sample.is_part = True
    return sample


def mlx_folder(chance: random.Random, folder: Path) -> Sample:
    import mlx.core as mx

    bits, group = chance.choice([2, 3, 4, 5, 6, 8]), chance.choice([32, 64, 128])
    dtype = chance.choice([mx.float16, mx.bfloat16, mx.float32])
    name = str(dtype).removeprefix("mlx.core.")
    sample = Sample(folder / "mlx", f"mlx, {bits} bits in groups of {group}, {name}")
    sample.path.mkdir()
    rng = np.random.default_rng(chance.randrange(1 << 32))
    cpu = mx.cpu
    source = mx.array(rng.normal(0, 0.2, (chance.randrange(1, 6), group * chance.randrange(1, 4))).astype(F))
    source = source.astype(dtype, stream=cpu)
    weight, scales, biases = mx.quantize(source, group_size=group, bits=bits, stream=cpu)
    tensors = {"fc.weight": weight, "fc.scales": scales, "fc.biases": biases}
    mx.save_safetensors(str(sample.path / "model.safetensors"), tensors, {"format": "mlx"})
    (sample.path / "config.json").write_text(json.dumps({"quantization": {"group_size": group, "bits": bits}}))
    wide = [value.astype(mx.float32, stream=cpu) for value in (scales, biases)]
    # In Float32, as the format is documented; MLX itself rounds each step to the scales' type.
    exact = mx.dequantize(weight, *wide, group_size=group, bits=bits, stream=cpu)
    kind = np.dtype(getattr(ml_dtypes, name, None) or name)
    sample.expected["fc.weight"] = np.array(exact).astype(kind)
    sample.options = ["--cast", f"fc.weight={name}"]
    sample.is_part = True
    return sample


def mlx_archive(chance: random.Random, folder: Path) -> Sample:
    import mlx.core as mx

    sample = Sample(folder / "model.npz", "mlx, npz")
    types = [mx.float32, mx.float16, mx.int8, mx.uint8, mx.int16, mx.int32, mx.uint32, mx.int64, mx.bool_, mx.complex64]
    if chance.random() < 0.5:
        types.append(mx.bfloat16)
        sample.options = ["--void-type", "bfloat16"]
    arrays = {}
    for _ in range(chance.randrange(1, 6)):
        dtype, name = chance.choice(types), a_name(chance, arrays)
        shape = tuple(max(1, side) for side in a_shape(chance, chance.randrange(1, 4)))
        label = str(dtype).removeprefix("mlx.core.")
        values = [chance.randrange(-100, 100) for _ in range(int(np.prod(shape)))]
        array = np.array(values, F).reshape(shape)
        if dtype in (mx.uint8, mx.uint32):
            array = np.abs(array)
        arrays[name] = mx.array(array).astype(dtype, stream=mx.cpu)
        kind = np.dtype(getattr(ml_dtypes, label, None) or label.rstrip("_"))
        sample.expected[name] = array.astype(kind)
    mx.savez(str(sample.path), **arrays)
    return sample


MAKERS: dict[str, Callable[[random.Random, Path], Sample]] = {
    "gguf": gguf_file, "safetensors": safetensors_file, "onnx": onnx_file, "flax": flax_file, "dcp": dcp_folder,
    "gptq": gptq_folder, "awq": awq_folder, "compressed": compressed_folder, "mlx": mlx_folder, "mlx-npz": mlx_archive,
}  # fmt: skip


def read_safetensors(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    content = data[8 + length :]
    found: dict[str, Any] = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        found[name] = (entry["dtype"], tuple(entry["shape"]), content[start:end])
    return found


def described(value: Any) -> tuple[str, tuple[int, ...], bytes]:
    if isinstance(value, tuple):
        return value
    return TYPE_NAMES[value.dtype], tuple(value.shape), np.ascontiguousarray(value).tobytes()


def difference(found: Any, expected: Any) -> str | None:
    (kind, shape, data), (wanted, wanted_shape, wanted_data) = found, described(expected)
    if (kind, shape) != (wanted, wanted_shape):
        return f"{kind} {list(shape)} instead of {wanted} {list(wanted_shape)}"
    if data == wanted_data:
        return None
    dtype = np.dtype(SAFETENSORS_TYPES[kind])
    left, right = np.frombuffer(data, dtype), np.frombuffer(wanted_data, dtype)
    if dtype.kind in "fV" or "float" in dtype.name:
        # NaN has many forms, of which arithmetic keeps none.
        with np.errstate(all="ignore"):
            wrong = ~((left == right) | (np.isnan(left) & np.isnan(right)))
        # Zeros of either sign are equal as numbers, but not here.
        wrong |= (left == 0) & (right == 0) & (np.signbit(left.astype(F)) != np.signbit(right.astype(F)))
        if not wrong.any():
            return None
        place = int(np.argmax(wrong))
        return f"element {place}: {left[place]!r} instead of {right[place]!r}, {int(wrong.sum())} differ"
    return "other elements"


def check(tool: str, sample: Sample, folder: Path) -> str | None:
    complex128 = [name for name, value in sample.expected.items()
                  if isinstance(value, np.ndarray) and value.dtype == np.complex128]  # fmt: skip
    target = folder / "out.safetensors"
    command = [tool, "convert", str(sample.path), str(target), *sample.options]
    result = subprocess.run([*command, "--quiet"], capture_output=True, text=True, timeout=120, check=False)
    if result.returncode < 0:
        return f"ended by signal {-result.returncode}"
    if complex128 and result.returncode == 2 and any(f"'{name}'" in result.stderr for name in complex128):
        # Safetensors has no such type: refused by name. The others are compared.
        drops = [option for name in complex128 for option in ("--drop", name)]
        for name in complex128:
            del sample.expected[name]
        if not sample.expected:
            return None
        result = subprocess.run([*command, *drops, "--quiet"], capture_output=True, text=True, timeout=120, check=False)
    if result.returncode != 0:
        return result.stderr.strip()
    found = read_safetensors(target)
    for name, expected in sample.expected.items():
        if name not in found:
            return f"{name!r} is missing; there are {list(found)[:4]}"
        if problem := difference(found[name], expected):
            return f"{name!r}: {problem}"
    more = set(found) - set(sample.expected)
    return None if sample.is_part or not more else f"{sorted(more)[0]!r} is new"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(MAKERS), action="append")
    parser.add_argument("--keep", type=Path, help="a folder for the files that failed")
    arguments = parser.parse_args()
    # A model of one tensor is not split.
    logging.getLogger("gguf").setLevel(logging.ERROR)
    names = arguments.only or list(MAKERS)
    counts: collections.Counter[str] = collections.Counter()
    problems = 0
    for index in range(arguments.count):
        name = names[index % len(names)]
        chance = random.Random(f"{arguments.seed}-{name}-{index}")
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            sample = MAKERS[name](chance, folder)
            counts[name] += 1
            if problem := check(arguments.tool, sample, folder):
                problems += 1
                print(f"{index} ({sample.what}): {problem}")
                if arguments.keep:
                    shutil.copytree(folder, arguments.keep / f"{arguments.seed}-{index}", dirs_exist_ok=True)
    kinds = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(f"seed {arguments.seed}: {arguments.count} files ({kinds}), {problems} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
