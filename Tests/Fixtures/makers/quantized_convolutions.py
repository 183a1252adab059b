"""Makes what PyTorch computes with networks whose convolutions take quantized inputs.

    python Tests/Fixtures/makers/quantized_convolutions.py

Needs what `spandrel_networks.py` needs. For each of `NETWORKS`, whose weights and input are the file of that
name in `Tests/Fixtures/superresolution`, `quantized_….safetensors` has, for the first convolution of each
shape that is not divided into groups,

    golden.range.SITE         the smallest and the largest value of its input
    golden.quantized.SITE     the output with that input alone rounded to 3 bits within 0.9 of its range
    golden.by_pixels.SITE     the same within ±0.9 of the largest magnitude of each pixel

What a convolution adds around the image is not rounded.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from spandrel_networks import Case, cases
from superresolution import FOLDER

NETWORKS = ("compact_x2", "rlfn_x2", "edsr_x3")
STEPS = 7
SHARE = 0.9


def rounded(x: torch.Tensor, lower: torch.Tensor, upper: torch.Tensor) -> torch.Tensor:
    step = (upper - lower) / STEPS
    return step * torch.round((torch.clamp(x, lower, upper) - lower) / step) + lower


def by_pixels(x: torch.Tensor) -> torch.Tensor:
    upper = SHARE * x.abs().amax(1, keepdim=True)
    # A pixel without values has no step.
    return torch.where(upper > 0, rounded(x, -upper, upper), torch.zeros_like(x))


def run(model: nn.Module, x: torch.Tensor, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The output with the input of one module changed."""
    module = model.get_submodule(name)
    hook = module.register_forward_pre_hook(lambda _m, inputs: (change(inputs[0]),))
    output = model(x.clone())
    hook.remove()
    return output


@torch.inference_mode()
def write(case: Case) -> None:
    tensors = load_file(FOLDER / f"{case.name}.safetensors")
    x, expected = tensors["golden.input"], tensors["golden.output"]
    model = case.load({name: tensor for name, tensor in tensors.items() if not name.startswith("golden.")})
    goldens: dict[str, torch.Tensor] = {}
    shapes = set()
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d) or module.groups > 1:
            continue
        shape = (module.weight.shape, module.stride, module.padding)
        if shape in shapes:
            continue
        shapes.add(shape)
        site, seen = f"{name}.input", []

        def record(values: torch.Tensor, seen: list[torch.Tensor] = seen) -> torch.Tensor:
            seen.append(values)
            return values

        assert torch.allclose(run(model, x, name, record), expected, atol=1e-5)
        assert len(seen) == 1, site
        lower, upper = seen[0].min(), seen[0].max()
        goldens[f"golden.range.{site}"] = torch.stack([lower, upper])
        goldens[f"golden.quantized.{site}"] = run(
            model, x, name, lambda values, ends=(lower, upper): rounded(values, SHARE * ends[0], SHARE * ends[1]))
        goldens[f"golden.by_pixels.{site}"] = run(model, x, name, by_pixels)
    path = FOLDER / f"quantized_{case.name}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in goldens.items()}, path)
    print(f"{path.name}: {path.stat().st_size:,} bytes, {len(goldens) // 3} convolutions")


def main() -> None:
    torch.set_num_threads(1)
    for case in cases():
        if case.name in NETWORKS:
            write(case)


if __name__ == "__main__":
    main()
