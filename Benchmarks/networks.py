"""Runs condi-convert, PyTorch and ONNX Runtime side by side on the networks that it knows.

    python networks.py BINARY --image FILE [--only NAME ...] [--runs 3] [--output results/networks.md]

Needs torch, spandrel, onnx, onnxruntime and Pillow. The networks have published sizes and random weights.
Each tool upscales the same image in a process of its own, with two threads, and all take turns. The
seconds of condi-convert are those that `evaluate` reports of the network, its memory is that of `upscale`,
which reads an image and writes one; the others write none.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from baseline_networks import NETWORKS, samples
from compare import HERE, Tool, megabytes, processor, turns, version
from PIL import Image

BASELINE = HERE / "baseline_networks.py"
THREADS = 2


def difference(made: Path, expected: np.ndarray) -> float:
    """The largest difference of an image from PyTorch's samples, cut to the range of images."""
    rounded = np.round(np.clip(expected, 0, 1) * 255) / 255
    return float(np.abs(samples(str(made)) - rounded).max() * 255)


def rows(binary: str, name: str, image: Image.Image, folder: Path, runs: int) -> list[str]:
    network = NETWORKS[name]
    model, onnx, timings = folder / "model.pth", folder / "model.onnx", folder / "timings.json"
    onnx.unlink(missing_ok=True)
    small, made, large = folder / "small.png", folder / "made.png", folder / "set" / "HR" / "image.png"
    large.parent.mkdir(parents=True, exist_ok=True)
    side = network.side * network.scale
    image.resize((side, side), Image.BICUBIC).save(large)
    image.resize((network.side, network.side), Image.BICUBIC).save(small)
    baseline = [sys.executable, str(BASELINE)]
    subprocess.run(
        [*baseline, "make", name, str(model), str(onnx)], check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    runtime = "ONNX Runtime"
    if not onnx.exists():
        runtime = "ONNX Runtime, of condi-convert's export"
        size = f"{network.side}x{network.side}"
        subprocess.run(
            [binary, "export", str(model), str(onnx), "--size", size], check=True, stdout=subprocess.DEVNULL)
    measured = [*baseline, "--timings", str(timings), "--threads", str(THREADS)]
    tools = [
        Tool("PyTorch", [*measured, "torch", name, str(model), str(small)], THREADS),
        Tool(runtime, [*measured, "onnx", name, str(onnx), str(small)], THREADS),
        # `exec`: the shell's memory is not counted.
        Tool("condi-convert", [
            "sh", "-c", f'exec "$@" > {timings}', "sh", binary, "evaluate", str(model), "--dataset",
            str(large.parent.parent), "--threads", str(THREADS), "--format", "json", "--quiet",
        ]),
    ]
    upscale = Tool("upscale", [
        binary, "upscale", str(model), str(small), str(made), "--threads", str(THREADS), "--force", "--quiet",
    ])
    results: list[list] = [[] for _ in tools]
    seconds: list[list[float]] = [[] for _ in tools]
    for counts in turns(runs):
        for tool, found, passes in zip(tools, results, seconds, strict=True):
            result = tool.run(timings)
            if counts:
                steps = result.steps
                passes.append(steps["run"] if "run" in steps else steps["methods"][-1]["meanSeconds"])
                found.append(upscale.run(timings) if tool is tools[-1] else result)
    medians = [sorted(passes)[len(passes) // 2] for passes in seconds]
    peaks = [max(run.peak_bytes for run in found) for found in results]
    own, peak = medians[-1], peaks[-1]
    largest = difference(made, np.load(f"{timings}.npy"))
    return [
        f"| {name} | {network.side} | {tool.name} | {median:.2f} s | {own / median:.2f} "
        f"| {megabytes(bytes_)} | {peak / bytes_:.2f} | {f'{largest:.0f}' if tool is tools[-1] else ''} |"
        for tool, median, bytes_ in zip(tools, medians, peaks, strict=True)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--image", required=True)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "networks.md")
    arguments = parser.parse_args()
    table = []
    image = Image.open(arguments.image).convert("RGB")
    with tempfile.TemporaryDirectory() as name:
        for network in arguments.only:
            table += rows(arguments.binary, network, image, Path(name), arguments.runs)
            print("\n".join(table[-3:]), flush=True)
    text = f"""# Networks, beside PyTorch and ONNX Runtime

Made by `Benchmarks/networks.py`: random weights, a square image of the given side in pixels, {THREADS} threads,
medians of {arguments.runs} runs after one unmeasured run, all taking turns; {processor()}, {version(arguments.binary)[-1]};
{platform.system()} on {platform.machine()}. Seconds are those of a forward pass, of Python's tools the median
of three after one that is not measured; the memory is the largest of a whole process, of condi-convert one that
writes an image as well. Ratios are
condi-convert's numbers divided by the row's: below 1, condi-convert is better. The last column is the largest
difference between the samples of its image and of PyTorch's, of 255: 1 where rounding falls to the other side.

| network | side | | forward pass | ratio | peak memory | ratio | difference |
|---|--:|---|--:|--:|--:|--:|--:|
""" + "\n".join(table) + "\n"
    arguments.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
