"""Opens files that condi-convert wrote with the programs whose formats they are.

    python check_written.py [--require] DIR

`DIR/manifest.json` is a list (or `{"files": [...]}`) of `{"file", "tensors": [{name, elementType,
shape, crc32}]}`, where crc32 is zlib's, of the contiguous row-major little-endian bytes. For .npz, name
and type are as NumPy sees them (`void16` for a bfloat16); `values` may list the names of arrays
that stand for leaves other than tensors, which are not compared. Each file is opened by every means its users have: `.pth` and `.pt` by torch.load(weights_only=True), plainly
and with mmap=True; `.npz` and `.npy` by np.load, `.npy` also memory-mapped; `.safetensors` by
safetensors.deserialize and by safe_open. Names, types, shapes and bytes are compared.

Prints one line a file and means, and a line for each difference. Exit code 0: all agree, 1: a
difference, 2: the folder or manifest cannot be read. A package that is not installed is a skipped
line, and a difference with `--require`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


class Found(NamedTuple):
    """A tensor as the other program sees it."""

    element_type: str
    shape: list[int]
    crc32: int


class Skipped(Exception):
    """The program, or its support for this file, is not installed."""


def require(*packages: str) -> None:
    """Throws `Skipped` unless all are installed; the fixtures' folders of such names don't count."""
    for name in packages:
        specification = importlib.util.find_spec(name)
        if specification is None or specification.origin is None:
            raise Skipped(f"no {name}")


class Inapplicable(Exception):
    """The program cannot hold what this file has, whatever is installed."""


Reader = Callable[[Path], dict[str, Found]]


def read_torch(path: Path, *, mmap: bool) -> dict[str, Found]:
    require("torch", "numpy")
    import torch

    from makers import torch_tensors
    from makers.manifest import flatten

    content = torch.load(path, weights_only=True, map_location="cpu", mmap=mmap)
    found = {}
    for name, leaf in flatten(content):
        if isinstance(leaf, torch.Tensor):
            entry = torch_tensors.entry(name, leaf.detach())
            found[name] = Found(entry["elementType"], entry["shape"], entry["crc32"])
    return found


def read_numpy(path: Path, *, mmap: bool = False) -> dict[str, Found]:
    require("numpy")
    import numpy as np

    content = np.load(path, allow_pickle=False, mmap_mode="r" if mmap else None)
    arrays = {"": content} if isinstance(content, np.ndarray) else dict(content)
    return {
        name: Found(array.dtype.name, list(array.shape), crc_of_array(array))
        for name, array in arrays.items()
        if array.dtype.kind != "U"
    }


def crc_of_array(array: Any) -> int:
    return zlib.crc32(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())


SAFETENSORS_TYPES = {
    "BOOL": "bool", "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64",
    "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "F16": "float16",
    "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E8M0": "float8_e8m0fnu", "F4": "float4_e2m1",
    "F6_E2M3": "float6_e2m3", "F6_E3M2": "float6_e3m2",
}  # fmt: skip


def read_safetensors(path: Path) -> dict[str, Found]:
    require("safetensors")
    import safetensors

    return {
        name: Found(
            SAFETENSORS_TYPES[tensor["dtype"]], list(tensor["shape"]), zlib.crc32(tensor["data"])
        )
        for name, tensor in safetensors.deserialize(path.read_bytes())
    }


def read_safe_open(path: Path) -> dict[str, Found]:
    require("safetensors", "torch", "numpy")
    import safetensors
    import torch

    from makers import torch_tensors

    found = {}
    with safetensors.safe_open(path, framework="pt") as file:
        for name in file.keys():
            if file.get_slice(name).get_dtype() in ("F6_E2M3", "F6_E3M2"):
                raise Inapplicable("PyTorch has no 6-bit types")
            entry = torch_tensors.entry(name, file.get_tensor(name))
            found[name] = Found(entry["elementType"], entry["shape"], entry["crc32"])
    return found


READERS: dict[str, list[tuple[str, Reader]]] = {
    ".pth": [
        ("torch.load", lambda path: read_torch(path, mmap=False)),
        ("torch.load mmap", lambda path: read_torch(path, mmap=True)),
    ],
    ".npz": [("np.load", read_numpy)],
    ".npy": [("np.load", read_numpy), ("np.load mmap", lambda path: read_numpy(path, mmap=True))],
    ".safetensors": [
        ("safetensors.deserialize", read_safetensors),
        ("safe_open", read_safe_open),
    ],
}
READERS[".pt"] = READERS[".pth"]


def differences(expected: list[dict[str, Any]], found: dict[str, Found]) -> Iterator[str]:
    names = [tensor["name"] for tensor in expected]
    for name in names:
        if name not in found:
            yield f"'{name}' is missing"
    for name in found:
        if name not in names:
            yield f"'{name}' was not expected"
    for tensor in expected:
        if (there := found.get(tensor["name"])) is None:
            continue
        wanted = Found(tensor["elementType"], tensor["shape"], tensor["crc32"])
        for label, left, right in zip(("type", "shape", "CRC-32"), wanted, there, strict=True):
            if left != right:
                yield f"'{tensor['name']}': {label} {right}, expected {left}"


def check(folder: Path, files: list[dict[str, Any]], *, required: bool) -> bool:
    """Prints the table; returns whether everything agreed."""
    all_agree = True
    width = max((len(entry["file"]) for entry in files), default=4)
    for entry in files:
        path = folder / entry["file"]
        readers = READERS.get(path.suffix)
        if readers is None:
            print(f"{entry['file']:<{width}}  no program for '{path.suffix}'")
            all_agree = False
            continue
        for label, read in readers:
            try:
                leaves = set(entry.get("values", []))
                found = {name: tensor for name, tensor in read(path).items() if name not in leaves}
                problems = list(differences(entry["tensors"], found))
            except Inapplicable as reason:
                print(f"{entry['file']:<{width}}  {label:<24} not tried: {reason}")
                continue
            except Skipped as reason:
                print(f"{entry['file']:<{width}}  {label:<24} skipped: {reason}")
                all_agree = all_agree and not required
                continue
            except Exception as error:  # noqa: BLE001: a refusal is what we look for.
                problems = [f"{type(error).__name__}: {error}".splitlines()[0]]
            state = "DIFFERS" if problems else f"{len(entry['tensors'])} tensors agree"
            print(f"{entry['file']:<{width}}  {label:<24} {state}")
            for problem in problems:
                print(f"{'':<{width}}  - {problem}")
            all_agree = all_agree and not problems
    return all_agree


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--require", action="store_true", help="a missing package is a failure")
    arguments = parser.parse_args()
    try:
        manifest = json.loads((arguments.folder / "manifest.json").read_text(encoding="utf-8"))
        files = manifest["files"] if isinstance(manifest, dict) else manifest
        tensors = sum(len(entry["tensors"]) for entry in files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"manifest.json: {error}", file=sys.stderr)
        return 2
    if tensors == 0:
        print("manifest.json: no tensors are listed, so nothing was checked", file=sys.stderr)
        return 2
    return 0 if check(arguments.folder, files, required=arguments.require) else 1


if __name__ == "__main__":
    sys.exit(main())
