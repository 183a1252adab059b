"""Times `verify` beside reading the file, and `diff` of equal files beside `cmp`; writes a table.

    python diff_verify.py BINARY [--gigabytes 1.0] [--runs 7] [--output results/diff-verify.md]

The files are made in a temporary folder and lie in the page cache. Each command runs once
unmeasured, then `--runs` times, the commands taking turns, because the machine may not be idle.
Reported are medians, and their ratio to the rival of the same row. Needs NumPy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

KEEP = {"rules": [{"match": "*", "action": "keep"}]}


@dataclass
class Row:
    label: str
    own: list[str]
    rival_label: str
    rival: list[str]
    byte_count: int
    bound: float | None
    """The ratio of the times that is allowed; None where there is nothing to compare with."""


def write_safetensors(path: Path, byte_count: int) -> None:
    """Matrices of 64 MiB, and vectors between them, of normal float32 numbers."""
    generator = np.random.default_rng(7)
    header, offset, arrays = {}, 0, []
    while offset < byte_count:
        for name, shape in [(f"{offset}.weight", (4096, 4096)), (f"{offset}.bias", (4096,))]:
            array = generator.standard_normal(shape, dtype=np.float32)
            end = offset + array.nbytes
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
            arrays.append(array)
            offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays:
            file.write(array.tobytes())


def run(command: list[str], accepted: tuple[int, ...] = (0, 1)) -> tuple[float, int]:
    """Wall time in seconds and the largest resident set in bytes."""
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    messages = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stderr.close()
    if child.returncode not in accepted:
        raise SystemExit(f"{' '.join(command)}\n{messages.decode(errors='replace')}")
    return seconds, usage.ru_maxrss * 1024


def rows(binary: str, folder: Path, byte_count: int) -> list[Row]:
    a, b, c = folder / "a.safetensors", folder / "b.safetensors", folder / "c.safetensors"
    write_safetensors(a, byte_count)
    shutil.copyfile(a, b)
    shutil.copyfile(a, c)
    with c.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(np.float32(0.5).tobytes())
    recipe = folder / "keep.json"
    recipe.write_text(json.dumps(KEEP))
    packed = folder / "a.condi"
    run([binary, "convert", str(a), str(packed), "--recipe", str(recipe), "--quiet"], (0,))

    def own(*arguments: str | Path) -> list[str]:
        return [binary, *map(str, arguments), "--quiet"]

    def cat(path: Path) -> list[str]:
        return ["sh", "-c", f"cat '{path}' > /dev/null"]

    size = packed.stat().st_size
    return [
        Row("verify", own("verify", packed), "cat > /dev/null", cat(packed), size, 2.0),
        Row(
            "verify --no-mmap", own("verify", packed, "--no-mmap"), "cat > /dev/null",
            cat(packed), size, 2.0,
        ),
        Row("diff, equal files", own("diff", a, b), "cmp", ["cmp", str(a), str(b)], size, 1.5),
        Row(
            "diff, equal files, --no-mmap", own("diff", a, b, "--no-mmap"), "cmp",
            ["cmp", str(a), str(b)], size, 1.5,
        ),
        Row(
            "diff, the last element changed", own("diff", a, c), "cmp", ["cmp", str(a), str(c)],
            size, 1.5,
        ),
        Row(
            "diff, full precision against packed", own("diff", a, packed), "cmp of the source",
            ["cmp", str(a), str(b)], size, None,
        ),
    ]


def measure(row: Row, runs: int) -> tuple[float, float, float, int]:
    """Medians of the own time, the rival's, and of their ratio run by run; the largest peak."""
    run(row.own), run(row.rival)
    pairs, peak = [], 0
    for _ in range(runs):
        own, memory = run(row.own)
        rival, _ = run(row.rival)
        pairs.append((own, rival))
        peak = max(peak, memory)
    return (
        statistics.median(own for own, _ in pairs),
        statistics.median(rival for _, rival in pairs),
        statistics.median(own / rival for own, rival in pairs),
        peak,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results" / "diff-verify.md"
    )
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(arguments.binary, Path(folder), int(arguments.gigabytes * 1e9)):
            own, rival, ratio, peak = measure(row, arguments.runs)
            bound = "" if row.bound is None else f"≤ {row.bound}"
            met = "" if row.bound is None else ("yes" if ratio <= row.bound else "**no**")
            lines.append(
                f"| {row.label} | {own:.3f} s | {row.byte_count / own / 1e9:.2f} GB/s "
                f"| {row.rival_label} | {rival:.3f} s | {ratio:.2f} | {bound} | {met} "
                f"| {peak / 1e6:.0f} MB |"
            )
            print(lines[-1], flush=True)
    busy = "" if load < 0.5 else f" **The machine was not idle (load {load:.1f} at the start).**"
    text = f"""# verify beside reading, diff beside cmp

Made by `Benchmarks/diff_verify.py`: {arguments.gigabytes} GB of float32 matrices in the page cache, medians of
{arguments.runs} runs after one unmeasured run, the commands taking turns; {platform.system()} on
{platform.machine()}, {os.cpu_count()} CPUs.{busy}

The ratio is the median of own time over the rival's, run by run; below 1 condi-convert is faster.
`verify` checks every byte's CRC-32. Mapped pages count in a process's peak memory, though they are
the page cache's own.

| task | condi-convert | of one file | beside | its time | ratio | allowed | met | peak memory |
|---|---|---|---|---|---|---|---|---|
""" + "\n".join(lines) + "\n"
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text, encoding="utf-8")
    print(f"written to {arguments.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
