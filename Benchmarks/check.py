"""Runs benchmarks on small inputs, so that none stops working unnoticed. Their tables are thrown away.

    python check.py BINARY

The program of training.py is expected where 'make bench-check' builds it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from compare import HERE


def make_network(folder: Path) -> str:
    """Writes an SRVGGNetCompact ×2 with random weights."""
    generator = np.random.default_rng(2)
    tensors = {}
    channels = [3, 32, 32, 32, 12]
    for index, (inputs, outputs) in enumerate(zip(channels, channels[1:], strict=False)):
        weight = generator.normal(0, (2 / (9 * inputs)) ** 0.5, (outputs, inputs, 3, 3))
        tensors[f"body.{2 * index}.weight"] = weight.astype(np.float32)
        tensors[f"body.{2 * index}.bias"] = np.zeros(outputs, np.float32)
        if index < len(channels) - 2:
            tensors[f"body.{2 * index + 1}.weight"] = np.full(outputs, 0.2, np.float32)
    path = folder / "compact.safetensors"
    save_file(tensors, path)
    return str(path)


def make_images(folder: Path) -> Path:
    """Makes two images of smooth waves with some noise, in the layout of a benchmark set ×2; returns the large ones."""
    images, small = folder / "set" / "HR", folder / "set" / "LR_bicubic" / "X2"
    images.mkdir(parents=True)
    small.mkdir(parents=True)
    generator = np.random.default_rng(1)
    rows, columns = np.mgrid[0:96, 0:96] / 96
    for index in range(2):
        waves = [np.sin(6 * (index + 1) * rows + shift) * np.cos(9 * columns) for shift in range(3)]
        values = 128 + 90 * np.stack(waves, axis=-1) + generator.normal(0, 6, (96, 96, 3))
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
        image.save(images / f"{index}.png")
        image.resize((48, 48), Image.BICUBIC).save(small / f"{index}.png")
    return images


def accuracy(binary: str, network: str, folder: Path, images: Path) -> list[list[str]]:
    """Measures the network in DAT-light's place."""
    weights, testsets = folder / "weights", folder / "testsets"
    weights.mkdir()
    testsets.mkdir()
    shutil.copy(network, weights / "DAT_light_x2.pth")
    (testsets / "Set5").symlink_to(images.parent)
    (testsets / "B100").symlink_to(images.parent)
    common = [binary, "--calibration", str(images), "--testsets", str(testsets), "--weights", str(weights)]
    return [
        [
            "accuracy.py", *common, "--scales", "2", "--bits", "4", "--methods", "minmax", "best", "--sets", "Set5",
            "--steps", "1", "--cache", str(folder / "accuracy"), "--output", str(folder / "accuracy.md"),
        ],
        [
            "conditioning.py", *common, "--settings", "best, static", "min–max, static", "--seeds", "1",
            "--output", str(folder / "conditioning.md"),
        ],
    ]


def commands(binary: str, folder: Path, images: Path) -> list[list[str]]:
    image, output = str(images / "0.png"), str(folder / "table.md")
    few = ["--runs", "1", "--output", output]
    large, network = str(folder / "large"), make_network(folder)
    return [
        ["compare.py", binary, *few],
        ["diff_verify.py", binary, "--gigabytes", "0.01", *few],
        ["spectra.py", binary, "--only", "SwinIR-light, 96 matrices", *few],
        ["networks.py", binary, "--image", image, "--only", "SAFMN ×4", *few],
        [
            "exports.py", binary, network, "--dataset", str(images.parent), "--calibration", str(images),
            "--image", image, *few,
        ],
        ["low_bits.py", binary, network, "--calibration", str(images), "--image", image, *few],
        ["large.py", "make", large, "--gigabytes", "0.01", "--shard-megabytes", "4"],
        ["large.py", "measure", binary, large, "--runs", "1"],
        ["weights_alone.py", binary, "--megabytes", "8", "--output", output],
        ["kernels.py"],
        [
            "super_resolution.py", binary, network, "--dataset", str(images.parent), "--calibration", str(images), *few,
        ],
        ["training.py", "--smallest"],
        *accuracy(binary, network, folder, images),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    binary = str(parser.parse_args().binary.resolve())
    failures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for command in commands(binary, folder, make_images(folder)):
            start = time.monotonic()
            done = subprocess.run(
                [sys.executable, str(HERE / command[0]), *command[1:]], capture_output=True, text=True)
            print(f"{time.monotonic() - start:6.1f} s  {command[0]}", flush=True)
            if done.returncode:
                failures.append(command[0])
                print(done.stdout + done.stderr, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
