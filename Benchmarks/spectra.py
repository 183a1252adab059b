"""Times the singular values of whole models beside torch.linalg.svdvals; writes a Markdown table.

    python spectra.py BINARY [--runs 3] [--only NAME ...] [--output results/spectra.md]

Models are made of seeded random numbers in the shapes of real ones, as safetensors files. Both sides
read the same file, and take turns. condi-convert is timed as a whole process, with the reading, all
metrics and the report; PyTorch inside a running Python, after its import and one unmeasured call,
from opening the file to the last singular value. Reported are medians; both sides have two threads.

Every singular value above 1e-6 of the largest is compared with LAPACK in double precision (NumPy).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from compare import HERE, processor
from safetensors.torch import load_file, save_file

THREADS = 2

GPT2_BLOCK = [(768, 2304), (768, 768), (768, 3072), (3072, 768)]
# Per block: qkv, proj, fc1, fc2 of SwinIR-light, 24 blocks.
SWINIR_BLOCK = [(180, 60), (60, 60), (120, 60), (60, 120)]
MODELS = {
    "GPT-2 small, 48 matrices": GPT2_BLOCK * 12,
    "one 4096×4096": [(4096, 4096)],
    "SwinIR-light, 96 matrices": SWINIR_BLOCK * 24,
}


def make(shapes: list[tuple[int, int]], path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    save_file(
        {
            f"layers.{index}.weight": torch.randn(shape, generator=generator) * 0.02
            for index, shape in enumerate(shapes)
        },
        str(path),
    )


def run_torch(path: Path) -> tuple[float, float]:
    """Wall and CPU seconds."""
    started, cpu = time.perf_counter(), time.process_time()
    for tensor in load_file(str(path)).values():
        torch.linalg.svdvals(tensor)
    return time.perf_counter() - started, time.process_time() - cpu


def run_own(binary: str, path: Path, *arguments: str) -> tuple[float, float]:
    """Wall and CPU seconds."""
    command = [binary, "inspect", str(path), "--quiet", "--threads", str(THREADS), *arguments]
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {child.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime


def report(binary: str, path: Path, *arguments: str) -> list[dict]:
    command = [binary, "inspect", str(path), "--quiet", "--format", "json", *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(output)["layers"]


def largest_errors(binary: str, path: Path) -> tuple[float, float]:
    """Of all values above 1e-6 of the largest, and of the extremes alone; every fifth matrix, which
    meets every shape, as these repeat by fours."""
    tensors = load_file(str(path))
    every, ends = 0.0, 0.0
    whole = {layer["name"]: layer for layer in report(binary, path, "--singular-values")}
    extremes = {layer["name"]: layer for layer in report(binary, path, "--extremes")}
    for name in list(tensors)[::5]:
        exact = np.linalg.svd(tensors[name].double().numpy(), compute_uv=False)
        kept = exact >= 1e-6 * exact[0]
        found = np.array(whole[name]["singularValues"])
        every = max(every, float(np.max(np.abs(found - exact)[kept] / exact[kept])))
        for key, value in (("sigmaMax", exact[0]), ("sigmaMin", exact[-1])):
            ends = max(ends, abs(extremes[name][key] / value - 1))
    return every, ends


def measure(binary: str, name: str, path: Path, runs: int) -> str:
    run_torch(path)
    run_own(binary, path)
    sides = {
        "torch": lambda: run_torch(path),
        "all": lambda: run_own(binary, path),
        "extremes": lambda: run_own(binary, path, "--extremes"),
    }
    found: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    for _ in range(runs):
        for side, run in sides.items():
            found[side].append(run())
    wall, cpu = (
        {side: statistics.median(pair[which] for pair in pairs) for side, pairs in found.items()}
        for which in (0, 1)
    )
    every, ends = largest_errors(binary, path)
    cells = [name, f"{wall['torch']:.2f} s"]
    for side in ("all", "extremes"):
        cells += [f"{wall[side]:.2f} s", f"{wall['torch'] / wall[side]:.1f}×"]
    cells += [f"{cpu[side]:.2f} s" for side in sides] + [f"{every:.0e}", f"{ends:.0e}"]
    row = f"| {' | '.join(cells)} |"
    print(row, flush=True)
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(MODELS))
    parser.add_argument("--output", type=Path, default=HERE / "results" / "spectra.md")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    load = os.getloadavg()[0]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for index, name in enumerate(arguments.only):
            path = Path(folder) / f"{index}.safetensors"
            make(MODELS[name], path)
            rows.append(measure(arguments.binary, name, path, arguments.runs))
            path.unlink()
    busy = "" if load < 0.5 else f" **The machine was not idle (load {load:.1f} at the start).**"
    text = f"""# Singular values, beside PyTorch

Made by `Benchmarks/spectra.py`: medians of {arguments.runs} runs after one unmeasured run, the tools taking
turns, {THREADS} threads each; {processor()}, {os.cpu_count()} cores, PyTorch {torch.__version__}.{busy}

condi-convert's time is that of the whole process with reading, all metrics and the report; PyTorch's
is that of reading and `torch.linalg.svdvals` alone, without its import. Ratios above 1 are in
favour of condi-convert; the goals are 3 for all values and 10 for the ends. On a busy machine threads
that wait for each other count as CPU time. Errors are relative to double-precision LAPACK, the largest over all singular
values above 1e-6 of the largest, and over the two ends.

| model | torch svdvals | all values | faster | --extremes | faster | CPU time: torch | all values | --extremes | error, all | error, ends |
|---|---|---|---|---|---|---|---|---|---|---|
""" + "\n".join(rows) + "\n"
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
