"""Makes random checkpoints with PyTorch, converts each with condi-convert, and compares tensor by
tensor what PyTorch loads before and after.

    python random_checkpoints.py path/to/condi-convert [--count 300] [--seed 0]

State dicts, nested checkpoints with optimizers, whole modules and TorchScript; zip and unzipped;
contiguous or not, shared or not, of every element type. Exit code 1 on any difference.
"""

from __future__ import annotations

import argparse
import collections
import random
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

TYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8,
    torch.int16, torch.int32, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn,
    torch.float8_e5m2, torch.uint16, torch.uint32,
]  # fmt: skip


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.register_buffer("index", torch.arange(width))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.feed(self.norm(x))


class Convolutional(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.stem(x)).mean((2, 3)))


def random_tensor(chance: random.Random) -> torch.Tensor:
    shape = [chance.choice([0, 1, 2, 3, 5, 8]) for _ in range(chance.randrange(5))]
    kind = chance.choice(TYPES)
    count = 1
    for size in shape:
        count *= size
    raw = torch.tensor([chance.randrange(256) for _ in range(max(count, 1) * 8)], dtype=torch.uint8)
    if kind == torch.bool:
        tensor = (raw[:count] % 2 == 0).reshape(shape)
    else:
        tensor = raw.view(kind)[:count].reshape(shape) if count else torch.empty(shape, dtype=kind)
    match chance.randrange(5):
        case 0 if tensor.dim() >= 2:
            tensor = tensor.transpose(0, tensor.dim() - 1)
        case 1 if tensor.dim() >= 1 and tensor.shape[0] > 1:
            tensor = tensor[::2]
        case 2 if tensor.dim() >= 1:
            tensor = tensor.unsqueeze(0).expand(3, *tensor.shape)
        case 3:
            tensor = tensor.clone()
    return tensor


def random_module(chance: random.Random) -> nn.Module:
    match chance.randrange(4):
        case 0:
            return nn.Sequential(*[Block(8, 2) for _ in range(chance.randrange(1, 3))])
        case 1:
            return Convolutional(chance.randrange(2, 6))
        case 2:
            return nn.LSTM(4, 3, num_layers=2)
        case _:
            tied = nn.ModuleDict({"embed": nn.Embedding(7, 4), "head": nn.Linear(4, 7, bias=False)})
            tied["head"].weight = tied["embed"].weight
            return tied


def random_content(chance: random.Random) -> tuple[str, Any]:
    module = random_module(chance)
    match chance.randrange(6):
        case 0:
            return "state dict", module.state_dict()
        case 1:
            optimizer_type = chance.choice([torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop])
            optimizer = optimizer_type(module.parameters(), lr=0.01)
            for parameter in module.parameters():
                parameter.grad = torch.ones_like(parameter)
            optimizer.step()
            return "checkpoint", {
                "epoch": chance.randrange(100), "loss": chance.random(), "name": "run/1",
                "model": module.state_dict(), "optimizer": optimizer.state_dict(),
                "history": [chance.random() for _ in range(3)], "best": None, "done": False,
                "args": (1, "two", 3.5), "big": 1 << 80,
            }  # fmt: skip
        case 2:
            return "tensors", {f"t{index}": random_tensor(chance) for index in range(12)}
        case 3:
            return "nested", {
                "params_ema": collections.OrderedDict(a=random_tensor(chance)),
                "list": [random_tensor(chance), {"x": random_tensor(chance)}],
                "parameters": nn.ParameterList([nn.Parameter(torch.ones(2))]).state_dict(),
            }
        case 4:
            return "module", module
        case _:
            return "script", torch.jit.script(Convolutional(3))


def save(content: tuple[str, Any], path: Path, chance: random.Random) -> str:
    kind, value = content
    if kind == "script":
        torch.jit.save(value, path)
        return kind
    is_zip = chance.random() < 0.6
    protocol = chance.choice([2, 2, 3, 4, 5])
    try:
        torch.save(value, path, _use_new_zipfile_serialization=is_zip, pickle_protocol=protocol)
    except (RuntimeError, AttributeError, NotImplementedError):
        # The unzipped form has no name for the newer element types.
        is_zip = True
        torch.save(value, path, pickle_protocol=protocol)
    return f"{kind}, {'zip' if is_zip else 'unzipped'}, protocol {protocol}"


def flatten(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return {name: value.detach()}
    if isinstance(value, dict):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        return {}
    found = {}
    for key, item in items:
        found |= flatten(item, f"{name}.{key}" if name else key)
    return found


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.numel() == 0:
        return True
    # A copy, because a tensor of one element counts as contiguous under any stride.
    raw = [t.clone(memory_format=torch.contiguous_format).reshape(-1) for t in (a, b)]
    raw = [t.as_strided((t.numel(),), (1,)).view(torch.uint8) for t in raw]
    return bool((raw[0] == raw[1]).all())


def check(tool: str, folder: Path, index: int, chance: random.Random) -> str | None:
    content = random_content(chance)
    source = folder / f"{index}.{chance.choice(['pth', 'pt', 'pkl', 'bin'])}"
    target = folder / f"{index}-out.pth"
    kind = save(content, source, chance)
    result = subprocess.run(
        [tool, "convert", str(source), str(target), "--quiet"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        return f"{index} ({kind}): {result.stderr.strip()}"
    value = content[1]
    expected = flatten(value.state_dict() if isinstance(value, nn.Module) else value)
    found = flatten(torch.load(target, weights_only=True))
    missing = [name for name in expected if name not in found]
    if missing:
        return f"{index} ({kind}): {missing[0]!r} is missing; there are {list(found)[:4]}"
    wrong = [name for name in expected if not same(expected[name], found[name])]
    return f"{index} ({kind}): {wrong[0]!r} differs" if wrong else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(arguments.count):
            chance = random.Random(f"{arguments.seed}-{index}")
            torch.manual_seed(index)
            if problem := check(arguments.tool, Path(folder), index, chance):
                problems.append(problem)
                print(problem)
    print(f"seed {arguments.seed}: {arguments.count} checkpoints, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
