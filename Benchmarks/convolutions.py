"""Runs condi-convert, PyTorch and ONNX Runtime side by side on networks of convolutions.

    python convolutions.py BINARY --image FILE [--runs 5] [--output results/convolutions.md]

Needs torch, spandrel, onnx, onnxruntime and Pillow. The networks have the published sizes and random
weights. An image of 512 × 512 pixels is taken, of which each tool upscales a quarter of each side;
each tool runs in a process of its own, with two threads, and all take turns.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from baseline_convolutions import NETWORKS
from compare import HERE, Tool, megabytes
from PIL import Image

BASELINE = HERE / "baseline_convolutions.py"
THREADS = 2
SCALE = 4


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))


def rows(binary: str, network: str, folder: Path, runs: int) -> list[str]:
    model, onnx, timings = folder / "model.pth", folder / "model.onnx", folder / "timings.json"
    small, large = folder / "small.png", folder / "set" / "HR" / "image.png"
    baseline = [sys.executable, str(BASELINE)]
    subprocess.run([*baseline, "make", network, str(model), str(onnx)], check=True)
    measured = [*baseline, "--timings", str(timings), "--threads", str(THREADS)]
    tools = [
        Tool("PyTorch", [*measured, "torch", network, str(model), str(small)], THREADS),
        Tool("ONNX Runtime", [*measured, "onnx", network, str(onnx), str(small)], THREADS),
        # `exec`: the shell's memory is not counted.
        Tool("condi-convert", [
            "sh", "-c", f'exec "$@" > {timings}', "sh", binary, "evaluate", str(model), "--dataset",
            str(large.parent.parent), "--threads", str(THREADS), "--format", "json", "--quiet",
        ]),
    ]
    results: list[list] = [[] for _ in tools]
    seconds: list[list[float]] = [[] for _ in tools]
    for turn in range(runs + 1):
        for tool, found, passes in zip(tools, results, seconds, strict=True):
            result = tool.run(timings)
            if turn > 0:
                found.append(result)
                steps = json.loads(timings.read_text())
                passes.append(
                    steps["run"] if "run" in steps else steps["methods"][-1]["meanSeconds"]
                )
    medians = [sorted(passes)[len(passes) // 2] for passes in seconds]
    peaks = [max(run.peak_bytes for run in found) for found in results]
    own, peak = medians[-1], peaks[-1]
    return [
        f"| {network} | {tool.name} | {median:.2f} s | {own / median:.2f} | {megabytes(bytes_)} "
        f"| {peak / bytes_:.2f} |"
        for tool, median, bytes_ in zip(tools, medians, peaks, strict=True)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--image", required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "convolutions.md")
    arguments = parser.parse_args()
    version = subprocess.run(
        [arguments.binary, "--version"], check=True, capture_output=True, text=True
    ).stdout.splitlines()[-1]
    table = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = Image.open(arguments.image).convert("RGB").resize((512, 512), Image.BICUBIC)
        (folder / "set" / "HR").mkdir(parents=True)
        image.save(folder / "set" / "HR" / "image.png")
        image.resize((512 // SCALE, 512 // SCALE), Image.BICUBIC).save(folder / "small.png")
        for network in NETWORKS:
            table += rows(arguments.binary, network, folder, arguments.runs)
            print("\n".join(table[-3:]), flush=True)
    text = f"""# Networks of convolutions, beside PyTorch and ONNX Runtime

Made by `Benchmarks/convolutions.py`: an image of {512 // SCALE} × {512 // SCALE} pixels, {THREADS} threads,
medians of {arguments.runs} runs after one unmeasured run, all taking turns; {processor()}, {version};
{platform.system()} on {platform.machine()}. Seconds are those of a forward pass, of Python's tools the median
of three after one that is not measured; the memory is the largest of a whole process. Ratios are
condi-convert's numbers divided by the row's: below 1, condi-convert is better.

| network | | forward pass | ratio | peak memory | ratio |
|---|---|--:|--:|--:|--:|
""" + "\n".join(table) + "\n"
    arguments.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
