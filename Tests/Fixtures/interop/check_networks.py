"""Exports small networks of every kind, and compares what ONNX Runtime and ncnn make of them with PyTorch's results.

    python check_networks.py BINARY [NAME …]

The networks and PyTorch's results are those of `Tests/Fixtures/superresolution`; NAME is how their files begin.
For ONNX Runtime, each is exported for images of the size of its example, and where it takes any size, without one
as well. ncnn runs those of convolutions, with weights in float32 and in float16. Some are quantized as well, weights
and activations; there the runtimes are compared with what the program makes of the packed file.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import ncnn
import numpy as np
import onnx
import onnxruntime
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

FOLDER = Path(__file__).resolve().parent.parent / "superresolution"
# Results without weights; and layers that do not shift, which only a state dictionary of PyTorch tells.
OTHERS = ("real_", "quantized_", "dat_light", "swinir_example", "swinir_unshifted")
# By the names of networks: methods that round activations within fixed bounds, and within those of 16 values.
QUANTIZED = ("compact_x2", "rlfn_x2", "swinir_direct_x2", "dat_counted_x2", "swin2sr_direct_x2")
METHODS = ("2dquant", "best")
# Those that ncnn runs in int8.
INTEGERS = ("compact_x2", "rlfn_x2")
# As a share of the output's range.
TOLERANCE = 1e-4
HALF_TOLERANCE = 2e-2
# What only transformers and networks of several sizes have.
BEYOND_NCNN = re.compile("(attention|position embedding|dynamic upsampling|merging pixels|order of pixels|table) of this")


def export(binary: str, model: Path, output: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [binary, "export", str(model), str(output), "--force", *options], capture_output=True, text=True
    )


def run(path: Path, image: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(["upscaled"], {"image": image})[0]


def run_ncnn(path: Path, image: np.ndarray) -> np.ndarray:
    net = ncnn.Net()
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    if net.load_param(str(path)) or net.load_model(str(path.with_suffix(".bin"))):
        raise ValueError("ncnn does not load the network")
    pixels = np.ascontiguousarray(image[0])  # which the package does not keep alive
    extractor = net.create_extractor()
    extractor.input("data", ncnn.Mat(pixels).clone())
    code, output = extractor.extract("output")
    if code:
        raise ValueError("ncnn does not run the network")
    return np.array(output, copy=True)[None]


def save_weights(file: Path, model: Path) -> None:
    """Writes the tensors and values of a fixture without PyTorch's results."""
    with safe_open(file, "numpy") as archive:
        metadata = archive.metadata()
    save_file({name: tensor for name, tensor in load_file(file).items() if not name.startswith("golden.")}, model, metadata)


def check_ncnn(binary: str, file: Path, folder: Path) -> list[str]:
    """Problems with ncnn's form of the network of a file."""
    tensors = load_file(file)
    image, expected = tensors["golden.input"].astype(np.float32), tensors["golden.output"].astype(np.float32)
    model, output = folder / "model.safetensors", folder / "model.param"
    save_weights(file, model)
    height, width = image.shape[2:]
    passed = []
    for precision, tolerance in (("float32", TOLERANCE), ("float16", HALF_TOLERANCE)):
        done = export(binary, model, output, "--size", f"{height}x{width}", "--precision", precision)
        what = f"{file.stem} for ncnn in {precision}"
        if done.returncode:
            # Nor does ncnn extend images to whole squares of pixels.
            is_beyond = BEYOND_NCNN.search(done.stderr) or "but multiples of" in done.stderr
            return [] if is_beyond else [f"{what}: {done.stderr.strip()}"]
        margin = int((re.search(r"takes (\d+) pixel", done.stdout) or [0, 0])[1])
        around = ((0, 0), (0, 0), (margin, margin), (margin, margin))
        found = run_ncnn(output, np.pad(image, around, mode="reflect"))
        if found.shape != expected.shape:
            return [f"{what}: {found.shape} instead of {expected.shape}"]
        error = float(np.abs(found - expected).max()) / float(expected.max() - expected.min())
        passed.append(f"{error:.1e}")
        if not error <= tolerance:
            return [f"{what}: differs by {error:.1e} of the output's range"]
    print(f"{file.stem} for ncnn: {', '.join(passed)}", flush=True)
    return []


def check(binary: str, file: Path, folder: Path) -> list[str]:
    """Problems with the network of a file."""
    tensors = load_file(file)
    image, expected = tensors["golden.input"].astype(np.float32), tensors["golden.output"].astype(np.float32)
    model, output = folder / "model.safetensors", folder / "model.onnx"
    save_weights(file, model)
    height, width = image.shape[2:]
    problems, passed = [], []
    for options in (["--size", f"{height}x{width}"], []):
        done = export(binary, model, output, *options)
        what = f"{file.stem} {' '.join(options)}"
        if done.returncode:
            if not options and "--size" in done.stderr:
                continue
            problems.append(f"{what}: {done.stderr.strip()}")
            continue
        found = run(output, image)
        if found.shape != expected.shape:
            problems.append(f"{what}: {found.shape} instead of {expected.shape}")
            continue
        spread = float(expected.max() - expected.min())
        error = float(np.abs(found - expected).max()) / spread
        passed.append(f"{error:.1e}")
        if not error <= TOLERANCE:
            problems.append(f"{what}: differs by {error:.1e} of the output's range")
    print(f"{file.stem}: {', '.join(passed) or 'refused'}", flush=True)
    return problems


def waves(side: int, phase: float) -> Image.Image:
    y, x = np.mgrid[0:side, 0:side]
    planes = [0.5 + 0.3 * np.sin(0.4 * x + phase * color + 0.05 * y * y) for color in range(3)]
    return Image.fromarray(np.uint8(np.round(255 * np.stack(planes, -1))))


def check_quantized(binary: str, file: Path, folder: Path) -> list[str]:
    """Problems with the packed model of a network."""
    model, packed, output = folder / "model.safetensors", folder / "model.condi", folder / "model.onnx"
    images, small, recipe = folder / "images", folder / "small.png", folder / "recipe.json"
    # These weights are fewer than those that are quantized otherwise.
    rules = [{"match": "*.weight", "where": {"rank": rank}, "action": "quantize"} for rank in (2, 4)]
    recipe.write_text(json.dumps({"bits": 4, "rules": rules}))
    save_weights(file, model)
    images.mkdir(exist_ok=True)
    for index in range(3):
        waves(48, 1 + index).save(images / f"{index}.png")
    waves(24, 0.5).save(small)
    image = np.asarray(Image.open(small), np.float32).transpose(2, 0, 1)[None] / 255

    def upscaled(path: Path, *options: str) -> np.ndarray:
        made = folder / "made.png"
        command = [binary, "upscale", str(path), str(small), str(made), "--force", "--quiet", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return np.asarray(Image.open(made), np.float32).transpose(2, 0, 1)[None]

    def convert(method: str, *options: str) -> None:
        subprocess.run(
            [
                binary, "convert", str(model), str(packed), "--method", method, "--recipe", str(recipe),
                "--calibration-images", str(images), "--low-resolution", "--patches", "3", "--patch-size", "24",
                "--steps", "0", "--force", "--quiet", *options,
            ],
            check=True, stdout=subprocess.DEVNULL,
        )

    full = upscaled(model)
    problems = []
    if file.stem in INTEGERS:
        # Both have 8 bits, if not at the same places.
        convert("2dquant", "--bits", "8")
        change = float(np.abs(upscaled(packed) - full).mean())
        done = export(binary, packed, output.with_suffix(".param"), "--precision", "int8")
        if done.returncode or "in int8" not in done.stdout:
            return [f"{file.stem} for ncnn in int8: {done.stderr.strip()}"]
        found = np.round(np.clip(run_ncnn(output.with_suffix(".param"), image), 0, 1) * 255)
        error = float(np.abs(found - full).mean())
        print(f"{file.stem} for ncnn in int8: differs by {error:.2f} of 255 on average, packed by {change:.2f}", flush=True)
        if not error <= 2 * change + 0.5:
            problems.append(f"{file.stem} for ncnn in int8: differs by {error:.2f}, packed by {change:.2f}")
    for method in METHODS:
        what = f"{file.stem}, 4 bits by {method}"
        convert(method)
        done = export(binary, packed, output, "--size", "24x24")
        if done.returncode:
            problems.append(f"{what}: {done.stderr.strip()}")
            continue
        found = np.round(np.clip(run(output, image), 0, 1) * 255)
        # Sums that are rounded otherwise may move a value over the edge of a code, and all that follows with it: in
        # one of both arithmetics, few are.
        results = [upscaled(packed, *options) for options in ([], ["--float"])]
        error = min(float(np.abs(found - expected).mean()) for expected in results)
        change = float(np.abs(results[0] - full).mean())
        print(f"{what}: differs by {error:.3f} of 255 on average, quantization by {change:.2f}", flush=True)
        if not error <= 0.6 * change:
            problems.append(f"{what}: differs by {error:.3f} on average, and quantization by {change:.3f}")
    return problems


def main() -> int:
    binary, names = sys.argv[1], tuple(sys.argv[2:])
    problems, count = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for file in sorted(FOLDER.glob("*.safetensors")):
            if names and not file.stem.startswith(names):
                continue
            if file.stem.startswith(OTHERS):
                continue
            count += 1
            problems += check(binary, file, Path(folder))
            problems += check_ncnn(binary, file, Path(folder))
            if file.stem in QUANTIZED:
                problems += check_quantized(binary, file, Path(folder))
    print("\n".join(problems) or f"{count} networks: ONNX Runtime and ncnn agree with PyTorch")
    return 1 if problems or not count else 0


if __name__ == "__main__":
    sys.exit(main())
