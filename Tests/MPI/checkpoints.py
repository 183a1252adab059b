"""Checkpoints to convert, made of seeded random bits: nothing but Python's own library is needed."""

import json
import random
import struct
from pathlib import Path

# Per element: bytes, the bits that stay random, and the exponent that makes them small numbers.
KINDS = {"F32": (4, 0x807F_FFFF, 0x3C80_0000), "BF16": (2, 0x807F, 0x3C80), "F16": (2, 0x83FF, 0x2800)}


def elements(kind: str, count: int, source: random.Random) -> bytes:
    """`count` finite numbers of one magnitude, of either sign."""
    width, kept, exponent = KINDS[kind]
    # One whole number as long as the tensor: the masks are applied to all elements at once.
    ones = int.from_bytes((1).to_bytes(width, "little") * count, "little")
    bits = int.from_bytes(source.randbytes(width * count), "little")
    return ((bits & ones * kept) | ones * exponent).to_bytes(width * count, "little")


def write_safetensors(path: Path, tensors: dict) -> None:
    """`tensors` gives each name its kind, shape and bytes."""
    header, end = {}, 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)


def write_sharded(folder: Path, layers: int, rows: int, columns: int, seed: int = 1) -> Path:
    """A checkpoint of four shards: weights of three kinds and sizes, biases, norms, tied weights."""
    folder.mkdir()
    source = random.Random(seed)
    shards, places, tied = [{} for _ in range(4)], {}, None
    for layer in range(layers):
        shard = layer % len(shards)
        kind = list(KINDS)[layer % len(KINDS)]
        tensors = {
            f"layers.{layer}.up.weight": (kind, [rows + layer, columns]),
            f"layers.{layer}.down.weight": (kind, [columns, rows + layer]),
            f"layers.{layer}.up.bias": (kind, [rows + layer]),
            f"layers.{layer}.norm.weight": ("F32", [columns]),
        }
        for name, (kind, shape) in tensors.items():
            count = 1
            for extent in shape:
                count *= extent
            shards[shard][name] = (kind, shape, elements(kind, count, source))
        tied = tied or shards[shard]["layers.0.norm.weight"]
        shards[shard][f"layers.{layer}.tied.weight"] = tied
    for number, tensors in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_safetensors(folder / name, tensors)
        places |= {tensor: name for tensor in tensors}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    return folder
