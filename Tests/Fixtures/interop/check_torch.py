"""Packs small networks of every kind, and compares what PyTorch's modules make of the packed weights with what the
program makes of them.

    python check_torch.py BINARY [NAME …]

The networks are those of `Tests/Fixtures/superresolution`; NAME is how their files begin. Weights are packed at 4
bits, activations not at all. `condi.torch.state_dict` must equal what `unpack` writes, bit for bit. A module is
spandrel's, or that of `Tests/Fixtures/makers` where spandrel lacks the network. It computes with the packed weights,
loaded into a module of the original ones as well where names are the same, and the image that `upscale` writes must
not differ but by rounding.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from spandrel import ModelLoader, UnsupportedModelError

FIXTURES = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(FIXTURES.parent.parent / "python"), str(FIXTURES / "makers")]
import condi  # noqa: E402
import condi.torch  # noqa: E402
import spandrel_networks  # noqa: E402

FOLDER = FIXTURES / "superresolution"
# A result at the edge between two samples of 8 bits may be rounded to either.
LARGEST_SHARE = 0.01

State = dict[str, torch.Tensor]


def run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def module(name: str, state: State) -> torch.nn.Module:
    """The network of a state dictionary.

    Raises `UnsupportedModelError` if neither spandrel nor the makers of fixtures know it, as where buffers of masks
    and positions are left out, and `RuntimeError` if it has other tensors than spandrel expects.
    """
    case = next((case for case in spandrel_networks.cases() if case.name == name), None)
    if case is None:
        return ModelLoader().load_from_state_dict(dict(state)).model.eval()
    with spandrel_networks.narrow_blocks():
        return case.load(state)


def samples(values: torch.Tensor) -> np.ndarray:
    return np.round(np.clip(values.numpy()[0], 0, 1) * 255)


def image(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.uint8(values[0] if len(values) == 1 else values.transpose(1, 2, 0)))


@torch.inference_mode()
def check(binary: str, file: Path, folder: Path) -> list[str] | None:
    """Problems with the packed model of a network; none where there is no module of it."""
    tensors = load_file(file)
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith("golden.")}
    if not weights:
        print(f"{file.stem}: skipped, it has no weights")
        return None
    try:
        original = module(file.stem, weights)
    except (UnsupportedModelError, RuntimeError) as error:
        reason = "does not recognize" if isinstance(error, UnsupportedModelError) else "expects other tensors of"
        print(f"{file.stem}: skipped, spandrel {reason} it")
        return None

    model, packed, unpacked = (folder / name for name in ("model.safetensors", "model.condi", "unpacked.safetensors"))
    recipe, small, large = (folder / name for name in ("recipe.json", "small.png", "large.png"))
    save_file(weights, model)
    rules = [{"match": "*.weight", "where": {"rank": rank}, "action": "quantize"} for rank in (2, 4)]
    recipe.write_text(json.dumps({"bits": 4, "rules": rules}))
    run(binary, "convert", model, packed, "--recipe", recipe, "--force", "--quiet")
    run(binary, "unpack", packed, unpacked, "--force", "--quiet")

    problems = []
    state, expected = condi.torch.state_dict(packed), load_file(unpacked)
    differ = [name for name in expected if name not in state or not torch.equal(expected[name], state[name])]
    if differ or len(state) != len(expected):
        problems.append(f"{file.stem}: the state dictionary differs from unpacked tensors: {differ[:3]}")
    with condi.open(packed) as opened:
        count = sum(opened.record(name).encoding == "affine" for name in opened.names)

    # As the program reads it: with samples of 8 bits.
    pixels = samples(tensors["golden.input"])
    image(pixels).save(small)
    x = torch.from_numpy(pixels / 255).float()[None]
    result = module(file.stem, condi.torch.state_dict(packed, rounded=False))(x.clone())
    change = float((result - original(x.clone())).abs().max())
    if not (count and change > 1e-3):
        problems.append(f"{file.stem}: {count} quantized tensors change the result by {change:.1e}")
    how = "by its state dictionary"
    if set(original.state_dict()) & set(state) == set(state):
        how += " and loaded into a module"
        condi.torch.load_into(original, packed, strict=False)
        if not torch.equal(original(x.clone()), result):
            problems.append(f"{file.stem}: a module that is loaded into computes something else")

    run(binary, "upscale", packed, small, large, "--force", "--quiet")
    found = np.asarray(Image.open(large), np.float64)
    found = found[None] if found.ndim == 2 else found.transpose(2, 0, 1)
    difference = np.abs(found - samples(result)) if found.shape == samples(result).shape else np.array([255.0])
    share = float((difference > 0).mean())
    inside = float(((found > 0) & (found < 255)).mean())
    print(
        f"{file.stem}: {count} tensors {how}: {share:.2%} of samples differ, by {difference.max():.0f}; "
        f"{inside:.0%} are not clipped",
        flush=True,
    )
    if not (difference.max() <= 1 and share <= LARGEST_SHARE):
        problems.append(f"{file.stem}: {share:.1%} of samples differ, by up to {difference.max():.0f} of 255")
    return problems


def main() -> int:
    binary, names = sys.argv[1], tuple(sys.argv[2:])
    problems, count = [], 0
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for file in sorted(FOLDER.glob("*.safetensors")):
            if names and not file.stem.startswith(names):
                continue
            found = check(binary, file, Path(folder))
            if found is not None:
                count += 1
                problems += found
    print("\n".join(problems) or f"{count} networks: PyTorch's modules of packed models agree with the program")
    return 1 if problems or not count else 0


if __name__ == "__main__":
    sys.exit(main())
