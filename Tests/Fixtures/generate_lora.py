"""Makes Tests/Fixtures/lora: bases, LoRA adapters of PEFT, and what PEFT merges them into.

    python generate_lora.py

Needs interop/requirements.txt. A folder has `base.safetensors`, `adapter_model.safetensors` with its
`adapter_config.json`, and `merged.safetensors`. `kohya.safetensors` has the factors of `float32` under the
names of kohya's scripts, which keep alpha as a tensor.
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

FOLDER = Path(__file__).resolve().parent / "lora"


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.block = nn.ModuleDict({"conv": nn.Conv2d(3, 6, (3, 2)), "proj": nn.Linear(6, 10)})
        self.head = nn.Linear(10, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.block["proj"](self.embed(x)))


def make(name: str, dtype: torch.dtype, **settings: object) -> None:
    torch.manual_seed(31)
    folder = FOLDER / name
    folder.mkdir(parents=True)
    model = Model().to(dtype)
    save_file({key: value.clone() for key, value in model.state_dict().items()}, folder / "base.safetensors")
    config = LoraConfig(r=3, lora_alpha=5, target_modules=["embed", "conv", "proj"], init_lora_weights=False,
                        **settings)  # fmt: skip
    adapted = get_peft_model(model, config)
    adapted.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    # PEFT writes a set in any order.
    settings_file = folder / "adapter_config.json"
    written = json.loads(settings_file.read_text())
    written["target_modules"].sort()
    settings_file.write_text(json.dumps(written, indent=2) + "\n")
    merged = adapted.merge_and_unload()
    save_file({key: value.contiguous() for key, value in merged.state_dict().items()}, folder / "merged.safetensors")


def main() -> int:
    warnings.simplefilter("ignore")
    shutil.rmtree(FOLDER, ignore_errors=True)
    make("float32", torch.float32)
    make("bfloat16", torch.bfloat16, use_rslora=True)
    make("dora", torch.float32, use_dora=True)
    renamed = {}
    for name, tensor in load_file(FOLDER / "float32/adapter_model.safetensors").items():
        if "embed" in name:
            continue  # kohya's scripts adapt no embeddings
        module, factor = name.removeprefix("base_model.model.").split(".lora_")
        stem = "lora_unet_" + module.replace(".", "_")
        renamed[f"{stem}.lora_{'down' if factor.startswith('A') else 'up'}.weight"] = tensor
        renamed[f"{stem}.alpha"] = torch.tensor(5.0)
    save_file(renamed, FOLDER / "kohya.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
