"""What a Python engineer would write with PyTorch and NumPy instead of running condi-convert.

    python baseline_convert_inspect.py [--timings FILE] convert MODEL OUT.npz [--bits 2]
    python baseline_convert_inspect.py [--timings FILE] inspect MODEL

`convert` quantizes the body's linear weights (names ending in qkv, proj, fc1 or fc2 and `.weight`,
two-dimensional; qkv as three matrices) by 2DQuant's bound search, packs the codes, keeps all else,
and saves an .npz. `inspect` prints singular values, condition number and stable rank of every 2-D
and 4-D weight. `--timings` writes the seconds of each step, importing included, as JSON.

This is the rival in `compare.py`, so it is to be as fast as straightforward code is: all candidates
of the search are evaluated in one vectorized expression, matrices are oriented tall before the SVD
(torch is 3 times slower on wide ones), and nothing is computed that the output does not need.
"""

import time

STARTED = time.perf_counter()

import argparse  # noqa: E402: the clock starts before the imports.
import json  # noqa: E402
import re  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

IMPORTED = time.perf_counter()
BODY_LINEAR = re.compile(r"(^|\.)(qkv|proj|fc1|fc2)\.weight$")
ROOTS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net", "weights")
CANDIDATES = 100


class Steps:
    """Seconds of each step since the one before."""

    def __init__(self) -> None:
        self.seconds = {"import": IMPORTED - STARTED}
        self.last = IMPORTED

    def done(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self.last
        self.last = now


def load(path: str) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    root = next((root for root in ROOTS if isinstance(checkpoint.get(root), dict)), None)
    state = checkpoint[root] if root else checkpoint
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def search_bounds(weight: torch.Tensor, bits: int) -> tuple[float, float, torch.Tensor]:
    """DOBI, two-sided: lower bound, scale and codes of the candidate with the least squared error."""
    flat = weight.reshape(1, -1)
    low, high = flat.min(), flat.max()
    step = torch.arange(CANDIDATES).unsqueeze(1) * ((high - low) / (2 * CANDIDATES))
    lower = low + step
    scale = ((high - step) - lower) / (2**bits - 1)
    codes = ((flat - lower) / scale).round_().clamp_(0, 2**bits - 1)
    errors = (codes * scale).add_(lower).sub_(flat).square_().sum(1)
    best = int(np.argmin(errors.numpy()))  # NumPy's argmin is the first of equals.
    return float(lower[best]), float(scale[best]), codes[best].to(torch.uint8)


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes as one stream, low bits first."""
    planes = np.unpackbits(codes[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(planes.reshape(-1), bitorder="little")


def convert(model: str, output: str, bits: int, steps: Steps) -> None:
    state = load(model)
    steps.done("load")
    arrays = {}
    for name, tensor in state.items():
        if not (tensor.ndim == 2 and BODY_LINEAR.search(name)):
            arrays[name] = tensor.numpy()
            continue
        parts = tensor.chunk(3) if name.endswith("qkv.weight") else (tensor,)
        found = [search_bounds(part, bits) for part in parts]
        arrays[name + ".lower"] = np.array([lower for lower, _, _ in found], np.float32)
        arrays[name + ".scale"] = np.array([scale for _, scale, _ in found], np.float32)
        arrays[name + ".shape"] = np.array(tensor.shape)
        arrays[name + ".codes"] = pack(torch.cat([codes for _, _, codes in found]).numpy(), bits)
    steps.done("quantize")
    np.savez(output, **arrays)
    steps.done("save")


def inspect(model: str, steps: Steps) -> None:
    state = load(model)
    steps.done("load")
    rows = []
    for name, tensor in state.items():
        if tensor.ndim not in (2, 4) or not name.endswith(".weight"):
            continue
        matrix = tensor.reshape(tensor.shape[0], -1).double()
        if matrix.shape[0] < matrix.shape[1]:
            matrix = matrix.T
        values = torch.linalg.svdvals(matrix)
        largest, smallest = float(values[0]), float(values[-1])
        condition = largest / smallest if smallest > 0 else float("inf")
        stable_rank = float(values.square().sum()) / largest**2 if largest > 0 else 0.0
        rows.append((name, tuple(tensor.shape), largest, smallest, condition, stable_rank))
    steps.done("svd")
    for name, shape, largest, smallest, condition, stable_rank in rows:
        print(f"{name:<64} {str(shape):<20} {largest:10.4g} {smallest:10.4g} "
              f"{condition:10.4g} {stable_rank:8.3f}")  # fmt: skip
    steps.done("print")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timings", metavar="FILE")
    commands = parser.add_subparsers(dest="command", required=True)
    converting = commands.add_parser("convert")
    converting.add_argument("model")
    converting.add_argument("output")
    converting.add_argument("--bits", type=int, default=2)
    commands.add_parser("inspect").add_argument("model")
    arguments = parser.parse_args()
    steps = Steps()
    with torch.inference_mode():
        if arguments.command == "convert":
            convert(arguments.model, arguments.output, arguments.bits, steps)
        else:
            inspect(arguments.model, steps)
    if arguments.timings:
        with open(arguments.timings, "w", encoding="utf-8") as file:
            json.dump(steps.seconds, file)


if __name__ == "__main__":
    main()
