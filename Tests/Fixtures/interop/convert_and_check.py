"""Converts every good fixture to every format with condi-convert, and has the results opened by the
programs whose formats they are.

    python convert_and_check.py [--require] path/to/condi-convert

What a format cannot hold must be refused with exit code 2 and no output; all else must come out bit
for bit. Images are checked by `check_images.py`. Exit code 1 on any difference.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import check_images
import check_written

FIXTURES = Path(__file__).resolve().parent.parent

# Element types that a format, or the program that reads it, has no name for.
BITS = {"bits8", "bits16", "bits1x8", "bits2x4", "bits4x2"}
FLOAT6 = {"float6_e2m3", "float6_e3m2"}
NARROW = {
    "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz",
    "float8_e8m0fnu", "float4_e2m1", "complex32",
}  # fmt: skip
REFUSED = {
    ".pth": FLOAT6,
    ".safetensors": {"complex32", "complex128"} | BITS,
    ".npz": set(),
}
# NumPy opens these, but shows raw bytes: our own reader restores the types from a side entry.
OPAQUE = {".npz": NARROW | BITS | FLOAT6}


def named(entry: dict, source: str, suffix: str) -> list[dict]:
    """The tensors under the names that the converted file gives them.

    A lone tensor has no name in `.npy` and `.pth`; read from the latter it is called `tensor`.
    """
    is_lone = source.startswith("torch/") and suffix != ".pth" and len(entry["tensors"]) == 1
    return [
        tensor | {"name": "tensor"} if is_lone and tensor["name"] == "" else tensor
        for tensor in entry["tensors"]
    ]


def is_plain(name: str) -> bool:
    """Whether an .npz member can have this name; others are in its side entry."""
    return name != "" and all(character.isprintable() for character in name) and not (
        set(name) & set("\\:*?\"<>|'")
    )


def convert(tool: str, source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool, "convert", str(source), str(target), "--quiet"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool")
    parser.add_argument("--require", action="store_true", help="a missing package is a failure")
    arguments = parser.parse_args()
    expected = json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = []
        for source, entry in expected.items():
            if entry.get("refused") or not entry.get("tensors"):
                continue
            types = {tensor["elementType"] for tensor in entry["tensors"]}
            for suffix, refused in REFUSED.items():
                target = folder / (source.replace("/", "-") + suffix)
                result = convert(arguments.tool, FIXTURES / source, target)
                if types & refused:
                    if result.returncode != 2 or target.exists():
                        problems.append(f"{source} to {suffix}: was to be refused")
                    continue
                if result.returncode != 0:
                    if not (entry.get("mayRefuse") and result.returncode == 2):
                        problems.append(f"{source} to {suffix}: {result.stderr.strip()}")
                    continue
                tensors = named(entry, source, suffix)
                is_opaque = types & OPAQUE.get(suffix, set()) or (
                    suffix == ".npz" and not all(is_plain(tensor["name"]) for tensor in tensors)
                )
                if is_opaque:
                    back = target.with_name(target.name + ".pth")
                    result = convert(arguments.tool, target, back)
                    if types & REFUSED[".pth"]:
                        continue
                    if result.returncode != 0:
                        problems.append(f"{source} through {suffix}: {result.stderr.strip()}")
                        continue
                    target = back
                files.append(
                    {
                        "file": target.name,
                        "tensors": tensors,
                        "values": list(entry.get("values", {})),
                    }
                )
        all_agree = check_written.check(folder, files, required=arguments.require)
    all_agree &= check_images.check(arguments.tool, required=arguments.require)
    for problem in problems:
        print(problem)
    print(f"{len(files)} files opened, {len(problems)} conversions went wrong")
    return 0 if all_agree and not problems else 1


if __name__ == "__main__":
    sys.exit(main())
