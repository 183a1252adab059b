"""HiT-SR (Zhang et al. 2024) and NGswin (Choi et al. 2023), which spandrel does not know.

Written from the papers and with the tensor names of the published checkpoints, whose results on Set5 they
reach: 32.5 dB at ×4 (HiT-SRF) and 38.05 dB at ×2 (NGswin).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

MEAN = (0.4488, 0.4371, 0.4040)


def windows_of(x: torch.Tensor, side: int) -> torch.Tensor:
    """[1, height, width, channels] as [windows, side², channels]."""
    _, height, width, channels = x.shape
    x = x.view(height // side, side, width // side, side, channels)
    return x.transpose(1, 2).reshape(-1, side * side, channels)


def image_of(windows: torch.Tensor, side: int, height: int, width: int) -> torch.Tensor:
    x = windows.view(height // side, width // side, side, side, -1).transpose(1, 2)
    return x.reshape(1, height, width, -1)


def position_index(side: int) -> torch.Tensor:
    """The row of a table of relative positions for every query and key."""
    places = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
    offsets = places[:, :, None] - places[:, None, :] + side - 1
    return offsets[0] * (2 * side - 1) + offsets[1]


class Perceptron(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


# HiT-SR

BASE_WINDOW = 8
WINDOW_RATIOS = (0.5, 1, 2, 4, 6, 8)


class DualFeatureExtraction(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = width // 5
        self.conv = nn.Sequential(
            nn.Conv2d(width, narrow, 1), nn.LeakyReLU(0.2), nn.Conv2d(narrow, narrow, 3, 1, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(narrow, width, 1),
        )
        self.linear = nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) * self.linear(x)


class PositionBias(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.pos_proj = nn.Linear(2, width)
        for number, outputs in ((1, width), (2, width), (3, heads)):
            stage = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, outputs))
            setattr(self, f"pos{number}", stage)

    def forward(self, offsets: torch.Tensor) -> torch.Tensor:
        return self.pos3(self.pos2(self.pos1(self.pos_proj(offsets))))


class Correlation(nn.Module):
    """Correlations of queries with values, between pixels in one half of the channels of the result, and
    between channels in the other. No softmax makes them shares."""

    def __init__(self, width: int, heads: int, side: int, inner: int) -> None:
        super().__init__()
        self.side, self.heads = side, heads
        self.base = min(side, BASE_WINDOW)
        self.qv = DualFeatureExtraction(width)
        self.proj = nn.Linear(width, width)
        self.spatial_linear = nn.Linear((side // self.base) ** 2, 1)
        self.pos = PositionBias(inner, heads)

    def cells(self, x: torch.Tensor) -> torch.Tensor:
        """[…, side²] over keys as […, base², pixels of a cell]."""
        cell = self.side // self.base
        x = x.view(*x.shape[:-1], self.base, cell, self.base, cell).transpose(-3, -2)
        return x.reshape(*x.shape[:-4], self.base**2, cell**2)

    def bias(self, like: torch.Tensor) -> torch.Tensor:
        """[heads, side², base²]"""
        span = torch.arange(1 - self.side, self.side)
        offsets = torch.stack(torch.meshgrid(span, span, indexing="ij")).flatten(1).T.to(like)
        return self.cells(self.pos(offsets)[position_index(self.side)].permute(2, 0, 1)).mean(-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, _, height, width = x.shape
        qv = windows_of(self.qv(x).permute(0, 2, 3, 1), self.side)
        count, pixels, channels = qv.shape
        q, v = qv.view(count, pixels, 2, channels // 2).unbind(2)

        heads = [part.view(count, pixels, self.heads, -1).transpose(1, 2) for part in (q, v)]
        key = self.spatial_linear(self.cells(heads[1].transpose(2, 3))).squeeze(-1).transpose(2, 3)
        weights = heads[0] @ key.transpose(2, 3) / key.shape[-1] + self.bias(x)
        spatial = (weights @ key).transpose(1, 2).reshape(count, pixels, -1)

        channel = v @ (q.transpose(1, 2) @ v / pixels).transpose(1, 2)
        y = self.proj(torch.cat([spatial, channel], -1))
        return image_of(y, self.side, height, width).permute(0, 3, 1, 2)


class Depthwise(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise_conv = nn.Sequential(nn.Conv2d(width, width, 5, 1, 2, groups=width), nn.GELU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.depthwise_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ConvolutionalPerceptron(Perceptron):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(width, hidden)
        self.dwconv = Depthwise(hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.fc1(x))
        return self.fc2(x + self.dwconv(x))


class HierarchicalBlock(nn.Module):
    def __init__(self, width: int, heads: int, side: int, hidden: int, inner: int, mlp: type[Perceptron]) -> None:
        super().__init__()
        self.side = side
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.correlation = Correlation(width, heads, side, inner)
        self.mlp = mlp(width, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, _, height, width = x.shape
        wide = x
        # Mirrored again where one mirror image is not enough.
        while True:
            down, right = (-wide.shape[axis] % self.side for axis in (2, 3))
            if not (down or right):
                break
            wide = F.pad(wide, (0, min(right, wide.shape[3] - 1), 0, min(down, wide.shape[2] - 1)), "reflect")
        made = self.correlation(wide)[:, :, :height, :width].permute(0, 2, 3, 1)
        x = x.permute(0, 2, 3, 1)
        x = x + self.norm1(made)
        return (x + self.norm2(self.mlp(x))).permute(0, 3, 1, 2)


class ResidualGroup(nn.Module):
    def __init__(self, width: int, heads: int, depth: int, hidden: int, inner: int, mlp: type[Perceptron]) -> None:
        super().__init__()
        sides = [int(BASE_WINDOW * ratio) for ratio in WINDOW_RATIOS]
        self.residual_group = nn.Module()
        self.residual_group.blocks = nn.ModuleList(
            HierarchicalBlock(width, heads, sides[index], hidden, inner, mlp) for index in range(depth)
        )
        self.conv = nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for layer in self.residual_group.blocks:
            y = layer(y)
        return self.conv(y) + x


class HiTSR(nn.Module):
    """HiT-SRF, or HiT-SIR without convolutions in perceptrons.

    `inner` is the width of the perceptron for positions, a 16th of `width` in published networks.
    """

    def __init__(
        self, width: int, depths: list[int], heads: int, ratio: float, scale: int, inner: int | None = None,
        convolves: bool = True,
    ) -> None:
        super().__init__()
        hidden, inner = int(ratio * width), inner or width // 16
        mlp = ConvolutionalPerceptron if convolves else Perceptron
        self.conv_first = nn.Conv2d(3, width, 3, 1, 1)
        self.patch_embed = nn.Module()
        self.patch_embed.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(ResidualGroup(width, heads, depth, hidden, inner, mlp) for depth in depths)
        self.norm = nn.LayerNorm(width)
        self.conv_after_body = nn.Conv2d(width, width, 3, 1, 1)
        self.upsample = nn.Sequential(nn.Conv2d(width, 3 * scale**2, 3, 1, 1), nn.PixelShuffle(scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = torch.tensor(MEAN).view(1, 3, 1, 1).to(x)
        first = self.conv_first(x - mean)
        y = self.patch_embed.norm(first.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        for layer in self.layers:
            y = layer(y)
        y = self.norm(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.upsample(self.conv_after_body(y) + first) + mean


# NGswin

IMAGE_MEAN = (0.4485, 0.4375, 0.4045)
IMAGE_DEVIATION = {
    2: (0.2397, 0.2290, 0.2389), 3: (0.2373, 0.2265, 0.2367), 4: (0.2352, 0.2244, 0.2349),
}


class CosineAttention(nn.Module):
    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        inner = width // heads * heads
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10)))
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, heads))
        self.qkv, self.proj = nn.Linear(width, 3 * inner), nn.Linear(inner, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        count, pixels, _ = x.shape
        q, k, v = self.qkv(x).view(count, pixels, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scale = self.logit_scale.clamp(max=math.log(100)).exp()
        weights = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(2, 3) * scale
        weights = weights + self.relative_position_bias_table[position_index(self.side)].permute(2, 0, 1)
        if mask is not None:
            weights = weights + mask[:, None]
        return self.proj((weights.softmax(-1) @ v).transpose(1, 2).reshape(count, pixels, -1))


class NGramContext(nn.Module):
    """What the windows to the right of and below each one say, and those to the left and above."""

    NEIGHBOURS = 2

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        half = width // 2
        self.unigram_embed = nn.Conv2d(width, half, side, side, groups=half)
        self.ngram_attn = CosineAttention(half, heads, self.NEIGHBOURS)
        self.merge = nn.Conv2d(width, width, 1)

    def side_of(self, x: torch.Tensor) -> torch.Tensor:
        count = self.NEIGHBOURS
        height, width = x.shape[2] - count + 1, x.shape[3] - count + 1
        x = x.unfold(2, count, 1).unfold(3, count, 1).permute(0, 2, 3, 4, 5, 1)
        x = self.ngram_attn(x.reshape(height * width, count**2, -1)).mean(1)
        return x.view(1, height, width, -1).permute(0, 3, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.unigram_embed(x)
        # Padded by reflection: with two neighbours, the row beside the edge stands beyond it.
        after = self.side_of(F.pad(x, (0, 1, 0, 1), "reflect"))
        before = self.side_of(F.pad(x, (1, 0, 1, 0), "reflect"))
        return self.merge(torch.cat([after, before], 1))


class Partition(nn.Module):
    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.ngram_context = NGramContext(width, heads, side)


class NGramBlock(nn.Module):
    def __init__(self, width: int, heads: int, side: int, shift: int, ratio: float) -> None:
        super().__init__()
        self.side, self.shift = side, shift
        self.ngram_window_partition = Partition(width, heads, side)
        self.attn = CosineAttention(width, heads, side)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ffn = Perceptron(width, int(ratio * width))

    def mask(self, height: int, width: int) -> torch.Tensor | None:
        if not self.shift:
            return None
        parts = [(0, -self.side), (-self.side, -self.shift), (-self.shift, None)]
        regions = torch.zeros(1, height, width, 1)
        for number, (down, right) in enumerate((down, right) for down in parts for right in parts):
            regions[:, slice(*down), slice(*right)] = number
        regions = windows_of(regions, self.side).squeeze(-1)
        return torch.where(regions[:, None] != regions[:, :, None], -100.0, 0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, height, width, _ = x.shape
        context = self.ngram_window_partition.ngram_context(x.permute(0, 3, 1, 2))
        y = x + F.interpolate(context, scale_factor=self.side, mode="nearest").permute(0, 2, 3, 1)
        y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        mask = self.mask(height, width)
        y = self.attn(windows_of(y, self.side), None if mask is None else mask.to(x))
        y = torch.roll(image_of(y, self.side, height, width), (self.shift, self.shift), (1, 2))
        x = x + self.norm1(y)
        return x + self.norm2(self.ffn(x))


class PatchMerging(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.reduction(self.norm(torch.cat([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)))


class Stage(nn.Module):
    def __init__(
        self, width: int, heads: int, depth: int, side: int, ratio: float, inputs: int = 1, merges: bool = False
    ) -> None:
        super().__init__()
        if inputs > 1:
            self.across_cascade_proj = nn.Linear(inputs * width, width)
        self.blocks = nn.ModuleList(
            NGramBlock(width, heads, side, index % 2 * (side // 2), ratio) for index in range(depth)
        )
        if merges:
            self.downsample = PatchMerging(width)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        if hasattr(self, "across_cascade_proj"):
            x = self.across_cascade_proj(x)
        sum_ = x
        for index, layer in enumerate(self.blocks):
            x = layer(sum_)
            if index < len(self.blocks) - 1 or hasattr(self, "downsample"):
                sum_ = x + sum_
        return x, self.downsample(sum_) if hasattr(self, "downsample") else None


class Bottleneck(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 21 * (width // 16)
        self.depthwise = nn.Conv2d(inner, inner, 3, 1, 1, groups=inner)
        self.pointwise, self.norm = nn.Linear(inner, width), nn.LayerNorm(width)

    def forward(self, shallow: torch.Tensor, stages: list[torch.Tensor]) -> torch.Tensor:
        parts = []
        for number, stage in enumerate(stages):
            x = stage.permute(0, 3, 1, 2) + F.leaky_relu(shallow, 0.01)
            parts.append(F.pixel_shuffle(x, 2**number))
            shallow = F.max_pool2d(shallow, 2)
        x = F.gelu(self.depthwise(torch.cat(parts, 1))).permute(0, 2, 3, 1)
        return self.norm(self.pointwise(x))


class NGswin(nn.Module):
    def __init__(
        self, width: int, depths: tuple[int, int, int, int], heads: tuple[int, int, int, int], window: int,
        ratio: float, scale: int,
    ) -> None:
        super().__init__()
        self.scale, self.multiple = scale, 4 * window
        self.shallow_extract = nn.Module()
        self.shallow_extract.conv1 = nn.Conv2d(3, width, 3, 1, 1)
        for number in (1, 2, 3):
            stage = Stage(
                width, heads[number - 1], depths[number - 1], window, ratio, inputs=number, merges=number < 3
            )
            setattr(self, f"encoder_layer{number}", stage)
        self.bottleneck = Bottleneck(width)
        self.decoder_layer1 = Stage(width, heads[3], depths[3], window, ratio)
        self.norm = nn.LayerNorm(width)
        self.to_target = nn.Module()
        self.to_target.before_shuffle = nn.Conv2d(width, 3 * scale**2, 3, 1, 1)
        self.to_target.to_origin = nn.Conv2d(3, 3, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, _, height, width = x.shape
        mean = torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1).to(x)
        deviation = torch.tensor(IMAGE_DEVIATION[self.scale]).view(1, 3, 1, 1).to(x)
        # The module itself adds black, but it was measured with mirrored images.
        x = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), "reflect")
        first = self.shallow_extract.conv1((x - mean) / deviation)
        cascade = first.permute(0, 2, 3, 1)
        results, made = [], None
        for number in (1, 2, 3):
            if made is not None:
                pooled = F.max_pool2d(cascade.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
                cascade = torch.cat([pooled, made], -1)
            result, made = getattr(self, f"encoder_layer{number}")(cascade)
            results.append(result)
        y, _ = self.decoder_layer1(self.bottleneck(first, results) + results[0])
        y = self.norm(y).permute(0, 3, 1, 2) + first
        y = self.to_target.to_origin(F.pixel_shuffle(self.to_target.before_shuffle(y), self.scale))
        return (y * deviation + mean)[:, :, : self.scale * height, : self.scale * width]
