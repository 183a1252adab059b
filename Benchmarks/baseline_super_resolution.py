"""What a Python engineer would write with PyTorch instead of running condi-convert evaluate.

    python baseline_super_resolution.py [--timings FILE] [--threads 2] MODEL DATASET

Loads the network by spandrel, upscales every image of LR_bicubic/X2 and prints the average PSNR on luma;
`--timings` writes the seconds of each step, importing included, as JSON.
"""

import time

STARTED = time.perf_counter()

import argparse  # noqa: E402: the clock starts before the imports.
import functools  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from spandrel import ModelLoader  # noqa: E402

TORCH = time.perf_counter()
SCALE = 2


def read(path: Path) -> torch.Tensor:
    samples = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    return torch.from_numpy(samples).permute(2, 0, 1)[None]


def luma(x: torch.Tensor) -> torch.Tensor:
    return 16 + 65.481 * x[:, 0] + 128.553 * x[:, 1] + 24.966 * x[:, 2]


def psnr(found: torch.Tensor, expected: torch.Tensor) -> float:
    found = (found.clamp(0, 1) * 255).round() / 255
    inner = slice(SCALE, -SCALE)
    expected = expected[:, :, : found.shape[2], : found.shape[3]]
    error = (luma(found) - luma(expected))[:, inner, inner].square().mean().item()
    return 10 * math.log10(255**2 / error)


def images(folder: str) -> list[Path]:
    return sorted((Path(folder) / f"LR_bicubic/X{SCALE}").glob("*.png"))


def high_resolution(path: Path, folder: str) -> Path:
    name = path.stem.removesuffix(f"x{SCALE}")
    return Path(folder) / "HR" / f"{name}.png"


@torch.inference_mode()
def run(arguments: argparse.Namespace) -> dict[str, float]:
    torch.set_num_threads(arguments.threads)
    loaded = time.perf_counter()
    # Some checkpoints lack the masks, which the networks compute as well.
    torch.nn.Module.load_state_dict = functools.partialmethod(torch.nn.Module.load_state_dict, strict=False)
    model = ModelLoader("cpu").load_from_file(arguments.model).model.eval()
    steps = {"import torch": TORCH - STARTED, "load": time.perf_counter() - loaded, "run": 0.0, "measure": 0.0}
    scores = []
    for path in images(arguments.folder):
        started = time.perf_counter()
        found = model(read(path))
        done = time.perf_counter()
        scores.append(psnr(found, read(high_resolution(path, arguments.folder))))
        steps["run"] += done - started
        steps["measure"] += time.perf_counter() - done
    print(json.dumps({"psnr": sum(scores) / len(scores)}))
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timings", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("model")
    parser.add_argument("folder")
    arguments = parser.parse_args()
    steps = run(arguments)
    if arguments.timings:
        arguments.timings.write_text(json.dumps(steps))


if __name__ == "__main__":
    main()
