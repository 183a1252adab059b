"""Makes gradients of the distillation loss with PyTorch's autograd, for the tests of training.

    python Tests/Fixtures/makers/training.py

Needs torch and safetensors. The networks are those of `Tests/Fixtures/superresolution`, whose weights
the tests read from there; each file of `Tests/Fixtures/training` holds for one of them

    input                [images, channels, height, width]
    bound.<site>         [lower, upper] of every activation quantizer
    bound.<weight>       [cells, 2], lower bound and scale of every cell of every quantized weight
    loss                 [total, pixels, features]
    gradient.<name>      by the parameter of that name, by `<site>.lower`, `<site>.upper`,
                         `<weight>.lower`, `<weight>.scale`; in float16 after scaling to a largest
                         magnitude of 1, which is `magnitude.<name>`

The networks are written anew here, as functions of a state dictionary, with a fake quantizer at each
site; without quantizers they are checked against the outputs that spandrel's networks gave.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).resolve().parent.parent
# Columns of a cell of the weights of `fc1`.
GROUP = 5
MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1)


class Round(torch.autograd.Function):
    """Rounding that counts as the identity in derivatives."""

    @staticmethod
    def forward(_context, x):
        return x.round()

    @staticmethod
    def backward(_context, gradient):
        return gradient


def quantize(x, lower, upper, levels):
    scale = (upper - lower) / levels
    # torch.where, since clamp's derivatives at the bounds themselves differ between versions.
    clipped = torch.where(x <= lower, lower.expand_as(x), torch.where(x >= upper, upper.expand_as(x), x))
    return Round.apply((clipped - lower) / scale) * scale + lower


def quantize_weight(w, bounds, levels, parts):
    """Rows in `parts` equal parts; or a cell for every row; or cells of some columns."""
    rows, columns = w.shape
    lower, scale = bounds
    cells = lower.numel()
    if cells <= parts:
        lower, scale = (v.repeat_interleave(rows // cells)[:, None] for v in (lower, scale))
    else:
        per_row = cells // rows
        group = columns if per_row == 1 else GROUP
        lower, scale = (
            v.view(rows, per_row).repeat_interleave(group, 1)[:, :columns] for v in (lower, scale)
        )
    t = (w - lower) / scale
    clipped = torch.where(t <= 0, torch.zeros_like(t), torch.where(t >= levels, torch.full_like(t, levels), t))
    return Round.apply(clipped) * scale + lower


class Network:
    """A state dictionary with what is rounded on the way."""

    def __init__(self, state, bounds=None, weights=None, levels=3, scaling="tensor"):
        self.state, self.bounds, self.weights, self.levels = state, bounds or {}, weights or {}, levels
        self.scaling = scaling
        self.margin = math.inf

    def __contains__(self, name):
        return name in self.state

    def __getitem__(self, name):
        if name in self.weights:
            lower, scale, parts = self.weights[name]
            return quantize_weight(self.state[name], (lower, scale), self.levels, parts)
        return self.state[name]

    def site(self, name, x):
        if name not in self.bounds:
            return x
        lower, upper = self.bounds[name]
        if self.scaling == "groups" and name.endswith(".input"):
            return torch.cat([self.group(piece, lower, upper) for piece in x.split(GROUP, -1)], -1)
        if self.scaling != "tensor" and is_row_scaled(name):
            magnitude = x.abs().amax(-1, keepdim=True)
            lower, upper = lower * magnitude, upper * magnitude
        self.observe_margin(x, lower, upper)
        return quantize(x, lower, upper, self.levels)

    def group(self, x, lower, upper):
        """-1 is the least value of each group, 1 the greatest."""
        least, greatest = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
        lower = least * (1 - lower) / 2 + greatest * (1 + lower) / 2
        upper = least * (1 - upper) / 2 + greatest * (1 + upper) / 2
        self.observe_margin(x, lower, upper)
        return quantize(x, lower, upper, self.levels)

    def observe_margin(self, x, lower, upper):
        """How far values stay from where their code changes, in steps."""
        t = (x.detach() - lower.detach()) * self.levels / (upper - lower).detach()
        t = t[(t > -0.5) & (t < self.levels + 0.5)]
        if t.numel():
            # Codes change at halves; derivatives by bounds at 0 and at `levels`.
            edges = torch.minimum(t.abs(), (t - self.levels).abs()).min()
            self.margin = min(self.margin, ((t - 0.5) - (t - 0.5).round()).abs().min().item(), edges.item())

    def linear(self, name, x):
        bias = self.state.get(f"{name}.bias")
        return F.linear(self.site(f"{name}.input", x), self[f"{name}.weight"], bias)

    def conv(self, name, x, groups=1):
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, self.state.get(f"{name}.bias"), padding=weight.shape[-1] // 2, groups=groups)

    def norm(self, name, x):
        return F.layer_norm(x, x.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def batch_norm(self, name, x):
        s = self.state
        return F.batch_norm(
            x, s[f"{name}.running_mean"], s[f"{name}.running_var"], s[f"{name}.weight"], s[f"{name}.bias"]
        )

    def residual_conv(self, name, x):
        if f"{name}.weight" in self:
            return self.conv(name, x)
        x = F.leaky_relu(self.conv(f"{name}.0", x), 0.2)
        return self.conv(f"{name}.4", F.leaky_relu(self.conv(f"{name}.2", x), 0.2))

    def reconstruct(self, x):
        if "conv_before_upsample.0.weight" not in self:
            if "upsample.0.weight" not in self:
                return self.conv("conv_last", x)
            x = self.conv("upsample.0", x)
            return F.pixel_shuffle(x, math.isqrt(x.shape[1] // self.outputs))
        x = F.leaky_relu(self.conv("conv_before_upsample.0", x), 0.01)
        if "conv_up1.weight" in self:
            for name in ("conv_up1", "conv_up2", "conv_up3"):
                if f"{name}.weight" in self:
                    x = F.leaky_relu(self.conv(name, F.interpolate(x, scale_factor=2)), 0.2)
            return self.conv("conv_last", F.leaky_relu(self.conv("conv_hr", x), 0.2))
        for stage in range(3):
            if f"upsample.{2 * stage}.weight" in self:
                wide = self.conv(f"upsample.{2 * stage}", x)
                x = F.pixel_shuffle(wide, math.isqrt(wide.shape[1] // x.shape[1]))
        return self.conv("conv_last", x)


def windows(x, h, w):
    b, height, width, c = x.shape
    return x.view(b, height // h, h, width // w, w, c).transpose(2, 3).reshape(-1, h * w, c)


def unwindow(x, h, w, height, width):
    return x.view(-1, height // h, width // w, h, w, x.shape[-1]).transpose(2, 3).reshape(-1, height, width, x.shape[-1])


def positions(h, w):
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    down, right = rows[:, None] - rows[None] + h - 1, columns[:, None] - columns[None] + w - 1
    return down * (2 * w - 1) + right


def shift_mask(height, width, h, w, down, right):
    regions = torch.zeros(1, height, width, 1)
    number = 0
    for a in (slice(0, -h), slice(-h, -down), slice(-down, None)):
        for b in (slice(0, -w), slice(-w, -right), slice(-right, None)):
            regions[:, a, b] = number
            number += 1
    regions = windows(regions, h, w).squeeze(-1)
    return torch.where(regions[:, None] == regions[:, :, None], 0.0, -100.0)


def window_attention(net, name, q, k, v, heads, table, h, w, mask):
    """q, k, v: [windows, tokens, channels]."""
    count, tokens, channels = q.shape

    def split(x):
        return x.view(count, tokens, heads, channels // heads).transpose(1, 2)

    q = net.site(f"{name}.query", q * (channels // heads) ** -0.5)
    k, v = net.site(f"{name}.key", k), net.site(f"{name}.value", v)
    scores = split(q) @ split(k).transpose(-2, -1) + table[positions(h, w)].permute(2, 0, 1)
    if mask is not None:
        scores = (scores.view(-1, len(mask), heads, tokens, tokens) + mask[:, None]).view(-1, heads, tokens, tokens)
    scores = net.site(f"{name}.probabilities", scores.softmax(-1))
    return (scores @ split(v)).transpose(1, 2).reshape(count, tokens, channels)


def swinir(net, x, *, depths, heads, window, sample_range=1.0):
    net.outputs = x.shape[1]
    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % window, 0, -height % window), "reflect")
    mean = MEAN if x.shape[1] == 3 else 0
    pixels = (x - mean) * sample_range
    high, wide = x.shape[2:]
    shift = window // 2
    mask = shift_mask(high, wide, window, window, shift, shift)
    shallow = net.conv("conv_first", pixels)
    x = shallow.permute(0, 2, 3, 1)
    if "patch_embed.norm.weight" in net:
        x = net.norm("patch_embed.norm", x)
    if "absolute_pos_embed" in net:
        x = x + net["absolute_pos_embed"].view(1, high, wide, -1)
    groups = []
    for group, depth in enumerate(depths):
        residual = x
        for index in range(depth):
            name = f"layers.{group}.residual_group.blocks.{index}"
            shifts = index % 2 == 1
            y = net.norm(f"{name}.norm1", x)
            if shifts:
                y = torch.roll(y, (-shift, -shift), (1, 2))
            q, k, v = net.linear(f"{name}.attn.qkv", windows(y, window, window)).chunk(3, -1)
            table = net[f"{name}.attn.relative_position_bias_table"]
            y = window_attention(
                net, f"{name}.attn", q, k, v, heads, table, window, window, mask if shifts else None)
            y = unwindow(net.linear(f"{name}.attn.proj", y), window, window, high, wide)
            x = x + (torch.roll(y, (shift, shift), (1, 2)) if shifts else y)
            y = F.gelu(net.linear(f"{name}.mlp.fc1", net.norm(f"{name}.norm2", x)))
            x = x + net.linear(f"{name}.mlp.fc2", y)
        x = residual + net.residual_conv(f"layers.{group}.conv", x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        groups.append(x)
    x = shallow + net.residual_conv("conv_after_body", net.norm("norm", x).permute(0, 3, 1, 2))
    result = net.reconstruct(x)
    if result.shape == pixels.shape:
        result = result + pixels
    scale = result.shape[2] // high
    return (result / sample_range + mean)[:, :, : height * scale, : width * scale], groups


def dat(net, x, *, depths, heads, split):
    net.outputs = x.shape[1]
    mean = MEAN if x.shape[1] == 3 else 0
    shallow = net.conv("conv_first", x - mean)
    x = net.norm("before_RG.1", shallow.permute(0, 2, 3, 1))
    groups = []
    for group, depth in enumerate(depths):
        residual = x
        for index in range(depth):
            name = f"layers.{group}.blocks.{index}"
            qkv = net.linear(f"{name}.attn.qkv", net.norm(f"{name}.norm1", x))
            if index % 2 == 0:
                isShifted = index % 4 == (2 if group % 2 == 0 else 0)
                attended = spatial_attention(net, f"{name}.attn", qkv, heads, split, isShifted)
            else:
                attended = channel_attention(net, f"{name}.attn", qkv, heads)
            x = x + interact(net, f"{name}.attn", attended, qkv.chunk(3, -1)[2], index % 2 == 0)
            hidden = F.gelu(net.linear(f"{name}.ffn.fc1", net.norm(f"{name}.norm2", x)))
            first, gate = hidden.chunk(2, -1)
            gate = net.norm(f"{name}.ffn.sg.norm", gate).permute(0, 3, 1, 2)
            gate = net.conv(f"{name}.ffn.sg.conv", gate, groups=gate.shape[1]).permute(0, 2, 3, 1)
            x = x + net.linear(f"{name}.ffn.fc2", first * gate)
        x = residual + net.residual_conv(f"layers.{group}.conv", x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        groups.append(x)
    x = shallow + net.residual_conv("conv_after_body", net.norm("norm", x).permute(0, 3, 1, 2))
    return net.reconstruct(x) + mean, groups


def spatial_attention(net, name, qkv, heads, split, isShifted):
    _, height, width, _ = qkv.shape
    longest = max(split)
    padded = F.pad(qkv, (0, 0, 0, -width % longest, 0, -height % longest))
    high, wide = padded.shape[1:3]
    halves = []
    for branch, (h, w) in enumerate((split, split[::-1])):
        down, right = (h // 2, w // 2) if isShifted else (0, 0)
        parts = [part.chunk(2, -1)[branch] for part in padded.chunk(3, -1)]
        q, k, v = (windows(torch.roll(part, (-down, -right), (1, 2)), h, w) for part in parts)
        offsets = torch.stack(
            torch.meshgrid(torch.arange(1 - h, h), torch.arange(1 - w, w), indexing="ij"), -1)
        table = position_bias(net, f"{name}.attns.{branch}.pos", offsets.view(-1, 2).float())
        mask = shift_mask(high, wide, h, w, down, right) if isShifted else None
        y = window_attention(net, f"{name}.attns.{branch}", q, k, v, heads // 2, table, h, w, mask)
        y = torch.roll(unwindow(y, h, w, high, wide), (down, right), (1, 2))
        halves.append(y[:, :height, :width])
    return torch.cat(halves, -1)


def position_bias(net, name, x):
    x = net.linear(f"{name}.pos_proj", x)
    for stage in ("pos1", "pos2", "pos3"):
        x = net.linear(f"{name}.{stage}.2", F.relu(net.norm(f"{name}.{stage}.0", x)))
    return x


def channel_attention(net, name, qkv, heads):
    b, height, width, _ = qkv.shape
    q, k, v = qkv.flatten(1, 2).transpose(1, 2).chunk(3, 1)
    # Unit vectors over all tokens, brought to a root mean square of 1.
    length = (height * width) ** 0.5
    q = net.site(f"{name}.query", F.normalize(q, dim=-1) * length) / length
    k = net.site(f"{name}.key", F.normalize(k, dim=-1) * length) / length
    q, k, v = (x.reshape(b, heads, -1, height * width) for x in (q, k, net.site(f"{name}.value", v)))
    scores = (q @ k.transpose(-2, -1) * net[f"{name}.temperature"]).softmax(-1)
    y = net.site(f"{name}.probabilities", scores) @ v
    return y.flatten(1, 2).transpose(1, 2).reshape(b, height, width, -1)


def interact(net, name, attended, values, isSpatial):
    attended, values = attended.permute(0, 3, 1, 2), values.permute(0, 3, 1, 2)
    convolved = F.gelu(
        net.batch_norm(f"{name}.dwconv.1", net.conv(f"{name}.dwconv.0", values, groups=values.shape[1])))

    def weights(part, x, first):
        x = net.batch_norm(f"{name}.{part}.{first + 1}", net.conv(f"{name}.{part}.{first}", x))
        return torch.sigmoid(net.conv(f"{name}.{part}.{first + 3}", F.gelu(x)))

    def channels(x):
        return weights("channel_interaction", x.mean((2, 3), keepdim=True), 1)

    def tokens(x):
        return weights("spatial_interaction", x, 0)

    if isSpatial:
        mixed = attended * channels(convolved) + convolved * tokens(attended)
    else:
        mixed = attended * tokens(convolved) + convolved * channels(attended)
    return net.linear(f"{name}.proj", mixed.permute(0, 2, 3, 1))


def distillation_loss(output, groups, target, target_groups, features=5.0, euclidean=True):
    pixels = (output - target).abs().mean()
    sum_ = torch.zeros(())
    for x, y in zip(groups, target_groups):
        x, y = x.flatten(1), y.flatten(1)
        if euclidean:
            x, y = x / x.norm(dim=1, keepdim=True), y / y.norm(dim=1, keepdim=True)
        else:
            x, y = (v / v.square().mean(1, keepdim=True).sqrt() for v in (x, y))
        sum_ = sum_ + (x - y).square().mean()
    return pixels + features * sum_, pixels, sum_


def is_row_scaled(name):
    return name.endswith((".input", ".probabilities"))


def observed_sites(forward, state, x):
    """The range of the values at every site."""
    found = {}

    class Observer(Network):
        def site(self, name, values):
            if ".attn." in name or ".mlp." in name or ".ffn." in name:
                if not (".pos." in name):
                    found[name] = (values.min().item(), values.max().item())
            return values

    with torch.no_grad():
        output, groups = forward(Observer(state), x)
    return found, output, groups


def quantized_setting(forward, state, x, levels=3, share=0.8, scaling="tensor"):
    """Bounds of sites and weights: the middle `share` of their range, or that much of a row's or group's."""
    ranges, output, groups = observed_sites(forward, state, x)
    bounds = {}
    for name, (low, high) in ranges.items():
        if scaling != "tensor":
            # Sums of few quantized values tie, and every largest one of a row has its own derivative.
            if not is_row_scaled(name):
                continue
            low, high = -1.0, 1.0
        middle, half = (low + high) / 2, (high - low) / 2 * share
        if name.endswith("probabilities"):
            # Not from 0 on, which the probabilities of masked tokens reach or nearly reach.
            bounds[name] = (torch.tensor(0.02 * high), torch.tensor(high * share))
        else:
            bounds[name] = (torch.tensor(middle - half), torch.tensor(middle + half))
    weights = {}
    for name, tensor in state.items():
        site = name.removesuffix(".weight") + ".input"
        if name.endswith(".weight") and site in ranges:
            weights[name] = cells(name, tensor, levels, share)
    return bounds, weights, output, groups


def cells(name, w, levels, share):
    """Parts for fused weights, cells of a row for `proj`, of 5 columns for `fc1`, else one cell."""
    rows, columns = w.shape
    parts = 3 if ".qkv." in name else 1
    if ".proj." in name:
        pieces = list(w)
        parts = 0
    elif ".fc1." in name:
        pieces = [piece for row in w for piece in row.split(GROUP)]
        parts = 0
    else:
        pieces = list(w.chunk(parts))
    lower = torch.stack([piece.min() * share for piece in pieces])
    upper = torch.stack([piece.max() * share for piece in pieces])
    return lower, (upper - lower).clamp_min(0.05) / levels, parts


def main() -> None:
    torch.set_num_threads(1)
    make("swinir_direct_x2", swinir, depths=(2, 2), heads=2, window=4)
    make("swinir_nearest_x4", swinir, depths=(2, 2), heads=2, window=4)
    make("dat_direct_x2", dat, depths=(3, 1), heads=4, split=(2, 4))
    make("dat_shuffle_x3", dat, depths=(1,), heads=4, split=(4, 4))
    # With inputs and probabilities rounded row by row, and with inputs rounded in groups of a row.
    for scaling in ("rows", "groups"):
        make("swinir_nearest_x4", swinir, scaling, depths=(2, 2), heads=2, window=4)
        make("dat_shuffle_x3", dat, scaling, depths=(1,), heads=4, split=(4, 4))


def make(name, network, scaling="tensor", **configuration) -> None:
    tensors = load_file(FOLDER / "superresolution" / f"{name}.safetensors")
    golden = tensors["golden.output"]
    first = tensors["golden.input"]
    state = {key: value.float() for key, value in tensors.items() if not key.startswith("golden.")}

    def forward(net, x):
        return network(net, x, **configuration)

    with torch.no_grad():
        difference = (forward(Network(state), first)[0] - golden).abs().max().item()
    assert difference < 1e-4, (name, difference)

    # Another order of sums must not change a code: of some settings, the one whose values stay farthest
    # from where codes change.
    best = -1.0
    for attempt in range(60):
        y = torch.cat([first, first.flip(3).square()])[:, :, attempt % 3 : attempt % 3 + 6, :7]
        setting = quantized_setting(forward, state, y, share=0.9 - 0.003 * attempt, scaling=scaling)
        trial = Network(state, setting[0], setting[1], scaling=scaling)
        with torch.no_grad():
            forward(trial, y)
        if trial.margin > best:
            best, x, (bounds, weights, target, target_groups) = trial.margin, y, setting
    leaves = {}

    def leaf(key, value):
        leaves[key] = value.detach().clone().requires_grad_()
        return leaves[key]

    learned = {
        key: leaf(key, value) if value.is_floating_point() and not is_buffer(key) else value
        for key, value in state.items()
    }
    site_bounds = {key: (leaf(f"{key}.lower", l), leaf(f"{key}.upper", u)) for key, (l, u) in bounds.items()}
    weight_bounds = {
        key: (leaf(f"{key}.lower", l), leaf(f"{key}.scale", s), parts) for key, (l, s, parts) in weights.items()
    }
    output, groups = forward(Network(learned, site_bounds, weight_bounds, scaling=scaling), x)
    loss = distillation_loss(output, groups, target, target_groups, euclidean=False)
    loss[0].backward()

    result = {"input": x, "loss": torch.stack([part.detach() for part in loss]), "output": output.detach()}
    for key, (lower, upper) in bounds.items():
        result[f"bound.{key}"] = torch.stack([lower, upper])
    for key, (lower, scale, _) in weights.items():
        result[f"bound.{key}"] = torch.stack([lower, scale], 1)
    for key, value in leaves.items():
        gradient = torch.zeros_like(value) if value.grad is None else value.grad
        magnitude = gradient.abs().max().clamp_min(1e-30)
        result[f"gradient.{key}"] = (gradient / magnitude).half()
        result[f"magnitude.{key}"] = magnitude
    path = FOLDER / "training" / f"{name}{'' if scaling == 'tensor' else f'_{scaling}'}.safetensors"
    save_file({key: value.contiguous() for key, value in result.items()}, path)
    print(
        f"{path.name}: {path.stat().st_size:,} bytes, loss {[round(v.item(), 5) for v in loss]}, check {difference:.1e}, "
        f"margin {best:.1e}")


def is_buffer(name):
    return name.split(".")[-1] in (
        "attn_mask", "relative_position_index", "rpe_biases", "running_mean", "running_var", "attn_mask_0",
        "attn_mask_1", "num_batches_tracked")


if __name__ == "__main__":
    main()
