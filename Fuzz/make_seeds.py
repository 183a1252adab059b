"""Lays out the fuzzer's seeds, from the fixtures that real programs wrote: a folder a target."""

from __future__ import annotations

import contextlib
import json
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "Tests" / "Fixtures"
LONGEST = 1 << 16
# Fixture folders whose name is not the format's.
FORMATS = {"torch": "pytorch", "torch-legacy": "pytorch", "images": "image"}


def unwrapped(path: Path) -> list[tuple[str, bytes]]:
    """The parts of a file that targets of their own take, with the target."""
    data = path.read_bytes()
    parts: list[tuple[str, bytes]] = []
    if path.suffix == ".param":
        parts.append(("ncnn-weights", data + b"\0" + path.with_suffix(".bin").read_bytes()))
    if path.suffix == ".npy":
        parts.append(("npz-array", data))
    if path.suffix == ".safetensors" and len(data) >= 8:
        (length,) = struct.unpack("<Q", data[:8])
        parts.append(("json", data[8 : 8 + min(length, len(data))]))
    if zipfile.is_zipfile(path):
        # Some are damaged on purpose, in every way that Python has an error for.
        with contextlib.suppress(Exception), zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith("data.pkl"):
                    parts.append(("pickle", archive.read(name)))
                elif name.endswith(".npy"):
                    parts.append(("npz-array", archive.read(name)))
    return parts


def main(program: str, output: Path) -> None:
    targets = subprocess.run([program, "--list"], check=True, capture_output=True, text=True)
    for target in targets.stdout.split():
        (output / target).mkdir(parents=True, exist_ok=True)
    files = [path for path in sorted(FIXTURES.rglob("*")) if path.is_file()]
    for path in files:
        folder = path.relative_to(FIXTURES).parts[0]
        name = "-".join(path.relative_to(FIXTURES).parts)
        pieces = [(FORMATS.get(folder, folder), path.read_bytes()), ("any", path.read_bytes())]
        if folder in ("torch", "npy", "npz"):
            pieces.append(("audit", path.read_bytes()))
        if path.suffix == ".json":
            pieces.append(("json", path.read_bytes()))
        for index, (target, data) in enumerate(pieces + unwrapped(path)):
            if (output / target).is_dir() and len(data) <= LONGEST:
                (output / target / f"{name}-{index}").write_bytes(data)
    subprocess.run([program, "--seeds", str(output), *map(str, files)], check=True)
    for path in (output / "condi").iterdir():
        shutil.copy(path, output / "condi-verify" / path.name)
    counts = {folder.name: len(list(folder.iterdir())) for folder in sorted(output.iterdir())}
    print("seeds:", json.dumps(counts))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
