"""Flax checkpoints, and MessagePack files broken in one way each."""

from __future__ import annotations

from typing import Any
from unittest import mock

import ml_dtypes
import msgpack
import numpy as np
from flax import serialization

from .manifest import Manifest, flatten, leaf_entry, tensor_entry

TYPES = ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16",
         "float32", "float64", "complex64", "complex128")  # fmt: skip
NARROW = ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz",
          "float8_e8m0fnu")  # fmt: skip


def make(manifest: Manifest) -> None:
    def add(name: str, tree: Any, **extra: Any) -> None:
        path = f"flax/{name}.msgpack"
        manifest.path(path).write_bytes(serialization.msgpack_serialize(tree))
        restored = serialization.msgpack_restore((manifest.folder / path).read_bytes())
        manifest.add(path, {**expected(restored), **extra})

    counts = np.arange(12, dtype=np.uint8)
    add("types", {name: (counts * 19).astype(name).reshape(3, 4) for name in TYPES}
        | {name: counts.view(getattr(ml_dtypes, name)).reshape(-1, 2) for name in NARROW})  # fmt: skip
    add("state", {
        "params": {"Dense_0": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
                               "bias": np.zeros(3, np.float32)}, "empty": {}},
        "opt_state": {"0": {"count": np.int32(5), "mu": None}},
        "step": 7, "big": 2**64 - 1, "rate": 0.25, "flag": True, "name": "Grüße", "z": 1 - 2j,
        "scalar": np.array(1.5), "none": np.zeros((0, 3), np.int16), "list": [1, -200, -70000],
    })  # fmt: skip
    with mock.patch.object(serialization, "MAX_CHUNK_SIZE", 40):
        add("chunked", {"a": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
                        "b": {"c": np.arange(40, dtype=np.float64), "d": np.ones(3, np.int8)}})  # fmt: skip
    path = "flax/texts.msgpack"
    data = msgpack.packb({"a": ext(((2,), "float32", bytes(8))), "t": ext(((2,), "<U1", bytes(8))),
                          "b": bytes(5), "e": msgpack.ExtType(9, b"1")})  # fmt: skip
    manifest.path(path).write_bytes(data)
    manifest.add(path, {**expected({"a": np.zeros(2, np.float32), "b": bytes(5)}), "unread": ["t", "e"]})
    make_refused(manifest)


def expected(tree: Any) -> dict[str, Any]:
    tensors, values = [], {}
    for name, leaf in flatten(tree):
        if isinstance(leaf, (np.ndarray, np.generic)):
            array = np.asarray(leaf)
            kind = "bool" if array.dtype == bool else array.dtype.name
            shown = array.reshape(-1).tolist() if array.dtype.kind in "biufc" else None
            tensors.append(tensor_entry(name, kind, array.shape, array.tobytes(), shown))
        else:
            values[name] = leaf_entry(leaf)
    return {"tensors": tensors, "values": values, "metadata": {}}


def ext(content: Any, code: int = 1) -> msgpack.ExtType:
    return msgpack.ExtType(code, msgpack.packb(content))


def make_refused(manifest: Manifest) -> None:
    def bad(name: str, data: bytes, reason: str) -> None:
        manifest.refuse(f"flax/{name}.msgpack", data, reason)

    array = ((2,), "float32", bytes(8))
    good = {"a": ext(array)}
    bad("after_the_end", msgpack.packb(good) + b"\xc0", "a byte after the checkpoint")
    bad("short_array", msgpack.packb({"a": ext(((3,), "float32", bytes(8)))}), "8 bytes for 12")
    bad("overflow", msgpack.packb({"a": ext(((2**40, 2**40), "float32", b""))}), "2^80 elements")
    bad("rank", msgpack.packb({"a": ext(([1] * 65, "float32", bytes(4)))}), "65 axes")
    bad("twice", b"\x82\xa1a" + msgpack.packb(ext(array)) + b"\xa1a\x01", "'a' occurs twice")
    bad("deep", msgpack.packb({"a": ext(array), "b": nested(200)}), "lists nested 200 deep")
    bad("huge_map", b"\xdf\xff\xff\xff\xff\xa1a" + msgpack.packb(ext(array)), "2^32 - 1 members")
    bad("reserved", b"\x82\xa1a" + msgpack.packb(ext(array)) + b"\xa1b\xc1", "an unused tag")
    chunk = {"__msgpack_chunked_array__": True, "shape": {"0": 4}, "chunks": {"0": ext(array)}}
    bad("chunks", msgpack.packb({"a": ext(array), "b": chunk}), "chunks of two elements for four")
    chunk["chunks"] = {"1": ext(array)}
    bad("chunk_numbers", msgpack.packb({"a": ext(array), "b": chunk}), "no first chunk")


def nested(depth: int) -> list[Any]:
    return [] if depth == 0 else [nested(depth - 1)]
