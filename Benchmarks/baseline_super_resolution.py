"""What a Python engineer would write with PyTorch instead of running condi-convert evaluate.

    python baseline_super_resolution.py [--timings FILE] [--threads 2] run NETWORK MODEL SET5
    python baseline_super_resolution.py ranges NETWORK MODEL SET5

NETWORK is `dat`, by spandrel, or the path of a Python file with a class SwinIR. `run` upscales
every image of LR_bicubic/X2 and prints the average PSNR on luma; `--timings` writes the seconds of
each step, importing included, as JSON. `ranges` prints the smallest and largest value at every
activation site on the first image as JSON: it serves the benchmark and is not measured.
"""

import time

STARTED = time.perf_counter()

import argparse  # noqa: E402: the clock starts before the imports.
import importlib.util  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

TORCH = time.perf_counter()
SCALE = 2


def network(kind: str, path: str) -> torch.nn.Module:
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = state.get("params", state)
    if kind == "dat":
        from spandrel.architectures.DAT import DATArch

        model = DATArch().load(state).model
    else:
        specification = importlib.util.spec_from_file_location("reference", kind)
        assert specification is not None and specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        model = module.SwinIR(SCALE)
    missing, unexpected = model.load_state_dict(state, strict=False)
    # Masks are computed for the image at hand.
    buffers = ("attn_mask", "attn_mask_0", "attn_mask_1", "relative_position_index")
    assert all(name.split(".")[-1] in buffers for name in [*missing, *unexpected])
    return model.eval()


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
    model = network(arguments.network, arguments.model)
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


@torch.inference_mode()
def ranges(arguments: argparse.Namespace) -> None:
    # The recorder that the fixtures' ranges are made with.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "Tests/Fixtures"))
    from makers.superresolution import Sites

    found: dict[str, list[float]] = {}

    def record(site: str, values: torch.Tensor) -> torch.Tensor:
        ends = [values.min().item(), values.max().item()]
        old = found.get(site, ends)
        found[site] = [min(old[0], ends[0]), max(old[1], ends[1])]
        return values

    model = network(arguments.network, arguments.model)
    with Sites(model, record):
        model(read(images(arguments.folder)[0]))
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timings", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("task", choices=["run", "ranges"])
    parser.add_argument("network")
    parser.add_argument("model")
    parser.add_argument("folder")
    arguments = parser.parse_args()
    if arguments.task == "ranges":
        return ranges(arguments)
    steps = run(arguments)
    if arguments.timings:
        arguments.timings.write_text(json.dumps(steps))


if __name__ == "__main__":
    main()
