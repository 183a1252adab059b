"""Makes small super-resolution networks and what PyTorch computes with them.

    python Tests/Fixtures/makers/spandrel_networks.py [--weights FOLDER] [NAME …]

Needs spandrel==0.4.2 (MIT), torch==2.15.0, torchvision==0.29.2, einops==0.8.2, numpy==2.4.6 and
safetensors==0.8.0. EDSR, RLFN and the networks of NTIRE, which spandrel does not know, are written here as their
authors describe them, HiT-SR and NGswin in `window_networks.py`. Each file of
`Tests/Fixtures/superresolution` is a state dictionary in safetensors, of a network as small as its parts allow, with seeded random weights in float32, and
besides it

    golden.input           [1, channels, height, width], from 0 to 1
    golden.output          what the network gives for it, in float32, neither padded nor clipped

Before a file is written, every tensor of it is set to zero in turn, and the output must notice; the
tensors of `UNUSED` are named with their reason. spandrel must find the network and its parameters
in the tensors alone, and single precision must be enough for the output.

The files `real_….safetensors` have no weights but the goldens of the published networks of NTIRE,
whose folder `--weights` names; without it those files are left as they are.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from spandrel import ModelLoader
from spandrel.architectures import DAT as dat_module
from spandrel.architectures import DRCT as drct_module
from spandrel.architectures import Swin2SR as swin2sr_module
from spandrel.architectures.__arch_helpers import block
from spandrel.architectures.Compact import Compact
from spandrel.architectures.DAT.__arch.DAT import DynamicPosBias, Spatial_Attention
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.HAT import HAT
from spandrel.architectures.MoSR import MoSR
from spandrel.architectures.OmniSR import OmniSR
from spandrel.architectures.PLKSR import RealPLKSR
from spandrel.architectures.RCAN import RCAN
from spandrel.architectures.SAFMN import SAFMN
from spandrel.architectures.SPAN import SPAN
from torch import nn

from superresolution import FOLDER, narrow, random_image
from window_networks import HiTSR, NGswin

State = dict[str, torch.Tensor]

# What a test of another implementation allows, as a part of the output's range.
TOLERANCE = 1e-4
# Setting a tensor to zero changes the output by at least so many tolerances.
SIGNIFICANCE = 10
# The largest error of single precision itself, in tolerances.
PRECISION = 0.1
LARGEST_FILE = 300_000
MEAN = (0.4488, 0.4371, 0.4040)

# Tensors that no result depends on, by the name's pattern, for those cases that name them.
UNUSED = {
    r".*\.eval_conv\.(weight|bias)": "replaced by the sum of the branches whenever these are there",
    r"no_norm": "a mark whose presence counts; its value is zero",
    r"to_img\.init_pos": "zero at a scale of 1",
    r".*\.attn_mask(_\d)?": "made again for an image of another size",
    r".*\.pos\.pos3\.2\.bias": "the same for all keys, which the softmax takes away again",
}


@dataclass
class Case:
    """A network, the state dictionary that is published of it, and how it is found again."""

    name: str
    make: Callable[[], nn.Module]
    seed: int
    size: tuple[int, int] = (13, 10)
    channels: int = 3
    scale: int = 4
    # spandrel's name of the architecture; none where the network is written here.
    architecture: str | None = None
    # What spandrel must read off the tensors.
    parameters: dict[str, object] = field(default_factory=dict)
    # From the module's names to the file's and, for networks written here, back.
    publish: Callable[[State], State] = dict
    restore: Callable[[State], State] = dict
    # Factors of random tensors, by the name's pattern.
    factors: dict[str, float] = field(default_factory=dict)
    # Tensors that keep what the module starts with.
    kept: str = r"(sub|add)_mean.*|.*init_pos|no_norm|.*attn_mask(_\d)?|.*relative_coords_table|.*rpe_biases"
    # Patterns of `UNUSED` that are true of this file.
    unused: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert all(pattern in UNUSED for pattern in self.unused)

    def is_unused(self, name: str) -> bool:
        return any(re.fullmatch(pattern, name) for pattern in self.unused)

    def load(self, state: State) -> nn.Module:
        if self.architecture is None:
            model = self.make()
            model.load_state_dict(self.restore(state), strict=True)
            return model.eval()
        found = ModelLoader().load_from_state_dict(dict(state))
        assert found.architecture.id == self.architecture, found.architecture.id
        assert (found.scale, found.input_channels) == (self.scale, self.channels)
        read = found.model.hyperparameters
        for key, value in self.parameters.items():
            assert key in read and read[key] == value, f"{self.name}: {key} is read as {read.get(key)}"
        return found.model.eval()


def draw(case: Case, seed: int) -> State:
    """A module's tensors, random but for those that are kept."""
    generator = torch.Generator().manual_seed(seed)
    model = case.make()
    norms = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if type(module).__name__ in ("LayerNorm", "LayerNorm2d", "GroupNorm", "LayerNormalization", "BatchNorm2d")
    }
    state: State = {}
    for name, tensor in model.state_dict().items():
        if re.fullmatch(case.kept, name) or not tensor.is_floating_point():
            state[name] = tensor.clone()
            continue
        values = torch.randn(tensor.shape, generator=generator)
        if name in norms:
            values = 1 + 0.2 * values
        elif name.endswith("running_var"):
            values = 0.5 + values.abs()
        elif tensor.dim() > 1:
            values /= math.sqrt(tensor[0].numel())
        elif name.endswith("weight"):
            values = 0.25 + 0.1 * values
        else:
            values *= 0.2
        for pattern, factor in case.factors.items():
            if re.fullmatch(pattern, name):
                values *= factor
        state[name] = values
    return state


@torch.inference_mode()
def output(case: Case, state: State, x: torch.Tensor) -> torch.Tensor:
    # Some networks scale their input in place.
    return case.load(state)(x.clone())


@torch.inference_mode()
def changes(case: Case, state: State, x: torch.Tensor, expected: torch.Tensor, loads: bool) -> dict[str, float]:
    """How far the output moves with each tensor set to zero: in the loaded module where it is found there,
    or with `loads` in a module that is loaded for each."""
    model = case.load(state)
    entries = model.state_dict()
    found = {}
    for name, tensor in state.items():
        equal = {key for key, entry in entries.items() if entry.dtype == tensor.dtype and torch.equal(entry, tensor)}
        equal = equal & {name} or equal
        if loads or len(equal) != 1:
            try:
                changed = output(case, state | {name: torch.zeros_like(tensor)}, x)
            except RuntimeError:
                # Sizes are read off this tensor, and with others than its own nothing can be loaded.
                changed = torch.full_like(expected, math.inf)
        else:
            entry = entries[equal.pop()]
            original = entry.clone()
            entry.zero_()
            changed = model(x.clone())
            entry.copy_(original)
        found[name] = float((changed - expected).abs().max())
    return found


def weigh(case: Case, state: State, x: torch.Tensor) -> State | None:
    """The state dictionary with tensors enlarged until each matters; none if one never does."""
    loads = False
    for _ in range(24):
        expected = output(case, state, x)
        tolerance = TOLERANCE * float(expected.max() - expected.min())
        weak = []
        for name, difference in changes(case, state, x, expected, loads).items():
            if case.is_unused(name):
                assert difference < PRECISION * tolerance, f"{case.name}: {name} is used"
            elif not difference > SIGNIFICANCE * tolerance:
                weak.append(name)
        if not weak and loads:
            return state
        loads = loads or not weak
        if any(re.fullmatch(case.kept, name) or not state[name].is_floating_point() for name in weak):
            return None
        state = state | {name: 1.5 * state[name] for name in weak}
    return None


def write(case: Case) -> None:
    x = random_image(case.channels, *case.size, case.seed)
    for attempt in range(20):
        state = weigh(case, case.publish(draw(case, case.seed + 1000 * attempt)), x)
        if state is not None:
            break
    else:
        raise AssertionError(f"{case.name}: some tensor never matters")
    y = output(case, state, x)
    assert y.shape == (1, case.channels, *(case.scale * side for side in case.size)), y.shape
    with torch.inference_mode():
        exact = case.load(state).double()(x.double())
    spread = float(y.max() - y.min())
    error = float((y - exact).abs().max()) / spread
    assert error < PRECISION * TOLERANCE, f"{case.name}: error {error}"
    tensors = {"golden.input": x, "golden.output": y} | state
    path = FOLDER / f"{case.name}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    size = path.stat().st_size
    assert size <= LARGEST_FILE, f"{case.name}: {size:,} bytes"
    print(
        f"{path.name}: {size:,} bytes, output {y.min():.2f}…{y.max():.2f}, error {error:.1e}, attempt {attempt}",
        flush=True,
    )


# RRDB


class NarrowBlock(block.RRDB):
    """spandrel makes all dense blocks grow by 32 channels; here they grow by 4."""

    GROWTH = 4

    def __init__(self, *arguments, **keywords) -> None:
        super().__init__(*arguments, **(keywords | {"gc": self.GROWTH}))


@contextmanager
def narrow_blocks() -> Iterator[None]:
    originals = (block.RRDB, swin2sr_module.Swin2SR, drct_module.DRCT, dat_module.DAT)
    block.RRDB, swin2sr_module.Swin2SR, drct_module.DRCT = NarrowBlock, NarrowSwin2SR, NarrowDRCT
    dat_module.DAT = NarrowDAT
    try:
        yield
    finally:
        block.RRDB, swin2sr_module.Swin2SR, drct_module.DRCT, dat_module.DAT = originals


def renamed(state: State, spelling: str) -> State:
    """The old names of ESRGAN as those of BasicSR (`new`) or of BSRGAN (`middle`)."""
    ups = (max(int(name.split(".")[1]) for name in state) - 4) // 3
    trunk = max(int(name.split(".")[3]) for name in state if name.startswith("model.1.sub."))
    if spelling == "new":
        dense, body, up, high = r"body.\1.rdb\2.conv\3.", "conv_body.", "conv_up", "conv_hr."
    else:
        dense, body, up, high = r"RRDB_trunk.\1.RDB\2.conv\3.", "trunk_conv.", "upconv", "HRconv."
    rules = [
        (r"model\.0\.", "conv_first."),
        (r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", dense),
        (rf"model\.1\.sub\.{trunk}\.", body),
        *((rf"model\.{3 * number}\.", f"{up}{number}.") for number in range(1, ups + 1)),
        (rf"model\.{3 * ups + 2}\.", high),
        (rf"model\.{3 * ups + 4}\.", "conv_last."),
    ]
    names = {}
    for name in state:
        (names[name],) = (re.sub(f"^{old}", new, name) for old, new in rules if re.match(old, name))
    return {names[name]: tensor for name, tensor in state.items()}


def rrdb(
    name: str, *, ups: int, blocks: int, seed: int, spelling: str = "old", unshuffle: int = 1, plus: bool = False,
    size: tuple[int, int] = (13, 10),
) -> Case:
    parameters = dict(
        in_nc=3 * unshuffle**2, out_nc=3, num_filters=6, num_blocks=blocks, scale=2**ups, plus=plus,
        shuffle_factor=unshuffle if unshuffle > 1 else None,
    )
    return Case(
        f"rrdb_{name}", lambda: ESRGAN(**parameters), seed, size, scale=2**ups // unshuffle,
        architecture="ESRGAN", parameters=parameters,
        publish=dict if spelling == "old" else lambda state: renamed(state, spelling),
    )


# Compact


def compact(name: str, *, channels: int = 3, width: int, layers: int, scale: int, seed: int) -> Case:
    parameters = dict(num_in_ch=channels, num_out_ch=channels, num_feat=width, num_conv=layers, upscale=scale)
    return Case(
        f"compact_{name}", lambda: Compact(**parameters), seed, channels=channels, scale=scale,
        architecture="Compact", parameters=parameters,
    )


# SPAN

# The attention of a block keeps what it is near a half of, and six blocks would leave nothing of smaller ones.
ATTENTION_FACTORS = {r".*block_\d\.c3_r\.(sk|eval_conv)\.bias": 10}
# The input is brought to ±128.
RANGE_FACTORS = {r".*conv_1\.(sk|conv\.0|eval_conv)\.weight": 1 / 64}


def span(name: str, *, width: int, scale: int, seed: int, norm: bool = True) -> Case:
    """The network as it is trained. Its `eval_conv` are random here as they are stale in checkpoints."""
    parameters = dict(num_in_ch=3, num_out_ch=3, feature_channels=width, upscale=scale, norm=norm)
    factors = ATTENTION_FACTORS | (RANGE_FACTORS if norm else {})
    return Case(
        f"span_{name}", lambda: SPAN(**parameters), seed, scale=scale, architecture="SPAN",
        parameters=parameters, factors=factors, unused=(r".*\.eval_conv\.(weight|bias)", r"no_norm"),
    )


class MergedSPAN(nn.Module):
    """spandrel's SPAN with one convolution for each group of branches, as in NTIRE."""

    def __init__(self, width: int, scale: int, norm: bool) -> None:
        super().__init__()
        model = SPAN(num_in_ch=3, num_out_ch=3, feature_channels=width, upscale=scale, norm=norm)
        for module in list(model.modules()):
            if hasattr(module, "eval_conv"):
                del module.sk, module.conv
                module.update_params = lambda: None
        self.network = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)


def merged_span(name: str, *, width: int, scale: int, seed: int) -> Case:
    return Case(
        f"span_{name}", lambda: MergedSPAN(width, scale, True), seed, scale=scale,
        publish=lambda state: {key.removeprefix("network."): tensor for key, tensor in state.items()},
        restore=lambda state: {f"network.{key}": tensor for key, tensor in state.items()},
        factors=ATTENTION_FACTORS | RANGE_FACTORS,
    )


# EDSR, after EDSR-PyTorch (MIT)


class MeanShift(nn.Conv2d):
    def __init__(self, sample_range: float, sign: int) -> None:
        super().__init__(3, 3, 1)
        self.weight.data = torch.eye(3).view(3, 3, 1, 1)
        self.bias.data = sign * sample_range * torch.tensor(MEAN)


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + x


class EDSR(nn.Module):
    """Samples are from 0 to `sample_range` inside; without it they are not shifted by the mean either."""

    def __init__(self, width: int, blocks: int, scale: int, sample_range: float | None) -> None:
        super().__init__()
        self.sample_range = sample_range or 1
        self.sub_mean = MeanShift(sample_range, -1) if sample_range else nn.Identity()
        self.add_mean = MeanShift(sample_range, 1) if sample_range else nn.Identity()
        factors = [3] if scale == 3 else [2] * int(math.log2(scale))
        parts: list[nn.Module] = []
        for factor in factors:
            parts += [nn.Conv2d(width, factor**2 * width, 3, 1, 1), nn.PixelShuffle(factor)]
        self.head = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1))
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)), nn.Conv2d(width, width, 3, 1, 1))
        self.tail = nn.Sequential(nn.Sequential(*parts), nn.Conv2d(width, 3, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(self.sub_mean(x * self.sample_range))
        x = self.tail(self.body(x) + x)
        return self.add_mean(x) / self.sample_range


def edsr(name: str, *, width: int, blocks: int, scale: int, sample_range: float | None, seed: int) -> Case:
    # Biases count beside samples of up to 255.
    wide = (sample_range or 1) > 1
    return Case(
        f"edsr_{name}", lambda: EDSR(width, blocks, scale, sample_range), seed, scale=scale,
        factors={r"(head|body|tail).*\.bias": 64} if wide else {},
    )


# RCAN


def rcan(
    name: str, *, groups: int, blocks: int, width: int, reduction: int, scale: int, seed: int, norm: bool = True,
    unshuffle: bool = False,
) -> Case:
    parameters = dict(
        scale=scale, n_resgroups=groups, n_resblocks=blocks, n_feats=width, n_colors=3, norm=norm, kernel_size=3,
        reduction=reduction, unshuffle_mod=unshuffle,
    )
    return Case(
        f"rcan_{name}", lambda: RCAN(**parameters), seed, scale=scale, architecture="RCAN", parameters=parameters,
        factors={r"(head|tail).*\.bias|body.*(body\.\d|body\.\d+)\.bias": 64, r".*conv_du\.0\.weight": 1 / 32}
        if norm else {},
    )


# RLFN, after ByteDance's (Apache-2.0) and NTIRE's (MIT), whose samples are from 0 to 255


class SpatialAttention(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, inner, 1)
        self.conv_f = nn.Conv2d(inner, inner, 1)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=2)
        self.conv3 = nn.Conv2d(inner, inner, 3, padding=1)
        self.conv4 = nn.Conv2d(inner, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        narrow = self.conv1(x)
        far = self.conv3(F.max_pool2d(self.conv2(narrow), kernel_size=7, stride=3))
        far = F.interpolate(far, x.shape[2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.conv4(far + self.conv_f(narrow)))


class LocalFeatureBlock(nn.Module):
    def __init__(self, width: int, middle: int, inner: int) -> None:
        super().__init__()
        self.c1_r = nn.Conv2d(width, middle, 3, padding=1)
        self.c2_r = nn.Conv2d(middle, middle, 3, padding=1)
        self.c3_r = nn.Conv2d(middle, width, 3, padding=1)
        self.c5 = nn.Conv2d(width, width, 1)
        self.esa = SpatialAttention(width, inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for layer in (self.c1_r, self.c2_r, self.c3_r):
            y = F.leaky_relu(layer(y), 0.05)
        return self.esa(self.c5(y + x))


class RLFN(nn.Module):
    def __init__(self, width: int, middle: int, inner: int, blocks: int, scale: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(3, width, 3, padding=1)
        self.count = blocks
        for number in range(1, blocks + 1):
            setattr(self, f"block_{number}", LocalFeatureBlock(width, middle, inner))
        self.conv_2 = nn.Conv2d(width, width, 3, padding=1)
        self.upsampler = nn.Sequential(nn.Conv2d(width, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = y = self.conv_1(255 * x)
        for number in range(1, self.count + 1):
            y = getattr(self, f"block_{number}")(y)
        return self.upsampler(self.conv_2(y) + first) / 255


def rlfn(
    name: str, *, width: int, middle: int, inner: int, blocks: int, scale: int, seed: int, size: tuple[int, int]
) -> Case:
    return Case(
        f"rlfn_{name}", lambda: RLFN(width, middle, inner, blocks, scale), seed, size, scale=scale,
        # Biases that count beside such samples, and attention that is neither a half nor the whole.
        factors={r"(.*\.c\d.*|conv.*|ups.*|.*esa\.conv[123f])\.bias": 64, r".*esa\.conv4\.weight": 1 / 32},
    )


# RealPLKSR


def realplksr(
    name: str, *, width: int = 8, blocks: int, scale: int, kernel: int, large: int, seed: int, attention: bool = True,
    layer_norm: bool = False, dysample: bool = False,
) -> Case:
    parameters = dict(
        dim=width, n_blocks=blocks, upscaling_factor=scale, kernel_size=kernel, split_ratio=large / width,
        use_ea=attention, norm_groups=4, layer_norm=layer_norm, dysample=dysample,
    )
    return Case(
        f"realplksr_{name}", lambda: RealPLKSR(**parameters), seed, scale=scale, architecture="PLKSR",
        parameters=parameters, unused=(r"to_img\.init_pos",) if scale == 1 else (),
    )


# SAFMN


def safmn(
    name: str, *, width: int, blocks: int, growth: float, scale: int, seed: int, size: tuple[int, int] = (13, 10)
) -> Case:
    parameters = dict(dim=width, n_blocks=blocks, ffn_scale=growth, upscaling_factor=scale)
    return Case(
        f"safmn_{name}", lambda: SAFMN(**parameters), seed, size, scale=scale, architecture="SAFMN",
        parameters=parameters,
    )


class ChannelNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


class PlainFeedForwardBlock(nn.Module):
    """A block whose normalization is over all pixels, and whose mixer has no 3×3 convolution."""

    def __init__(self, safm: nn.Module, width: int, growth: float) -> None:
        super().__init__()
        hidden = int(growth * width)
        self.norm1, self.safm, self.norm2 = ChannelNorm(width), safm, ChannelNorm(width)
        self.ffn = nn.Sequential(nn.Conv2d(width, hidden, 1), nn.GELU(), nn.Conv2d(hidden, width, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.safm(self.norm1(x)) + x
        return self.ffn(self.norm2(x)) + x


class DeepSAFMN(nn.Module):
    """The network of NTIRE 2026's team 21 (MIT). Its modulation is that of SAFMN."""

    def __init__(self, width: int, blocks: int, growth: float, scale: int) -> None:
        super().__init__()
        modulations = [part.safm for part in SAFMN(dim=width, n_blocks=blocks).feats]
        self.scale = scale
        self.to_feat = nn.Conv2d(3, width, 3, 1, 1)
        self.blocks = nn.Sequential(*(PlainFeedForwardBlock(safm, width, growth) for safm in modulations))
        self.upsampler = nn.Sequential(nn.Conv2d(width, 3 * scale**2, 3, 1, 1), nn.PixelShuffle(scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.to_feat(x)
        base = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return self.upsampler(self.blocks(y) + y) + base


def deep_safmn(
    name: str, *, width: int, blocks: int, growth: float, scale: int, seed: int, size: tuple[int, int] = (13, 10)
) -> Case:
    return Case(f"safmn_{name}", lambda: DeepSAFMN(width, blocks, growth, scale), seed, size, scale=scale)


# MoSR


def mosr(
    name: str, *, upsampler: str, width: int, blocks: int, scale: int, kernel: int, expansion: float, ratio: float,
    seed: int,
) -> Case:
    parameters = dict(
        in_ch=3, out_ch=3, upscale=scale, n_block=blocks, dim=width, upsampler=upsampler, kernel_size=kernel,
        expansion_ratio=expansion, conv_ratio=ratio,
    )
    return Case(
        f"mosr_{name}", lambda: MoSR(**parameters), seed, scale=scale, architecture="MoSR", parameters=parameters
    )


# Omni-SR and HAT


def omnisr(
    name: str, *, width: int, groups: int, blocks: int, window: int, scale: int, seed: int, size: tuple[int, int],
    positions: bool = True,
) -> Case:
    parameters = dict(
        num_in_ch=3, num_out_ch=3, num_feat=width, block_num=blocks, pe=positions, window_size=window, res_num=groups,
        up_scale=scale, bias=True,
    )
    return Case(
        f"omnisr_{name}", lambda: OmniSR(**parameters), seed, size, scale=scale, architecture="OmniSR",
        parameters=parameters,
    )


def hat(
    name: str, *, depths: list[int], window: int, overlap: float, connection: str, scale: int, seed: int,
    size: tuple[int, int] = (13, 10),
) -> Case:
    parameters = dict(
        in_chans=3, embed_dim=12, depths=depths, num_heads=[2] * len(depths), window_size=window, compress_ratio=3,
        squeeze_factor=6, conv_scale=0.01, overlap_ratio=overlap, mlp_ratio=2, qkv_bias=True, ape=False,
        patch_norm=True, upscale=scale, resi_connection=connection, num_feat=4,
    )
    return Case(
        f"hat_{name}", lambda: HAT(**parameters), seed, size, scale=scale, architecture="HAT", parameters=parameters,
        # Beside the attention they count for a hundredth.
        factors={r".*conv_block\.cab\.2\.weight": 8, r".*relative_position_bias_table": 2},
    )


# Swin2SR


class NarrowSwin2SR(swin2sr_module.Swin2SR):
    """spandrel makes the features of the reconstruction 64 channels wide; here they are 4."""

    WIDTH = 4

    def __init__(self, **parameters) -> None:
        super().__init__(**parameters)
        upsampler, width = parameters["upsampler"], self.WIDTH
        if upsampler in ("", "pixelshuffledirect"):
            return
        channels, images = parameters["embed_dim"], parameters["in_chans"]
        kind = "nearest+conv" if upsampler == "nearest+conv" else "pixelshuffle"
        narrow(self, kind, channels, width, parameters["upscale"], images)
        if upsampler == "pixelshuffle_aux":
            self.conv_bicubic = nn.Conv2d(images, width, 3, 1, 1)
            self.conv_aux = nn.Conv2d(width, images, 3, 1, 1)
            self.conv_after_aux = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1), nn.LeakyReLU())


def swin2sr(
    name: str, *, depths: list[int], window: int, upsampler: str, scale: int, seed: int, image: int,
    connection: str = "1conv", channels: int = 3, size: tuple[int, int] = (13, 10), bias: bool = True,
) -> Case:
    """With `image` larger than a window, every other layer shifts its windows."""
    parameters = dict(
        img_size=image, patch_size=1, in_chans=channels, embed_dim=8, depths=depths, num_heads=[2] * len(depths),
        window_size=window, mlp_ratio=2, qkv_bias=bias, upscale=scale, img_range=255 if window == 7 else 1,
        upsampler=upsampler, resi_connection=connection,
    )
    return Case(
        f"swin2sr_{name}", lambda: NarrowSwin2SR(**parameters), seed, size, channels, scale, architecture="Swin2SR",
        parameters=parameters, unused=(r".*\.attn_mask(_\d)?",) if image > window else (),
        # Some scales of logits are larger than the largest that counts.
        factors={r".*logit_scale": 3, r".*cpb_mlp\.2\.weight": 8},
    )


# DRCT


class NarrowDRCT(drct_module.DRCT):
    """Like `NarrowSwin2SR`. The module itself takes nothing but multiples of a window."""

    def __init__(self, **parameters) -> None:
        super().__init__(**parameters)
        narrow(self, "pixelshuffle", parameters["embed_dim"], 4, parameters["upscale"], parameters["in_chans"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self.window_size, 0, -height % self.window_size), "reflect")
        return super().forward(x)[:, :, : self.upscale * height, : self.upscale * width]


def drct(
    name: str, *, width: int, groups: int, growth: int, heads: int, window: int, connection: str, scale: int,
    image: int, seed: int, bias: bool = True,
) -> Case:
    parameters = dict(
        img_size=image, patch_size=1, in_chans=3, embed_dim=width, depths=(6,) * groups, num_heads=[heads] * groups,
        window_size=window, mlp_ratio=2, qkv_bias=bias, upscale=scale, upsampler="pixelshuffle",
        resi_connection=connection, gc=growth,
    )
    return Case(
        f"drct_{name}", lambda: NarrowDRCT(**parameters), seed, scale=scale, architecture="DRCT",
        parameters=parameters, unused=(r".*\.attn_mask(_\d)?",) if image > window else (),
        factors={r".*relative_position_bias_table": 2},
    )


# DAT


class NarrowDAT(dat_module.DAT):
    """Like `NarrowSwin2SR`. The position bias has four features; for so few channels spandrel makes none or one,
    of which a normalization would leave nothing."""

    def __init__(self, **parameters) -> None:
        super().__init__(**parameters)
        for module in self.modules():
            if isinstance(module, Spatial_Attention):
                module.pos = DynamicPosBias(16, module.num_heads, residual=False)
        if parameters["upsampler"] == "pixelshuffle":
            channels, images = parameters["embed_dim"], parameters["in_chans"]
            narrow(self, "pixelshuffle", channels, 4, parameters["upscale"], images)


def dat(
    name: str, *, width: int, depths: list[int], heads: list[int], split: list[int], ratio: float, upsampler: str,
    connection: str, scale: int, image: int, seed: int, size: tuple[int, int], bias: bool = True,
) -> Case:
    """Of an image that is padded to `image` in both directions, the masks are those of the file."""
    parameters = dict(
        img_size=image, in_chans=3, embed_dim=width, split_size=split, depth=depths, num_heads=heads,
        expansion_factor=ratio, qkv_bias=bias, upscale=scale, resi_connection=connection, upsampler=upsampler,
    )
    padded = {side + -side % max(split) for side in size}
    return Case(
        f"dat_{name}", lambda: NarrowDAT(**parameters), seed, size, scale=scale, architecture="DAT",
        parameters=parameters,
        unused=(r".*\.pos\.pos3\.2\.bias",) + ((r".*\.attn_mask(_\d)?",) if padded != {image} else ()),
        # Counters of training's steps, which not even spandrel asks for.
        publish=lambda state: {key: tensor for key, tensor in state.items() if "num_batches" not in key},
        factors={r".*\.pos3\.2\.weight": 3, r".*\.pos_proj\.bias": 3},
    )


# HiT-SR and NGswin


def hit(
    name: str, *, width: int, depths: list[int], heads: int, ratio: float, scale: int, seed: int,
    size: tuple[int, int], convolves: bool = True,
) -> Case:
    return Case(
        f"hit{name}", lambda: HiTSR(width, depths, heads, ratio, scale, 4, convolves), seed, size, scale=scale,
        factors={r".*\.pos\.pos\d\.[02]\.bias": 3, r".*\.pos\.pos_proj.weight": 0.3},
    )


def ngswin(
    name: str, *, width: int, depths: tuple[int, ...], heads: tuple[int, ...], window: int, ratio: float,
    scale: int, seed: int, size: tuple[int, int],
) -> Case:
    return Case(
        f"ngswin_{name}", lambda: NGswin(width, depths, heads, window, ratio, scale), seed, size, scale=scale,
        factors={r".*logit_scale": 2},
    )


def cases() -> list[Case]:
    return [
        rrdb("old_x4", ups=2, blocks=2, seed=101),
        rrdb("old_x1", ups=0, blocks=1, seed=102),
        rrdb("old_x8", ups=3, blocks=1, seed=103, size=(7, 5)),
        rrdb("new_x4", ups=2, blocks=2, seed=104, spelling="new"),
        rrdb("middle_x2", ups=1, blocks=1, seed=105, spelling="middle"),
        rrdb("x2_unshuffle", ups=2, blocks=1, seed=106, spelling="new", unshuffle=2),
        rrdb("x1_unshuffle", ups=2, blocks=1, seed=107, spelling="new", unshuffle=4),
        rrdb("plus_x2", ups=1, blocks=1, seed=108, plus=True),
        compact("x4", width=12, layers=3, scale=4, seed=111),
        compact("x2", width=8, layers=4, scale=2, seed=112),
        compact("x1_small", width=4, layers=1, scale=1, seed=113),
        compact("x3_grey", channels=1, width=8, layers=2, scale=3, seed=114),
        span("x4", width=4, scale=4, seed=121),
        span("x2", width=5, scale=2, seed=122),
        span("no_norm_x2", width=4, scale=2, seed=123, norm=False),
        merged_span("merged_x4", width=10, scale=4, seed=124),
        edsr("x4", width=8, blocks=2, scale=4, sample_range=255, seed=131),
        edsr("x3", width=12, blocks=1, scale=3, sample_range=1, seed=132),
        edsr("x2_unshifted", width=8, blocks=3, scale=2, sample_range=None, seed=133),
        rcan("x2", groups=2, blocks=2, width=8, reduction=4, scale=2, seed=141),
        rcan("x4", groups=1, blocks=3, width=8, reduction=2, scale=4, seed=142),
        rcan("x3_unshifted", groups=3, blocks=1, width=6, reduction=3, scale=3, seed=143, norm=False),
        rcan("x2_unshuffle", groups=1, blocks=1, width=8, reduction=4, scale=2, seed=144, unshuffle=True),
        rcan("x1_unshuffle", groups=1, blocks=1, width=8, reduction=4, scale=1, seed=145, unshuffle=True, norm=False),
        rlfn("x4", width=8, middle=10, inner=4, blocks=4, scale=4, seed=151, size=(21, 16)),
        rlfn("x2", width=6, middle=6, inner=3, blocks=6, scale=2, seed=152, size=(17, 23)),
        realplksr("x4", blocks=2, scale=4, kernel=17, large=2, seed=161),
        realplksr("dysample_x4", blocks=1, scale=4, kernel=9, large=4, seed=162, layer_norm=True, dysample=True),
        realplksr("layer_norm_x2", width=12, blocks=2, scale=2, kernel=5, large=3, seed=163, layer_norm=True,
                  attention=False),
        realplksr("dysample_x3", blocks=1, scale=3, kernel=5, large=2, seed=164, dysample=True),
        realplksr("dysample_x1", blocks=1, scale=1, kernel=5, large=2, seed=165, dysample=True),
        safmn("x4", width=8, blocks=2, growth=2, scale=4, seed=171),
        safmn("x2", width=12, blocks=1, growth=1.5, scale=2, seed=172, size=(19, 17)),
        deep_safmn("deep_x4", width=12, blocks=3, growth=2, scale=4, seed=173, size=(11, 18)),
        mosr("shuffle_x4", upsampler="ps", width=8, blocks=2, scale=4, kernel=7, expansion=1.5, ratio=1, seed=181),
        mosr("ensemble_x2", upsampler="gps", width=8, blocks=1, scale=2, kernel=5, expansion=2, ratio=0.5, seed=182),
        mosr("dysample_x2", upsampler="dys", width=8, blocks=1, scale=2, kernel=3, expansion=1.5, ratio=1.5, seed=183),
        omnisr("x4", width=8, groups=1, blocks=1, window=4, scale=4, seed=191, size=(17, 15)),
        omnisr("x2", width=8, groups=2, blocks=1, window=8, scale=2, seed=192, size=(16, 18), positions=False),
        hat("x2", depths=[2], window=4, overlap=0.5, connection="1conv", scale=2, seed=195),
        hat("x3", depths=[1, 2], window=4, overlap=1, connection="identity", scale=3, seed=196),
        swin2sr("direct_x2", depths=[2, 1], window=4, upsampler="pixelshuffledirect", scale=2, seed=201, image=8),
        swin2sr("shuffle_x3", depths=[2], window=5, upsampler="pixelshuffle", scale=3, seed=202, image=5,
                connection="3conv", bias=False),
        swin2sr("nearest_x4", depths=[2], window=4, upsampler="nearest+conv", scale=4, seed=203, image=8),
        swin2sr("aux_x2", depths=[2], window=4, upsampler="pixelshuffle_aux", scale=2, seed=204, image=8, size=(12, 8)),
        swin2sr("jpeg_grey", depths=[2], window=7, upsampler="", scale=1, seed=205, image=14, channels=1,
                size=(20, 10)),
        drct("x2", width=8, groups=1, growth=4, heads=4, window=4, connection="1conv", scale=2, image=8, seed=206),
        drct("x4", width=6, groups=2, growth=3, heads=2, window=3, connection="identity", scale=4, image=3, seed=207,
             bias=False),
        dat("counted_x2", width=16, depths=[3, 2], heads=[4, 2], split=[2, 4], ratio=2, upsampler="pixelshuffledirect",
            connection="1conv", scale=2, image=8, seed=208, size=(7, 6)),
        dat("counted_x3", width=24, depths=[4, 1], heads=[6, 4], split=[6, 3], ratio=1.5, upsampler="pixelshuffle",
            connection="3conv", scale=3, image=6, seed=209, size=(9, 13), bias=False),
        hit("srf_x2", width=16, depths=[3], heads=2, ratio=1.5, scale=2, seed=211, size=(13, 10)),
        hit("srf_x3", width=20, depths=[1, 3], heads=5, ratio=1, scale=3, seed=212, size=(7, 9)),
        hit("sir_x4", width=16, depths=[2], heads=4, ratio=2, scale=4, seed=213, size=(9, 11), convolves=False),
        ngswin("x2", width=16, depths=(2, 1, 1, 1), heads=(3, 2, 2, 3), window=2, ratio=2, scale=2, seed=221,
               size=(15, 18)),
        ngswin("x4", width=16, depths=(1, 2, 1, 2), heads=(2, 2, 4, 2), window=4, ratio=1, scale=4, seed=222,
               size=(17, 20)),
    ]


def published(weights: Path) -> None:
    """Outputs of published networks."""
    networks = {
        "SPAN_x4_NTIRE2026_team00": MergedSPAN(28, 4, True),
        "RLFN_x4_NTIRE2024_team00": RLFN(46, 48, 16, 4, 4),
        "SAFMN_x4_NTIRE2026_team21": DeepSAFMN(40, 15, 2, 4),
        "HiT-SRF_x4_NTIRE2025_team54": HiTSR(60, [6] * 4, 6, 2, 4),
        "NGswin_x2": NGswin(64, (6, 4, 4, 6), (6, 4, 4, 6), 8, 2, 2),
    }
    for seed, (name, model) in enumerate(networks.items(), 1):
        state = torch.load(weights / f"{name}.pth", map_location="cpu", weights_only=True)
        getattr(model, "network", model).load_state_dict(state.get("params", state))
        # NGswin needs two windows in each direction after it has halved the image twice.
        x = random_image(3, *((37, 33) if name.startswith("NGswin") else (23, 19)), seed)
        with torch.inference_mode():
            y = model.eval()(x)
        goldens = {"golden.input": x.contiguous(), "golden.output": y.contiguous()}
        save_file(goldens, FOLDER / f"real_{name}.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only files whose names start so")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    with narrow_blocks():
        for case in cases():
            if not options.names or case.name.startswith(tuple(options.names)):
                write(case)
    if options.weights:
        published(options.weights)


if __name__ == "__main__":
    main()
