"""Runs condi-convert evaluate and PyTorch side by side on Set5 ×2; writes a Markdown table.

    python super_resolution.py BINARY --set5 FOLDER [--swinir PATH --reference FILE.py] [--dat PATH]
        [--runs 5] [--output results/super-resolution.md]

Needs torch, spandrel and Pillow; `--reference` is a file with SwinIR in PyTorch. Both sides use two
threads and take turns, each in a process of its own, after one unmeasured run. The packed models have
4-bit weights and 4-bit activations between the least and the largest value on one image: they show
speed, not what calibrated models reach.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from activation_bounds import add_activations
from compare import HERE, Tool, median_run, megabytes

BASELINE = HERE / "baseline_super_resolution.py"
THREADS = 2
BITS = 4


@dataclass
class Model:
    name: str
    # What the baseline calls the network.
    network: str
    path: str


def output(command: list[str]) -> dict:
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def packed(binary: str, model: Model, set5: str, folder: Path) -> Path:
    path = folder / "packed.condi"
    subprocess.run(
        [binary, "convert", model.path, str(path), "--bits", str(BITS), "--force", "--quiet"],
        check=True, stdout=subprocess.DEVNULL,
    )
    ranges = output([sys.executable, str(BASELINE), "ranges", model.network, model.path, set5])
    add_activations(path, ranges, BITS)
    return path


def rows(binary: str, model: Model, set5: str, runs: int, folder: Path) -> list[str]:
    timings = folder / "timings.json"
    codes = str(packed(binary, model, set5, folder))

    def evaluate(path: str, *options: str) -> list[str]:
        arguments = ["--dataset", set5, "--threads", str(THREADS), "--format", "json", "--quiet"]
        return [binary, "evaluate", path, *arguments, *options]

    baseline = [sys.executable, str(BASELINE), "--threads", str(THREADS)]
    task = ["run", model.network, model.path, set5]
    tools = [
        Tool("PyTorch", [*baseline, "--timings", str(timings), *task], THREADS),
        Tool("full precision", evaluate(model.path)),
        Tool(f"{BITS} bits, whole numbers", evaluate(codes)),
        Tool(f"{BITS} bits, floating point", evaluate(codes, "--float")),
    ]
    results: list[list] = [[] for _ in tools]
    for turn in range(runs + 1):
        for tool, found in zip(tools, results, strict=True):
            result = tool.run(timings)
            if turn > 0:
                found.append(result)
    torch = median_run(results[0])
    inside = torch.seconds - torch.steps["import torch"]
    table = []
    for tool, found in zip(tools, results, strict=True):
        own = median_run(found)
        scores = output(tool.command)
        if tool is tools[0]:
            psnr, note = scores["psnr"], ", ".join(f"{k} {v:.2f}" for k, v in torch.steps.items())
        else:
            method = scores["methods"][-1]
            psnr, note = method["meanPSNR"], f"{method['meanSeconds']:.3f} s per image"
        table.append(
            f"| {model.name} | {tool.name} | {own.seconds:.2f} s | {own.cpu_seconds:.2f} s "
            f"| {megabytes(own.peak_bytes)} | {torch.seconds / own.seconds:.2f}× "
            f"| {inside / own.seconds:.2f}× | {torch.cpu_seconds / own.cpu_seconds:.2f}× "
            f"| {torch.peak_bytes / own.peak_bytes:.1f}× | {psnr:.2f} dB | {note} |"
        )
        print(table[-1], flush=True)
    return table


def layer_rows() -> list[str]:
    # Not earlier: a child of a process with torch in it counts the parent's memory as its own.
    from kernels import measure_kernels

    table = []
    for row in measure_kernels(None, 1):
        base = row["float_1"]
        ratios = " | ".join(f"{base / row[f'codes{bits}_1']:.2f}×" for bits in (4, 3, 2))
        table.append(f"| {row['inputs']} → {row['outputs']} | {base * 1e3:.3f} ms | {ratios} |")
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--set5", required=True)
    parser.add_argument("--swinir")
    parser.add_argument("--reference", help="SwinIR in PyTorch")
    parser.add_argument("--dat")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "super-resolution.md")
    arguments = parser.parse_args()
    models = []
    if arguments.swinir and arguments.reference:
        models.append(Model("SwinIR-light ×2", arguments.reference, arguments.swinir))
    if arguments.dat:
        models.append(Model("DAT-light ×2", "dat", arguments.dat))
    if not models:
        parser.error("--swinir with --reference, or --dat, is needed")
    load = os.getloadavg()[0]
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            table += rows(arguments.binary, model, arguments.set5, arguments.runs, Path(folder))
    layers = layer_rows()
    busy = (
        "" if load < 0.5 else
        f" **The machine was not idle (load {load:.1f} at the start), so wall times are not to be "
        "relied on: PyTorch's threads wait for each other in loops.**"
    )
    text = f"""# evaluate on Set5 ×2, beside PyTorch

Made by `Benchmarks/super_resolution.py`: medians of {arguments.runs} runs after one unmeasured run, all taking
turns, {THREADS} threads each; {platform.system()} on {platform.machine()}, {os.cpu_count()} CPUs.{busy}

A run is a whole process. condi-convert's also makes bicubic results, measures SSIM and finds the worst
regions; PyTorch's measures PSNR alone. Ratios are PyTorch's numbers divided by the row's: above 1, the row is
better. "without import" leaves the import of torch out of PyTorch's wall time. Packed models have {BITS}-bit
weights and activations with uncalibrated bounds, which cost accuracy: they show speed alone.

| model | | wall | CPU | peak memory | faster | without import | less CPU | less memory | PSNR | |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|
""" + "\n".join(table) + """

## Linear layers of 4,096 rows

One thread, processor time, the least of many calls: the float kernel's time, and by how much codes of as many
bits, with the coding of the inputs included, are faster.

| layer | float | 4 bits | 3 bits | 2 bits |
|---|--:|--:|--:|--:|
""" + "\n".join(layers) + "\n"
    arguments.output.write_text(text, encoding="utf-8")
    print(f"written to {arguments.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
