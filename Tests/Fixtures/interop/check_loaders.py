"""Has files that condi-convert wrote opened as their users do, where more counts than the tensors.

    python check_loaders.py path/to/condi-convert

Transformers loads a model whose safetensors file was converted from `pytorch_model.bin`; ggml's limit
of names holds in GGUF files, and the full names come back; NumPy has the very names of the source.
Exit code 1 on any difference. Needs requirements.txt.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

import gguf  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import BertConfig, BertModel  # noqa: E402

# `GGML_MAX_NAME`, with the zero that ends a name.
NAME_BYTE_LIMIT = 64
# What transformers 4 asks for before it loads; transformers 5 takes files without it as well.
FRAMEWORKS = {"pt", "tf", "flax", "mlx"}


def run(tool: str, *arguments: object) -> None:
    command = [tool, *map(str, arguments), "--quiet"]
    subprocess.run(command, check=True, timeout=300, stdout=subprocess.DEVNULL)


def transformers_loads(tool: str, folder: Path) -> str | None:
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=16, vocab_size=20)  # fmt: skip
    state = BertModel(config).state_dict()
    for name, saved in {"plain": state, "with_values": {**state, "epoch": 3}}.items():
        (folder / name).mkdir()
        config.save_pretrained(folder / name)
        torch.save(saved, folder / f"{name}.bin")
        target = folder / name / "model.safetensors"
        run(tool, "convert", folder / f"{name}.bin", target)
        with safe_open(target, "pt") as file:
            if file.metadata().get("format") not in FRAMEWORKS:
                return f"{name}: no framework in {file.metadata()}"
        loaded = BertModel.from_pretrained(folder / name).state_dict()
        if not all(torch.equal(loaded[key], tensor) for key, tensor in state.items()):
            return f"{name}: other weights"
    return None


def ggml_takes_the_names(tool: str, folder: Path) -> str | None:
    # Two that are equal as far as the limit, one of letters of several bytes, and one just short enough.
    stems = ["model.layers.0." + "very_" * 12 + "long_a", "model.layers.0." + "very_" * 12 + "long_b",
             "ü" * 40, "x" * (NAME_BYTE_LIMIT - len(".weight") - 1)]  # fmt: skip
    names = [f"{stem}.weight" for stem in stems]
    generator = torch.Generator().manual_seed(1)
    tensors = {name: torch.randn(8, 256, generator=generator) for name in names}
    save_file(tensors, folder / "long.safetensors")
    run(tool, "convert", folder / "long.safetensors", folder / "long.condi", "--bits", 4,
        "--recipe", "all-linear")  # fmt: skip
    run(tool, "export", folder / "long.condi", folder / "long.gguf", "--to", "gguf")
    stored = [tensor.name for tensor in gguf.GGUFReader(folder / "long.gguf").tensors]
    too_long = [name for name in stored if len(name.encode()) >= NAME_BYTE_LIMIT]
    if too_long or len(set(stored)) != len(names):
        return f"names {stored}"
    run(tool, "convert", folder / "long.gguf", folder / "back.safetensors")
    found = sorted(load_file(folder / "back.safetensors"))
    return None if found == sorted(names) else f"came back as {found}"


def numpy_has_the_names(tool: str, folder: Path) -> str | None:
    names = ["layer/kernel:0", "a.b.weight", "with space", "größe"]
    save_file({name: torch.ones(2, 3) for name in names}, folder / "names.safetensors")
    run(tool, "convert", folder / "names.safetensors", folder / "names.npz")
    found = [name for name in np.load(folder / "names.npz") if name != "__condi__"]
    return None if sorted(found) == sorted(names) else f"names {found}"


def main() -> int:
    checks: list[Callable[[str, Path], str | None]] = [
        transformers_loads, ggml_takes_the_names, numpy_has_the_names,
    ]  # fmt: skip
    failures = 0
    for check in checks:
        with tempfile.TemporaryDirectory() as name:
            problem = check(sys.argv[1], Path(name))
        print(f"{check.__name__.replace('_', ' '):24}  {problem or 'ok'}")
        failures += problem is not None
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
