"""Runs condi-convert evaluate and PyTorch side by side on a set ×2; writes a Markdown table.

    python super_resolution.py BINARY --dataset FOLDER --calibration FOLDER MODEL … [--runs 5]
        [--output results/super-resolution.md]

Needs torch, spandrel and Pillow. Both sides use two threads and take turns, each in a process of its own,
after one unmeasured run. The packed models have 4-bit weights and 4-bit activations, with bounds that are the
same for all values, and learned nothing: they show speed, not what quantization has to cost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from compare import HERE, Tool, median_run, megabytes, processor, turns, version

BASELINE = HERE / "baseline_super_resolution.py"
THREADS = 2
BITS = 4


def output(command: list[str]) -> dict:
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def rows(arguments: argparse.Namespace, model: Path, folder: Path) -> list[str]:
    timings, codes = folder / "timings.json", folder / "packed.condi"
    subprocess.run(
        [
            arguments.binary, "convert", str(model), str(codes), "--bits", str(BITS), "--method", "2dquant", "--steps",
            "0", "--calibration-images", arguments.calibration, "--patches", "4", "--force", "--quiet",
        ],
        check=True, stdout=subprocess.DEVNULL,
    )

    def evaluate(path: Path, *options: str) -> list[str]:
        return [
            arguments.binary, "evaluate", str(path), "--dataset", arguments.dataset, "--threads", str(THREADS),
            "--format", "json", "--quiet", *options,
        ]

    baseline = [sys.executable, str(BASELINE), "--timings", str(timings), "--threads", str(THREADS)]
    tools = [
        Tool("PyTorch", [*baseline, str(model), arguments.dataset], THREADS),
        Tool("full precision", evaluate(model)),
        Tool(f"{BITS} bits, whole numbers", evaluate(codes)),
        Tool(f"{BITS} bits, floating point", evaluate(codes, "--float")),
    ]
    results: list[list] = [[] for _ in tools]
    for counts in turns(arguments.runs):
        for tool, found in zip(tools, results, strict=True):
            result = tool.run(timings)
            if counts:
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
            f"| {model.stem} | {tool.name} | {own.seconds:.2f} s | {own.cpu_seconds:.2f} s "
            f"| {megabytes(own.peak_bytes)} | {torch.seconds / own.seconds:.2f}× "
            f"| {inside / own.seconds:.2f}× | {torch.cpu_seconds / own.cpu_seconds:.2f}× "
            f"| {torch.peak_bytes / own.peak_bytes:.1f}× | {psnr:.2f} dB | {note} |"
        )
        print(table[-1], flush=True)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "super-resolution.md")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for model in arguments.models:
            table += rows(arguments, model, Path(folder))
    busy = (
        "" if load < 0.5 else
        f" **The machine was not idle (load {load:.1f} at the start), so wall times are not to be "
        "relied on: PyTorch's threads wait for each other in loops.**"
    )
    text = f"""# evaluate on {Path(arguments.dataset).name} ×2, beside PyTorch

Made by `Benchmarks/super_resolution.py`: medians of {arguments.runs} runs after one unmeasured run, all taking
turns, {THREADS} threads each; {processor()}, {os.cpu_count()} cores, {version(arguments.binary)[-1]}.{busy}

A run is a whole process. condi-convert's also makes bicubic results, measures SSIM and finds the worst
regions; PyTorch's measures PSNR alone. Ratios are PyTorch's numbers divided by the row's: above 1, the row is
better. "without import" leaves the import of torch out of PyTorch's wall time. Packed models have {BITS}-bit
weights and activations and learned nothing, which costs accuracy: they show speed alone.

| model | | wall | CPU | peak memory | faster | without import | less CPU | less memory | PSNR | |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|
""" + "\n".join(table) + "\n"
    arguments.output.write_text(text, encoding="utf-8")
    print(f"written to {arguments.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
