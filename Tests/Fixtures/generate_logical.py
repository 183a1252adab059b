"""Makes Tests/Fixtures/logical: weights that are stored as several tensors, and what they are.

    python generate_logical.py

Needs interop/requirements.txt and bitsandbytes. Each folder has `model.safetensors` or `model.pth` as
a program stores it, often with the `config.json` beside it, and `values.safetensors` with the weights
that the program computes: PyTorch's own modules, bitsandbytes' own dequantization, and for FP8, AWQ,
NVFP4, MXFP4 and compressed-tensors the documented arithmetic in NumPy.
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path

import bitsandbytes.functional as bnb
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

FOLDER = Path(__file__).resolve().parent / "logical"
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def save(name: str, tensors: dict, values: dict, config: dict | None = None, pickle: bool = False) -> None:
    folder = FOLDER / name
    folder.mkdir(parents=True)
    if pickle:
        torch.save(tensors, folder / "model.pth")
    else:
        save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, folder / "model.safetensors")
    save_file({key: tensor.detach().contiguous() for key, tensor in values.items()}, folder / "values.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))


def spread(scales: torch.Tensor, blocks: tuple[int, ...], shape: tuple[int, ...]) -> torch.Tensor:
    """A scale for each element; the last blocks may be partly filled."""
    for axis, size in enumerate(blocks):
        scales = scales.repeat_interleave(size, axis).narrow(axis, 0, shape[axis])
    return scales


def fp8() -> None:
    tensors, values = {}, {}

    def add(stem: str, dtype: torch.dtype, shape: tuple[int, ...], scale: torch.Tensor, full: torch.Tensor,
            suffix: str = "weight_scale", zero: torch.Tensor | None = None) -> None:  # fmt: skip
        codes = (torch.randn(shape) * 40).to(dtype)
        tensors[f"{stem}.weight"], tensors[f"{stem}.{suffix}"] = codes, scale
        numbers = codes.float()
        if zero is not None:
            tensors[f"{stem}.weight_zero_point"] = zero
            numbers = numbers - zero.float()
        values[f"{stem}.weight"] = numbers * full

    def scales(*shape: int) -> torch.Tensor:
        return torch.rand(shape) * 0.01 + 1e-4

    e4m3, e5m2, fnuz = torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz
    s = scales(3, 4)
    add("blocks", e4m3, (40, 56), s, spread(s, (16, 16), (40, 56)), "weight_scale_inv")
    s = scales()
    add("whole", e4m3, (5, 7), s, s)
    s = scales(6)
    add("rows", e5m2, (6, 5), s.bfloat16(), s.bfloat16().float()[:, None])
    s = scales(6, 1)
    add("columns", fnuz, (6, 5), s, s)
    s = scales(2, 6, 1)
    add("experts", e4m3, (2, 6, 8), s, s)
    s = scales(4)
    add("kernels", e4m3, (4, 3, 3, 3), s, s[:, None, None, None])
    s = scales(5, 1)
    add("integers", torch.int8, (5, 9), s, s, zero=torch.randint(-9, 9, (5, 1), dtype=torch.int8))
    exponents = torch.randint(120, 130, (3, 2), dtype=torch.uint8)
    add("exponents", e4m3, (3, 64), exponents, spread(2.0 ** (exponents.float() - 127), (1, 32), (3, 64)))
    s = scales()
    add("comfy", e4m3, (4, 6), s, s, "scale_weight")
    tensors["comfy.scale_input"] = torch.tensor(1.0)
    tensors["scaled_fp8"] = torch.empty(0, dtype=e4m3)
    tensors["plain.weight"] = torch.randn(3, 4).to(e4m3)
    codes, magnitudes, _ = bnb.int8_vectorwise_quant(torch.randn(6, 8).half())
    tensors |= {"bnb.weight": codes, "bnb.SCB": magnitudes, "bnb.weight_format": torch.tensor(0, dtype=torch.uint8)}
    values["bnb.weight"] = bnb.int8_vectorwise_dequant(codes, magnitudes)
    save("fp8", tensors, values, {"quantization_config": {"quant_method": "fp8", "weight_block_size": [16, 16]}})
    tensors, values = {}, {}
    s = scales(2, 1)
    # Blocks of 128, as DeepSeek's are: the last one has two rows.
    add("edge", e4m3, (130, 8), s, spread(s, (128, 8), (130, 8)), "weight_scale_inv")
    tensors["open.weight"] = torch.randn(60, 8).to(e4m3)
    tensors["open.weight_scale"] = scales(2, 1)
    tensors["orphan.weight"] = torch.randn(4, 4)
    tensors["orphan.weight_scale_inv"] = scales(1, 1)
    save("fp8_128", tensors, values)


def torch_modules() -> None:
    modules = nn.ModuleDict()
    for dim in (0, 1, 2, None):
        modules[f"kernel_{dim}"] = weight_norm(nn.Conv2d(3, 4, (2, 3)), dim=dim)
        modules[f"registered_{dim}"] = parametrizations.weight_norm(nn.Conv2d(3, 4, (2, 3)), dim=dim)
    modules["linear"] = weight_norm(nn.Linear(5, 3))
    modules["transposed"] = weight_norm(nn.ConvTranspose2d(4, 2, 3), dim=1)
    modules["zero"] = weight_norm(nn.Linear(5, 3))
    with torch.no_grad():
        modules["zero"].weight_v[1] = 0
    modules["recurrent"] = weight_norm(nn.LSTM(3, 2), name="weight_hh_l0")
    modules["spectral"] = spectral_norm(nn.Conv2d(3, 4, 3))
    modules["spectral_registered"] = parametrizations.spectral_norm(nn.Linear(6, 4))
    modules["spectral_transposed"] = spectral_norm(nn.ConvTranspose2d(4, 4, 3))
    modules["spectral_square"] = parametrizations.spectral_norm(nn.ConvTranspose2d(4, 4, 3))
    modules["pruned"] = prune.random_unstructured(nn.Linear(6, 4), "weight", 0.5)
    modules["orthogonal"] = parametrizations.orthogonal(nn.Linear(4, 4))
    modules["plain"] = nn.Linear(3, 2)
    names = ("spectral", "spectral_transposed")
    for name in names:
        for _ in range(30):
            modules[name](torch.zeros(1, modules[name].in_channels, 4, 4))
    for _ in range(30):
        modules["spectral_square"].weight
    modules.eval()
    modules["zero"](torch.zeros(1, 5))
    values = {}
    for name, module in modules.items():
        if name in ("orthogonal", "plain"):
            continue
        if name == "recurrent":
            module(torch.zeros(1, 1, 3))
            values["recurrent.weight_hh_l0"] = module.weight_hh_l0
        else:
            if name.startswith("spectral") and name != "spectral_registered" and name != "spectral_square":
                module(torch.zeros(1, module.in_channels, 4, 4))
            values[f"{name}.weight"] = module.weight
    save("torch", modules.state_dict(), values, pickle=True)
    half = weight_norm(nn.Linear(3, 2)).state_dict()
    del half["weight_g"]
    save("halves", {"a." + key: value for key, value in half.items()}, {"none": torch.zeros(1)})


def adapter() -> None:
    factors = {"q.lora_A.weight": torch.randn(16, 48), "q.lora_B.weight": torch.randn(32, 16)}
    save("adapter", factors, {"none": torch.zeros(1)})


def bitsandbytes() -> None:
    tensors, values = {}, {}
    for kind in ("nf4", "fp4"):
        for nested in (False, True):
            stem = f"{kind}_{'nested' if nested else 'plain'}.weight"
            codes, state = bnb.quantize_4bit(torch.randn(6, 43), quant_type=kind, blocksize=64, compress_statistics=nested)
            tensors[stem] = codes
            tensors |= {f"{stem}.{key}": value for key, value in state.as_dict(packed=True).items()}
            values[stem] = bnb.dequantize_4bit(codes, state)
    save("bitsandbytes", tensors, values)


def words(codes: np.ndarray, bits: int) -> torch.Tensor:
    """Codes in words along the last axis, low bits first, as many as fit; the last word is padded."""
    count = 32 // bits
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % count))).astype(np.uint32)
    packed = np.zeros((codes.shape[0], padded.shape[1] // count), np.uint32)
    for place in range(count):
        packed |= padded[:, place::count] << np.uint32(bits * place)
    return torch.from_numpy(packed.view(np.int32))


def packed_integers() -> None:
    rng = np.random.default_rng(5)
    inputs, outputs, size = 64, 24, 32
    codes, zeros = rng.integers(0, 16, (inputs, outputs)), rng.integers(0, 16, (inputs // size, outputs))
    scales = rng.uniform(0.01, 0.1, zeros.shape).astype(np.float16)
    # Outputs 0, 2, 4, 6, 1, 3, 5, 7 of each eight are in the places of a word from the lowest on.
    order = np.arange(outputs).reshape(-1, 8)[:, [0, 2, 4, 6, 1, 3, 5, 7]].reshape(-1)
    weight = (codes - np.repeat(zeros, size, 0)).astype(np.float32) * np.repeat(scales.astype(np.float32), size, 0)
    save(
        "awq",
        {"fc.qweight": words(codes[:, order], 4), "fc.qzeros": words(zeros[:, order], 4), "fc.scales": torch.from_numpy(scales)},
        {"fc.weight": torch.from_numpy(weight.T.astype(np.float16).copy())},
        {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True}},
    )
    tensors, values = {}, {}
    for bits in (4, 8):
        codes = rng.integers(0, 2**bits, (5, 30))
        steps = torch.rand(5, 1) * 0.1
        stem = f"w{bits}"
        tensors |= {f"{stem}.weight_packed": words(codes, bits), f"{stem}.weight_scale": steps,
                    f"{stem}.weight_shape": torch.tensor([5, 30])}  # fmt: skip
        values[f"{stem}.weight"] = torch.from_numpy(codes - 2 ** (bits - 1)).float() * steps
    save("compressed", tensors, values)


def microscaling() -> None:
    rng = np.random.default_rng(6)
    codes = rng.integers(0, 16, (4, 32))
    packed = torch.from_numpy((codes[:, ::2] | codes[:, 1::2] << 4).astype(np.uint8))
    scales = (torch.rand(4, 2) * 100).to(torch.float8_e4m3fn)
    numbers = torch.from_numpy(FP4[codes])
    wide = scales.float().repeat_interleave(16, 1)
    factor = torch.tensor(0.003)
    tensors = {"a.weight": packed, "a.weight_scale": scales, "a.weight_scale_2": factor, "a.input_scale": torch.tensor(1.0),
               "b.weight_packed": packed, "b.weight_scale": scales, "b.weight_global_scale": 1 / factor}  # fmt: skip
    values = {"a.weight": numbers * (wide * factor), "b.weight": numbers * (wide / (1 / factor))}
    blocks = rng.integers(0, 256, (2, 3, 2, 16)).astype(np.uint8)
    exponents = rng.integers(120, 130, (2, 3, 2)).astype(np.uint8)
    rows = np.stack([FP4[blocks & 15], FP4[blocks >> 4]], -1).reshape(2, 3, 2, 32)
    rows = rows * 2.0 ** (exponents[..., None].astype(np.float32) - 127)
    tensors |= {"experts.down_proj_blocks": torch.from_numpy(blocks), "experts.down_proj_scales": torch.from_numpy(exponents)}
    values["experts.down_proj"] = torch.from_numpy(rows.reshape(2, 3, 64).transpose(0, 2, 1).astype(np.float32).copy())
    save("microscaling", tensors, values)


def main() -> int:
    shutil.rmtree(FOLDER, ignore_errors=True)
    for make in (fp8, torch_modules, adapter, bitsandbytes, packed_integers, microscaling):
        torch.manual_seed(11)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make()
    return 0


if __name__ == "__main__":
    sys.exit(main())
