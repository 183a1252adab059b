"""What the real programs say of the files in the shared data folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from . import numpy_files
from .manifest import dumps
from .torch_tensors import expectation

READ = ("torch_zip", "torch_legacy", "torchscript", "npz", "safetensors")


def make(data: Path, output: Path) -> None:
    """Describes every file of `formats/` whose program may be asked; never the adversarial ones."""
    files = {}
    for folder in READ:
        for path in sorted((data / "formats" / folder).rglob("*")):
            if path.is_file() and "adversarial" not in path.parent.name:
                files[str(path.relative_to(data))] = describe(path, folder)
    output.write_text(dumps(files), encoding="utf-8")
    tensors = sum(len(entry.get("tensors", [])) for entry in files.values())
    print(f"{len(files)} files, {tensors} tensors")


def describe(path: Path, folder: str) -> dict[str, Any]:
    readers = {
        "npz": read_numpy, "safetensors": read_safetensors, "torchscript": read_torchscript,
    }  # fmt: skip
    read = readers.get(folder, read_torch)
    try:
        return read(path)
    except Exception as error:  # noqa: BLE001: whatever it is, it is the answer.
        text = str(error).splitlines()[0][:160]
        return {"refused": True, "reason": f"{type(error).__name__}: {text}"}


def read_torch(path: Path) -> dict[str, Any]:
    return expectation(torch.load(path, weights_only=True, map_location="cpu"))


def read_torchscript(path: Path) -> dict[str, Any]:
    """Parameters and buffers; other attributes are tensors of the file as well."""
    return expectation(torch.jit.load(path, map_location="cpu").state_dict())


def read_numpy(path: Path) -> dict[str, Any]:
    return numpy_files.expectation(numpy_files.loaded(path))


def read_safetensors(path: Path) -> dict[str, Any]:
    length = int.from_bytes(path.open("rb").read(8), "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = safetensors.torch.load_file(path)
    order = sorted(header, key=lambda name: header[name]["data_offsets"])
    entry = expectation({name: tensors[name] for name in order})
    return {"tensors": entry["tensors"], "metadata": metadata}
