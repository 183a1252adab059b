"""Makes the small binary fixtures and what is expected of them.

    python Tests/Fixtures/generate.py            # rewrites every folder, expected.json
    python Tests/Fixtures/generate.py --shared   # rewrites shared-expected.json from ../shared/data
    python Tests/Fixtures/generate.py --check    # makes everything anew elsewhere, compares bytes

Needs the versions in `interop/requirements.txt`. Every file is written by the program whose format
it is, or, where that program refuses to write such a file, assembled byte by byte in `makers/`.
Nothing depends on the clock, on hashing or on random numbers: running twice gives the same bytes.

`expected.json` maps a file's path to

    tensors   [{name, elementType, shape, crc32, values}]: zlib.crc32 of the contiguous row-major
              little-endian bytes; the first elements as numbers ("nan", "inf", "-inf" as texts,
              complex numbers as [real, imaginary]); absent for uninterpreted types
    values    {name: {kind, value}}: the leaves that are not tensors; `kind` is a case name of
              `ArchiveValue`; integers outside Int64 are texts, bytes are hexadecimal
    metadata  {key: text}; safetensors, GGUF, ONNX and indexes
    unread    [name]: what is listed as left out
    refused   true: opening the file, or reading one of its tensors, must be an error
    reason    why, in words
    mayRefuse true: either the tensors as given or an error; never other tensors
    rival     what the format's own program does: "loads", "refuses: …" or "loads other values"
    note      anything else

Names join dictionary keys and list indices by dots. The tensor of a file that holds a bare tensor
has the empty name. `expected.json` never leaves out a tensor of a file that is not refused.
"""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from pathlib import Path

from makers import (
    container_files,
    distributed_files,
    flax_files,
    gguf_files,
    ncnn_files,
    numpy_files,
    onnx_files,
    safetensors_files,
    sharded_files,
    shared_files,
    torch_files,
    torch_other_files,
)
from makers.manifest import Manifest

FIXTURES = Path(__file__).resolve().parent
SHARED_DATA = FIXTURES.parent.parent.parent / "shared" / "data"
FOLDERS = (
  "torch", "npz", "npy", "safetensors", "gguf", "onnx", "ncnn", "sharded", "containers", "zipped",
  "dcp", "flax",
)


def make_all(folder: Path) -> None:
    """Writes every fixture and `expected.json` below `folder`."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for stale in (folder / name).rglob("*"):
            if stale.is_file():
                stale.unlink()
    manifest = Manifest(folder)
    torch_files.make(manifest)
    torch_other_files.make(manifest)
    numpy_files.make(manifest)
    safetensors_files.make(manifest)
    gguf_files.make(manifest)
    onnx_files.make(manifest)
    ncnn_files.make(manifest)
    sharded_files.make(manifest)
    container_files.make(manifest)
    distributed_files.make(manifest)
    flax_files.make(manifest)
    manifest.write(folder / "expected.json")
    total = sum(path.stat().st_size for name in FOLDERS for path in (folder / name).rglob("*"))
    print(f"{len(manifest.files)} files, {total} bytes")


def check() -> int:
    """Compares the committed files with newly made ones; returns the exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_all(folder)
        made = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
        kept = {
            str(p.relative_to(FIXTURES))
            for root in FOLDERS
            for p in (FIXTURES / root).rglob("*")
            if p.is_file()
        } | {"expected.json"}
        different = sorted(made ^ kept) + sorted(
            path
            for path in made & kept
            if not filecmp.cmp(folder / path, FIXTURES / path, shallow=False)
        )
    for path in different:
        print(f"differs: {path}", file=sys.stderr)
    return 1 if different else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", action="store_true", help="only shared-expected.json")
    parser.add_argument("--shared-data", type=Path, default=SHARED_DATA)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    if arguments.check:
        return check()
    if arguments.shared:
        shared_files.make(arguments.shared_data, FIXTURES / "shared-expected.json")
        return 0
    make_all(FIXTURES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
