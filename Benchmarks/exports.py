"""Runs condi-convert and what it exports, in ONNX Runtime and ncnn, side by side on published weights.

    python exports.py BINARY --dataset SET --calibration FOLDER MODEL … [--runs 3] [--output results/exports.md]

Needs onnxruntime, ncnn and Pillow. SET has the folders `HR` and `LR_bicubic`; the calibration takes images of FOLDER.
Each model is run as it is and packed at 8 bits with fixed bounds of activations. Each tool upscales the same images
in a process of its own, with two threads, and all take turns. The seconds are those of a forward pass on an image of
128 × 128 pixels, dB the mean over SET on the luma, against the model's own at full precision and against HR.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from compare import HERE, Tool, megabytes, processor, turns, version
from networks import THREADS
from PIL import Image

BASELINE = HERE / "baseline_exports.py"
SIDE = 128


@dataclass
class Form:
    """A model in the form that a runtime takes."""

    name: str
    model: Path
    # Whether it is for images of one size.
    is_sized: bool = False

    @property
    def bytes(self) -> int:
        weights = self.model.with_suffix(".bin")
        beside = weights.stat().st_size if self.model.suffix == ".param" else 0
        return self.model.stat().st_size + beside


def luma(image: np.ndarray) -> np.ndarray:
    """The Y of ITU-R BT.601 as papers measure it, of samples from 0 to 1."""
    return 16 + image @ np.array([65.481, 128.553, 24.966])


def psnr(a: np.ndarray, b: np.ndarray, shaved: int) -> float:
    a, b = (luma(x)[shaved:-shaved, shaved:-shaved] for x in (a, b))
    error = np.mean((a - b) ** 2)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def samples(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), np.float64) / 255


def exported(binary: str, model: Path, output: Path, *options: str) -> Form | str:
    """The exported model, for one size where it must be, or why there is none."""
    command = [binary, "export", str(model), str(output), "--force", "--quiet", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    is_sized = bool(done.returncode) and "--size" in done.stderr
    if is_sized:
        done = subprocess.run([*command, "--size", f"{SIDE}x{SIDE}"], capture_output=True, text=True)
    if done.returncode:
        return done.stderr.strip().split(": ", 2)[-1]
    return Form("ncnn" if output.suffix == ".param" else "ONNX Runtime", output, is_sized)


def rows(binary: str, path: Path, arguments: argparse.Namespace, folder: Path) -> list[str]:
    name = path.stem
    packed, timings = folder / "model.condi", folder / "timings.json"
    subprocess.run(
        [
            binary, "convert", str(path), str(packed), "--method", "2dquant", "--bits", "8", "--steps", "0",
            "--calibration-images", arguments.calibration, "--force", "--quiet",
        ],
        check=True, stdout=subprocess.DEVNULL,
    )
    scale = int(json.loads(subprocess.run(
        [binary, "evaluate", str(path), "--dataset", arguments.dataset, "--format", "json", "--quiet"],
        check=True, capture_output=True, text=True,
    ).stdout)["scale"])
    low = sorted((Path(arguments.dataset) / "LR_bicubic" / f"X{scale}").iterdir())
    high = sorted((Path(arguments.dataset) / "HR").iterdir())
    square = folder / "square.png"
    Image.open(arguments.image).convert("RGB").resize((SIDE, SIDE), Image.BICUBIC).save(square)
    table = []
    reference: list[np.ndarray] = []
    for kind, model in (("full precision", path), ("8 bits", packed)):
        forms: list[Form | str] = [Form("condi-convert", model)]
        forms += [exported(binary, model, folder / f"{kind[0]}.onnx")]
        forms += [exported(binary, model, folder / f"{kind[0]}.param")]
        if kind == "8 bits" and isinstance(forms[-1], Form):
            forms[-1] = exported(binary, model, folder / "8.param", "--precision", "int8")
        table += measured(binary, name, kind, forms, square, low, high, scale, reference, timings, folder, arguments.runs)
        print("\n".join(table[-3:]), flush=True)
    return table


def measured(binary, name, kind, forms, square, low, high, scale, reference, timings, folder, runs) -> list[str]:
    made = folder / "made"
    tools = []
    for form in forms:
        if isinstance(form, str):
            continue
        if form.name == "condi-convert":
            # `exec`: the shell's memory is not counted.
            command = [
                "sh", "-c", f'exec "$@" > {timings}', "sh", binary, "evaluate", str(form.model), "--dataset",
                str(folder / "set"), "--threads", str(THREADS), "--format", "json", "--quiet",
            ]
        else:
            command = [
                sys.executable, str(BASELINE), "--timings", str(timings), "--threads", str(THREADS), str(form.model),
                str(square),
            ]
        tools.append((form, Tool(form.name, command)))
    large = folder / "set" / "HR" / "image.png"
    large.parent.mkdir(parents=True, exist_ok=True)
    Image.open(square).resize((SIDE * scale, SIDE * scale), Image.BICUBIC).save(large)
    seconds: dict[str, list[float]] = {form.name: [] for form, _ in tools}
    for counts in turns(runs):
        for form, tool in tools:
            steps = tool.run(timings).steps
            if counts:
                seconds[form.name].append(steps["run"] if "run" in steps else steps["methods"][-1]["meanSeconds"])
    medians = {key: sorted(found)[len(found) // 2] for key, found in seconds.items()}
    table = []
    for form in forms:
        if isinstance(form, str):
            table.append(f"| {name} | {kind} | {'ncnn' if 'ncnn' in form else 'ONNX Runtime'} | – | | | | | {form} |")
            continue
        if form.is_sized:
            own = gain = "–"
            note = "for images of one size, which the set's are not"
        else:
            note = ""
            results = images(binary, form, low, timings, made)
            if not reference:
                reference += results
            cropped = [result[: truth.shape[0], : truth.shape[1]] for result, truth in
                       zip(results, map(samples, high), strict=True)]
            quality = np.mean([psnr(a, samples(b)[: a.shape[0], : a.shape[1]], scale) for a, b in
                               zip(cropped, high, strict=True)])
            own = f"{quality:.2f}"
            near = [psnr(a, b, scale) for a, b in zip(results, reference, strict=True)]
            gain = "–" if math.isinf(min(near)) else f"{np.mean(near):.1f}"
        table.append(
            f"| {name} | {kind} | {form.name} | {1000 * medians[form.name]:.0f} ms "
            f"| {medians['condi-convert'] / medians[form.name]:.2f} | {megabytes(form.bytes)} | {own} | {gain} | {note} |"
        )
    return table


def images(binary: str, form: Form, low: list[Path], timings: Path, made: Path) -> list[np.ndarray]:
    """What a runtime makes of the set, rounded to 8 bits."""
    if form.name == "condi-convert":
        made.mkdir(exist_ok=True)
        results = []
        for path in low:
            target = made / path.name
            subprocess.run(
                [binary, "upscale", str(form.model), str(path), str(target), "--force", "--quiet"],
                check=True, stdout=subprocess.DEVNULL,
            )
            results.append(samples(target))
        return results
    command = [sys.executable, str(BASELINE), "--timings", str(timings), "--runs", "1", str(form.model)]
    subprocess.run([*command, *map(str, low)], check=True)
    with np.load(f"{timings}.npz") as archive:
        return [np.round(archive[key] * 255) / 255 for key in archive.files]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--image", required=True, help="of which a square of 128 × 128 pixels is timed")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "exports.md")
    arguments = parser.parse_args()
    table = []
    with tempfile.TemporaryDirectory() as name:
        for model in arguments.models:
            table += rows(arguments.binary, model, arguments, Path(name))
    arguments.output.write_text(f"""# Exported networks, in their runtimes

Made by `Benchmarks/exports.py`: published weights, {THREADS} threads, medians of {arguments.runs} runs after one
unmeasured run, all taking turns; {processor()}, {version(arguments.binary)[-1]}. Milliseconds are those of a forward pass on
{SIDE} × {SIDE} pixels; ratios are condi-convert's time divided by the row's: below 1, condi-convert is faster. Bytes are
those of the model's files. dB are the mean PSNR of the luma on {Path(arguments.dataset).name}: against the
high-resolution images, and against what condi-convert makes of the model at full precision. At 8 bits, all weights and
the inputs of layers have 8 bits within fixed bounds (`--method 2dquant --steps 0`); ncnn's form is that of
`--precision int8`.

| model | | runtime | time | ratio | size | dB | dB from full | |
|---|---|---|--:|--:|--:|--:|--:|---|
""" + "\n".join(table) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
