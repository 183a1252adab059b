"""What PyTorch's tensors mean in condi-convert's terms."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch

from .manifest import flatten, leaf_entry, tensor_entry

ELEMENT_TYPES = {
    torch.float4_e2m1fn_x2: "float4_e2m1",
    **{
        getattr(torch, name): name
        for name in (
            "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 bfloat16 float32 "
            "float64 complex32 complex64 complex128 float8_e4m3fn float8_e4m3fnuz float8_e5m2 "
            "float8_e5m2fnuz float8_e8m0fnu bits8 bits16 bits1x8 bits2x4 bits4x2"
        ).split()
    },
}
FLOAT4_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def row_major_bytes(tensor: torch.Tensor) -> bytes:
    """The elements in row-major order, gathered from the storage for every type alike."""
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    width = tensor.element_size()
    storage = tensor.untyped_storage()
    if tensor.numel() == 0:
        return b""
    whole = np.frombuffer(ctypes.string_at(storage.data_ptr(), storage.nbytes()), np.uint8)
    elements = np.lib.stride_tricks.as_strided(
        whole[tensor.storage_offset() * width :],
        shape=(*tensor.shape, width),
        strides=(*(stride * width for stride in tensor.stride()), 1),
        writeable=False,
    )
    return np.ascontiguousarray(elements).tobytes()


def numbers(tensor: torch.Tensor, data: bytes) -> list[Any] | None:
    """The elements as Python numbers; `None` for uninterpreted bits."""
    name = ELEMENT_TYPES[tensor.dtype]
    if name.startswith("bits"):
        return None
    if name == "float4_e2m1":
        codes = [code for byte in data for code in (byte & 15, byte >> 4)]
        return [FLOAT4_VALUES[code & 7] * (-1 if code & 8 else 1) for code in codes]
    flat = torch.frombuffer(bytearray(data), dtype=tensor.dtype) if data else tensor.reshape(-1)
    if name == "complex32":
        flat = flat.to(torch.complex64)
    elif name.startswith("float8"):
        flat = flat.to(torch.float64)
    return flat.tolist()


def entry(name: str, tensor: torch.Tensor) -> dict[str, Any]:
    element_type = ELEMENT_TYPES[tensor.dtype]
    shape = list(tensor.shape)
    if element_type == "float4_e2m1":
        shape[-1] *= 2
    data = row_major_bytes(tensor)
    return tensor_entry(name, element_type, shape, data, numbers(tensor, data))


def expectation(value: Any) -> dict[str, Any]:
    """Tensors and other leaves of a loaded checkpoint."""
    tensors, values = [], {}
    for name, leaf in flatten(value):
        if isinstance(leaf, torch.Tensor):
            tensors.append(entry(name, leaf.detach()))
        else:
            values[name] = leaf_entry(leaf)
    return {"tensors": tensors, "values": values}
