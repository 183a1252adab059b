"""A checkpoint in PyTorch shards with its index, as `transformers` used to save them."""

from __future__ import annotations

import json

import torch

from .manifest import Manifest
from .torch_files import saved
from .torch_tensors import expectation


def make(manifest: Manifest) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    first = {"a.weight": shared, "a.tied": shared, "a.bias": torch.zeros(2).bfloat16()}
    second = {"b.weight": torch.arange(12, dtype=torch.int64).reshape(3, 4).t(), "b.step": 12}
    files = {"pytorch_model-00001-of-00002.bin": first, "pytorch_model-00002-of-00002.bin": second}
    folder = "sharded/torch"
    for name, content in files.items():
        manifest.path(f"{folder}/{name}").write_bytes(saved(content))
        manifest.add(f"{folder}/{name}", expectation(content))
    tensors = {name: value for part in files.values() for name, value in part.items()
               if isinstance(value, torch.Tensor)}  # fmt: skip
    order = sorted(tensors, reverse=True)
    index = {
        "metadata": {"total_size": sum(t.numel() * t.element_size() for t in tensors.values())},
        "weight_map": {key: next(name for name, part in files.items() if key in part)
                       for key in order},
    }  # fmt: skip
    path = f"{folder}/pytorch_model.bin.index.json"
    manifest.path(path).write_text(json.dumps(index, indent=2) + "\n")
    entry = expectation({**{key: tensors[key] for key in order}, "b.step": 12})
    manifest.add(path, {**entry, "note": "the tensors are in the order of the index"})
