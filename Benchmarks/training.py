"""Times one step of distillation beside the same step in PyTorch.

    swift build -c release -Xswiftc -enable-testing --product training-benchmark
    python Benchmarks/training.py [--dat-weights FOLDER] [--threads N] [--rounds N] [--smallest] [--write]

A step: forward and backward of a network of which weights and activations of the body are quantized to
2 bits, for a batch of images, with the loss against the teacher's outputs (computed before), and an
update by Adam of all parameters, bounds included. Both sides start from the same numbers; their first
losses are compared. Steps alternate, so that whatever else the machine does slows both; medians are
reported. `--smallest` takes one small step. `--write` puts the table in `Benchmarks/results/training.md`.

SwinIR-light has random weights, which cost as much as trained ones; DAT-light is the published ×2
network, `DAT_light_x2.pth` in the folder that `--dat-weights` names.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from compare import processor
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Tests" / "Fixtures" / "makers"))
import training  # noqa: E402

PROGRAM = ROOT / ".build" / "release" / "training-benchmark"


def swinir_light(depths: tuple[int, ...], scale: int = 2, width: int = 60, hidden: int = 120) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        fan = max(1, torch.Size(shape[1:]).numel())
        return torch.randn(shape, generator=generator) / fan**0.5

    def norm(name):
        return {f"{name}.weight": torch.ones(width), f"{name}.bias": torch.zeros(width)}

    def layer(name, *shape):
        return {f"{name}.weight": draw(*shape), f"{name}.bias": 0.1 * draw(shape[0])}

    state = layer("conv_first", width, 3, 3, 3) | norm("patch_embed.norm")
    for group, depth in enumerate(depths):
        for index in range(depth):
            name = f"layers.{group}.residual_group.blocks.{index}"
            state |= norm(f"{name}.norm1") | layer(f"{name}.attn.qkv", 3 * width, width)
            state[f"{name}.attn.relative_position_bias_table"] = 0.1 * draw(225, 6)
            state |= layer(f"{name}.attn.proj", width, width) | norm(f"{name}.norm2")
            state |= layer(f"{name}.mlp.fc1", hidden, width) | layer(f"{name}.mlp.fc2", width, hidden)
        state |= layer(f"layers.{group}.conv", width, width, 3, 3)
    state |= norm("norm") | layer("conv_after_body", width, width, 3, 3)
    return state | layer("upsample.0", 3 * scale * scale, width, 3, 3)


def cells(name, w, levels, share):
    """A lower bound and a scale for each weight, three for fused ones."""
    parts = 3 if ".qkv." in name else 1
    lower = torch.stack([share * piece.min() for piece in w.chunk(parts)])
    upper = torch.stack([share * piece.max() for piece in w.chunk(parts)])
    return lower, (upper - lower) / levels, parts


class TorchSide:
    def __init__(self, forward, state, x):
        bounds, weights, target, groups = training.quantized_setting(forward, state, x)
        self.forward, self.x, self.target, self.groups = forward, x, target, groups
        self.bounds, self.weights, self.leaves = bounds, weights, []

        def leaf(value):
            self.leaves.append(value.detach().clone().requires_grad_())
            return self.leaves[-1]

        self.network = training.Network(
            {
                key: leaf(value) if value.is_floating_point() and not training.is_buffer(key) else value
                for key, value in state.items()
            },
            {key: (leaf(lower), leaf(upper)) for key, (lower, upper) in bounds.items()},
            {key: (leaf(lower), leaf(scale), parts) for key, (lower, scale, parts) in weights.items()},
        )
        # What the test fixtures record of each rounding is no part of a step.
        self.network.observe_margin = lambda *_: None
        self.optimizer = torch.optim.Adam(self.leaves, lr=1e-4, betas=(0.9, 0.99))

    def step(self, threads: int) -> tuple[float, float, float]:
        """Seconds, seconds of processors, the loss before the update."""
        torch.set_num_threads(threads)
        start, used = time.perf_counter(), time.process_time()
        self.optimizer.zero_grad()
        output, groups = self.forward(self.network, self.x)
        loss = training.distillation_loss(output, groups, self.target, self.groups)[0]
        loss.backward()
        self.optimizer.step()
        return time.perf_counter() - start, time.process_time() - used, loss.item()


class SwiftSide:
    def __init__(self, side: TorchSide, state, folder: str, threads: int):
        tensors = {key: value for key, value in state.items() if not key.endswith("attn_mask")}
        tensors["benchmark.input"] = side.x
        for key, (lower, upper) in side.bounds.items():
            tensors[f"bound.{key}"] = torch.stack([lower, upper])
        for key, (lower, scale, _) in side.weights.items():
            tensors[f"bound.{key}"] = torch.stack([lower, scale], 1)
        path = Path(folder) / "setting.safetensors"
        save_file({key: value.contiguous() for key, value in tensors.items()}, path)
        self.process = subprocess.Popen(
            [PROGRAM, path, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def step(self) -> tuple[float, float, float]:
        """As `TorchSide.step`."""
        used = self.processor_time()
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds, loss = self.process.stdout.readline().split()
        return float(seconds), self.processor_time() - used, float(loss)

    def processor_time(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> int:
        """Kilobytes of memory at most."""
        peak = 0
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                peak = int(line.split()[1])
        self.process.stdin.close()
        self.process.wait()
        return peak


def compare(name, forward, state, x, options) -> str:
    side = TorchSide(forward, state, x)
    with tempfile.TemporaryDirectory() as folder:
        swift = SwiftSide(side, state, folder, options.threads)
        first = side.step(options.threads)[2], swift.step()[2]
        if abs(first[0] - first[1]) > 0.01 * first[0]:
            raise SystemExit(f"{name}: the first losses are {first}")
        # By turns: PyTorch on one thread, on all, and ours.
        rounds = [
            (side.step(1), side.step(options.threads), swift.step()) for _ in range(options.rounds)
        ]
        peak = swift.close()
    one, all_, ours = (
        [statistics.median(step[part] for step in column) for part in (0, 1)] for column in zip(*rounds))
    fastest = min(one[0], all_[0])
    row = (
        f"| {name} | {len(x)} × {x.shape[2]}×{x.shape[3]} | {ours[0]:.2f} s | {one[0]:.2f} s | {all_[0]:.2f} s "
        f"| {fastest / ours[0]:.1f}× | {ours[1]:.2f} s | {min(one[1], all_[1]):.2f} s "
        f"| {min(one[1], all_[1]) / ours[1]:.1f}× | {peak / 1024:.0f} MiB |")
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dat-weights", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--smallest", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    depths: tuple[int, ...] = (6, 6, 6, 6)
    if options.smallest:
        options.batch, options.rounds, depths = 1, 1, (2,)
    load = os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    training.cells = cells
    x = torch.rand((options.batch, 3, 32, 32), generator=torch.Generator().manual_seed(2))

    def swinir(net, x):
        return training.swinir(net, x, depths=depths, heads=6, window=8)

    def dat(net, x):
        return training.dat(net, x, depths=(18,), heads=6, split=(8, 32))

    rows = [compare("SwinIR-light ×2", swinir, swinir_light(depths), x, options)]
    if options.dat_weights:
        path = options.dat_weights / "DAT_light_x2.pth"
        state = torch.load(path, map_location="cpu", weights_only=True)["params"]
        # Masks of the size that the network was first trained with are not used.
        state = {key: value for key, value in state.items() if "attn_mask" not in key}
        rows.append(compare("DAT-light ×2", dat, state, x, options))
    if options.write:
        text = "\n".join([
            "# One step of distillation", "",
            f"By `Benchmarks/training.py`, which says what a step is: medians of {options.rounds} alternating steps, "
            f"{options.threads} threads, PyTorch {torch.__version__}, {processor()}.", "",
            "PyTorch is compared with the faster of its times; its threads wait for each other in loops, which costs "
            f"dearly where anything else runs. The load was {load:.1f} at the start.", "",
            f"| network | batch | condi-convert, {options.threads} threads | PyTorch, 1 thread "
            f"| PyTorch, {options.threads} threads | faster | CPU time | PyTorch, the less | less CPU | peak memory |",
            "|---|---|---|---|---|---|---|---|---|---|", *rows, "",
        ])
        (ROOT / "Benchmarks" / "results" / "training.md").write_text(text)


if __name__ == "__main__":
    main()
