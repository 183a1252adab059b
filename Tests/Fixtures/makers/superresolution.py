"""Makes small networks and what PyTorch computes with them.

    python Tests/Fixtures/makers/superresolution.py [--dat-weights FOLDER]

Needs torch, safetensors and spandrel, whose SwinIR and DAT are the reference. Each file of
`Tests/Fixtures/superresolution` is a state dictionary in safetensors, of a network as small as its
parts allow, with seeded random weights kept in float16, and besides it

    golden.input           [1, channels, height, width], from 0 to 1
    golden.output          what the network gives for it, in float32
    golden.group.<index>   [1, height · width, channels] after each residual group, in some files
    golden.range.<site>    the smallest and largest value at an activation site, in some files
    golden.quantized       the output with every site rounded to 6 bits within its range
    golden.quantized_by_rows  the same with inputs and probabilities rounded row by row
    golden.layer.<name>.<what>  of the latter run, for the first rows of each linear layer of the body: its
                           `input`, the `codes` of that, and its `output`

`dat_light.safetensors` has no weights but inputs and outputs of the published DAT-light networks,
whose folder `--dat-weights` names; without it that file is left as it is.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from spandrel.architectures.DAT import DAT, DATArch
from spandrel.architectures.SwinIR import SwinIR
from torch import nn
from torch.overrides import TorchFunctionMode

FOLDER = Path(__file__).resolve().parent.parent / "superresolution"
EXAMPLES = FOLDER.parent.parent.parent / "Examples"
# Rows of each layer that are kept.
LAYER_ROWS = 6
# Buffers that the networks compute; one file keeps them.
BUFFERS = ("attn_mask", "attn_mask_0", "attn_mask_1", "relative_position_index", "num_batches_tracked")


def randomize(model: nn.Module, seed: int) -> None:
    """Random parameters and statistics that float16 holds exactly."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: torch.Tensor, spread: float, middle: float = 0.0) -> None:
        values = middle + spread * torch.randn(tensor.shape, generator=generator)
        tensor.data.copy_(values.half().float())

    norms = (nn.LayerNorm, nn.BatchNorm2d)
    for module in model.modules():
        for name, tensor in module.named_parameters(recurse=False):
            if isinstance(module, norms) and name == "weight":
                draw(tensor, 0.2, 1)
            elif tensor.dim() > 1 and not name.startswith(("relative", "absolute")):
                draw(tensor, 1 / math.sqrt(tensor[0].numel()))
            else:
                draw(tensor, 0.3)
        if isinstance(module, nn.BatchNorm2d):
            draw(module.running_mean, 0.2)
            module.running_var.copy_((0.5 + torch.rand(module.running_var.shape, generator=generator)).half())


def narrow(model: nn.Module, upsampler: str, channels: int, width: int, scale: int, outputs: int) -> None:
    """Replaces the upscaling convolutions, 64 channels wide in the reference, by narrower ones."""
    model.conv_before_upsample = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1), nn.LeakyReLU())
    if upsampler == "pixelshuffle":
        factors = [3] if scale == 3 else [2] * int(math.log2(scale))
        model.upsample = nn.Sequential(
            *(
                part
                for factor in factors
                for part in (nn.Conv2d(width, factor**2 * width, 3, 1, 1), nn.PixelShuffle(factor))
            )
        )
    else:
        for name in ("conv_up1", "conv_up2", "conv_up3", "conv_hr"):
            if hasattr(model, name):
                setattr(model, name, nn.Conv2d(width, width, 3, 1, 1))
    model.conv_last = nn.Conv2d(width, outputs, 3, 1, 1)


def random_image(channels: int, height: int, width: int, seed: int) -> torch.Tensor:
    """Waves and noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(height).view(1, height, 1)
    x = torch.arange(width).view(1, 1, width)
    phase = torch.arange(channels).view(channels, 1, 1)
    waves = 0.5 + 0.4 * torch.sin(0.31 * x + 0.23 * y * (1 + phase) + phase)
    noise = 0.1 * torch.rand((channels, height, width), generator=generator)
    return (waves + noise - 0.05).clamp(0, 1)[None]


@torch.inference_mode()
def goldens(model: nn.Module, x: torch.Tensor, groups: bool) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {"golden.input": x}
    hooks = []
    if groups:
        for index, layer in enumerate(model.layers):
            hooks.append(
                layer.register_forward_hook(
                    lambda _m, _i, output, index=index: found.__setitem__(
                        f"golden.group.{index}", output.clone()
                    )
                )
            )
    found["golden.output"] = model.eval()(x)
    for hook in hooks:
        hook.remove()
    return found


class Sites(TorchFunctionMode):
    """Shows every factor of a linear layer of the body or of an attention to `visit`.

    In an attention the first product is of queries and keys, the second of probabilities and values.
    """

    def __init__(self, model: nn.Module, visit) -> None:
        super().__init__()
        self.visit = visit
        self.attention: list[str] = []
        self.products = 0
        self.hooks = []
        for name, module in model.named_modules():
            leaf = name.split(".")[-1]
            if leaf in ("qkv", "proj", "fc1", "fc2"):
                self.hooks.append(
                    module.register_forward_pre_hook(
                        lambda _m, inputs, name=name: (self.visit(f"{name}.input", inputs[0]),)
                    )
                )
            if (leaf == "attn" and not hasattr(module, "attns")) or name.split(".")[-2:-1] == ["attns"]:
                self.hooks.append(
                    module.register_forward_pre_hook(
                        lambda module, _i, name=name: self.enter(name, hasattr(module, "temperature"))
                    )
                )

    def enter(self, name: str, compares_channels: bool) -> None:
        self.attention, self.products, self.compares_channels = [name], 0, compares_channels

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = self.attention[0] if self.attention else ""
        if function in (torch.Tensor.matmul, torch.Tensor.__matmul__):
            self.products += 1
            if self.products == 1:
                # Unit vectors over all tokens are brought to a root mean square of 1.
                length = args[0].shape[-1] ** 0.5 if self.compares_channels else 1
                args = (
                    self.visit(f"{name}.query", args[0] * length) / length,
                    self.visit(f"{name}.key", args[1] * length) / length,
                )
            elif self.products == 2:
                args = (self.visit(f"{name}.probabilities", args[0]), self.visit(f"{name}.value", args[1]))
        return function(*args, **(kwargs or {}))

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()


@torch.inference_mode()
def quantized(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The range of every site, and the output with all of them rounded to 6 bits: within those ranges, and
    with layers' inputs and probabilities row by row within 0.95 of the row's largest magnitude."""
    ranges: dict[str, torch.Tensor] = {}

    def record(site: str, values: torch.Tensor) -> torch.Tensor:
        assert site not in ranges
        ranges[site] = torch.stack([values.min(), values.max()]).clone()
        return values

    def round_off(site: str, values: torch.Tensor) -> torch.Tensor:
        lower, upper = ranges[site]
        step = (upper - lower) / 63
        return step * torch.round((values.clamp(lower, upper) - lower) / step) + lower

    def round_rows_off(site: str, values: torch.Tensor) -> torch.Tensor:
        if not site.endswith((".input", ".probabilities")):
            return round_off(site, values)
        upper = 0.95 * values.abs().amax(-1, keepdim=True)
        lower = torch.zeros_like(upper) if site.endswith(".probabilities") else -upper
        step = (upper - lower) / 63
        return step * torch.round((values.clamp(lower, upper) - lower) / step) + lower

    layers: dict[str, torch.Tensor] = {}

    def keep_layer(name: str, module: nn.Module, output: torch.Tensor) -> None:
        # The codes are found again from the rounded input, which the hook before has made.
        x = layers[f"{name}.input"]
        upper = 0.95 * x.abs().amax(-1, keepdim=True)
        codes = torch.round((x.clamp(-upper, upper) + upper) / (2 * upper / 63))
        layers[f"{name}.codes"] = codes.to(torch.uint8)
        layers[f"{name}.output"] = output.reshape(-1, output.shape[-1])[:LAYER_ROWS].clone()

    def round_and_keep(site: str, values: torch.Tensor) -> torch.Tensor:
        if site.endswith(".input"):
            layers[site] = values.reshape(-1, values.shape[-1])[:LAYER_ROWS].clone()
        return round_rows_off(site, values)

    results = []
    for visit in (record, round_off, round_and_keep):
        hooks = []
        with Sites(model, visit) as sites:
            if visit is round_and_keep:
                hooks = [
                    module.register_forward_hook(lambda m, _i, y, name=name: keep_layer(name, m, y))
                    for name, module in model.named_modules()
                    if f"{name}.input" in ranges
                ]
            results.append(model.eval()(x))
        for hook in (sites, *hooks):
            hook.remove()
    assert torch.allclose(results[0], model(x), atol=1e-5)
    goldens = {f"golden.range.{site}": ends for site, ends in ranges.items()}
    goldens |= {f"golden.layer.{name}": values for name, values in layers.items()}
    return goldens | {"golden.quantized": results[1], "golden.quantized_by_rows": results[2]}


def save(name: str, model: nn.Module, x: torch.Tensor, groups: bool = False, buffers: bool = False) -> None:
    tensors = goldens(model, x, groups)
    if groups:
        tensors |= quantized(model, x)
    for key, value in model.state_dict().items():
        if not buffers and key.split(".")[-1] in BUFFERS:
            continue
        tensors[key] = value.half() if value.dtype == torch.float32 else value
    for key, value in tensors.items():
        tensors[key] = value.contiguous()
    path = FOLDER / f"{name}.safetensors"
    save_file(tensors, path)
    print(f"{path.name}: {path.stat().st_size:,} bytes, output up to {tensors['golden.output'].abs().max():.2f}")


def swinir(
    name: str, *, upsampler: str, scale: int = 1, connection: str = "1conv", channels: int = 3, window: int = 4,
    image_range: float = 1.0, size: tuple[int, int] = (9, 13), depths: tuple[int, ...] = (2, 2), seed: int,
    groups: bool = False, buffers: bool = False, qkv_bias: bool = True, patch_norm: bool = True, ape: bool = False,
    image: int | None = None, unshifted: tuple[tuple[int, int], ...] = (),
) -> None:
    """`image`: the size that it was made for; `unshifted`: groups and layers that do not shift."""
    model = SwinIR(
        img_size=image or (2 * window if window > 4 else 16), in_chans=channels, embed_dim=12, depths=list(depths), num_heads=[2] * len(depths),
        window_size=window, mlp_ratio=2.0, upscale=scale, img_range=image_range, upsampler=upsampler,
        resi_connection=connection, qkv_bias=qkv_bias, patch_norm=patch_norm, ape=ape,
    )
    if upsampler in ("pixelshuffle", "nearest+conv"):
        narrow(model, upsampler, 12, 4, scale, channels)
    for group, layer in unshifted:
        block = model.layers[group].residual_group.blocks[layer]
        block.shift_size, block.attn_mask = 0, None
    randomize(model, seed)
    save(f"swinir_{name}", model, random_image(channels, *size, seed), groups, buffers)


def dat(
    name: str, *, upsampler: str, scale: int, connection: str, depths: tuple[int, ...], split: tuple[int, int],
    size: tuple[int, int], seed: int, channels: int = 3, groups: bool = False, buffers: bool = False,
) -> None:
    model = DAT(
        img_size=max(split) * 2, in_chans=channels, embed_dim=32, split_size=list(split), depth=list(depths),
        num_heads=[4] * len(depths), expansion_factor=2.0, upscale=scale, resi_connection=connection,
        upsampler=upsampler,
    )
    if upsampler == "pixelshuffle":
        narrow(model, upsampler, 32, 4, scale, channels)
    randomize(model, seed)
    save(f"dat_{name}", model, random_image(channels, *size, seed), groups, buffers)


def published(weights: Path) -> None:
    """Outputs of the published DAT-light networks."""
    tensors: dict[str, torch.Tensor] = {}
    # More than one window in a direction, and no multiple of them.
    sizes = {2: (34, 35), 3: (9, 34), 4: (34, 6)}
    for scale, size in sizes.items():
        state = torch.load(weights / f"DAT_light_x{scale}.pth", map_location="cpu", weights_only=True)["params"]
        model = DATArch().load(state).model
        model.load_state_dict(state)
        x = random_image(3, *size, scale)
        with torch.inference_mode():
            tensors[f"x{scale}.input"] = x.contiguous()
            tensors[f"x{scale}.output"] = model.eval()(x).contiguous()
    save_file(tensors, FOLDER / "dat_light.safetensors")


def example() -> None:
    """What the example network of this repository gives."""
    state = torch.load(EXAMPLES / "swinir_light_x2.pth", map_location="cpu", weights_only=True)
    state = state.get("params", state)
    model = SwinIR(
        img_size=64, embed_dim=60, depths=[6] * 4, num_heads=[6] * 4, window_size=8, mlp_ratio=2.0, upscale=2,
        upsampler="pixelshuffledirect",
    )
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith("attn_mask") for name in missing)
    tensors = goldens(model, random_image(3, 19, 13, 1), False)
    save_file({k: v.contiguous() for k, v in tensors.items()}, FOLDER / "swinir_example.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dat-weights", type=Path)
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    torch.set_num_threads(1)

    swinir("direct_x2", upsampler="pixelshuffledirect", scale=2, seed=1, groups=True, buffers=True)
    swinir("direct_x3_grey", upsampler="pixelshuffledirect", scale=3, channels=1, seed=2, qkv_bias=False)
    swinir("shuffle_x4", upsampler="pixelshuffle", scale=4, connection="3conv", seed=3)
    swinir("shuffle_x3", upsampler="pixelshuffle", scale=3, seed=4, patch_norm=False)
    swinir("shuffle_x8", upsampler="pixelshuffle", scale=8, seed=5, size=(5, 6), depths=(2,))
    swinir("nearest_x4", upsampler="nearest+conv", scale=4, connection="3conv", seed=6)
    swinir("nearest_x2", upsampler="nearest+conv", scale=2, seed=7, depths=(3,))
    swinir("denoise_grey", upsampler="", channels=1, window=8, seed=8, size=(11, 17))
    swinir("jpeg_colour", upsampler="", window=7, image_range=255.0, seed=9, size=(15, 20))
    swinir("positions", upsampler="", seed=10, size=(15, 14), depths=(1,), ape=True)
    # For images no larger than a window, the original code shifts none and registers no mask.
    swinir("unshifted", upsampler="pixelshuffledirect", scale=2, seed=14, buffers=True, image=4)
    swinir("partly_shifted", upsampler="pixelshuffledirect", scale=2, seed=15, buffers=True, unshifted=((0, 1),))
    dat("direct_x2", upsampler="pixelshuffledirect", scale=2, connection="3conv", depths=(3, 1), split=(2, 4),
        size=(9, 11), seed=11, groups=True, buffers=True)
    dat("shuffle_x3", upsampler="pixelshuffle", scale=3, connection="1conv", depths=(1,), split=(4, 4),
        size=(8, 7), seed=12)
    dat("shuffle_x2_tall", upsampler="pixelshuffle", scale=2, connection="3conv", depths=(2,), split=(6, 3),
        size=(13, 5), seed=13, channels=1)
    example()
    if options.dat_weights:
        published(options.dat_weights)


if __name__ == "__main__":
    main()
