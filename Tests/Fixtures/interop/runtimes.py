"""What the runtimes' own packages read from exported models: names and dequantized arrays.

Each function returns arrays in the shapes that the runtime has, padded rows included.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np


def read_mlx(folder: Path) -> dict[str, np.ndarray]:
    """A folder of `model.safetensors` and `config.json`, by `mlx.core.dequantize` on the CPU."""
    import mlx.core as mx

    tensors = mx.load(str(folder / "model.safetensors"))
    quantization = json.loads((folder / "config.json").read_text()).get("quantization", {})
    result = {}
    for name, array in tensors.items():
        module = name.removesuffix(".weight")
        if name.endswith((".scales", ".biases")) and name.rpartition(".")[0] + ".weight" in tensors:
            continue
        if f"{module}.scales" in tensors and name.endswith(".weight"):
            settings = quantization | quantization.get(module, {})
            array = mx.dequantize(
                array, tensors[f"{module}.scales"], tensors[f"{module}.biases"],
                group_size=settings["group_size"], bits=settings["bits"], stream=mx.cpu,
            )  # fmt: skip
        if array.dtype == mx.bfloat16:
            array = array.astype(mx.float32, stream=mx.cpu)
        result[name] = np.array(array)
    return result


def read_gguf(path: Path) -> dict[str, np.ndarray]:
    """By `gguf.GGUFReader` and `gguf.quants.dequantize`, under the names before they were shortened."""
    from gguf import GGUFReader, quants

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from makers import ggml_types  # noqa: F401: adds Q2_0.

    reader = GGUFReader(path)
    full_names = json.loads(reader.fields["condi.export"].contents()).get("names", {})
    result = {}
    for tensor in reader.tensors:
        plain = tensor.data.dtype != np.uint8
        array = tensor.data if plain else quants.dequantize(tensor.data, tensor.tensor_type)
        result[full_names.get(tensor.name, tensor.name)] = array.reshape([int(n) for n in reversed(tensor.shape)])
    return result


def read_onnx(path: Path) -> dict[str, np.ndarray]:
    """Every output of the graph, by ONNX Runtime on the CPU, after `onnx.checker`."""
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {}), strict=True))


def run_layers(
    path: Path, inputs: Callable[[int], np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The outputs of layers by name, each given `inputs(columns)`, and the other outputs."""
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    feeds = {port.name: inputs(port.shape[1]) for port in session.get_inputs()}
    names = [output.name for output in session.get_outputs()]
    layers, others = {}, {}
    for name, array in zip(names, session.run(names, feeds), strict=True):
        layer = name.removesuffix("/output")
        (layers if f"{layer}/input" in feeds else others)[layer] = array
    return layers, others


def read_matmul(path: Path) -> dict[str, np.ndarray]:
    """Outputs as above; a layer gets the identity, and gives its matrix transposed.

    Nothing but zeros is added to an element then, so that sums leave it as it is.
    """
    layers, others = run_layers(path, lambda columns: np.eye(columns, dtype=np.float32))
    return {name: array.T for name, array in layers.items()} | others


def read_codes(path: Path) -> dict[str, np.ndarray]:
    """Codes and parameters as plain safetensors, by NumPy."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        export = json.loads(file.metadata()["condi.export"])
    for name, how in export.get("quantization", {}).items():
        codes = tensors.pop(f"{name}.codes")
        lower, scale = (tensors.pop(f"{name}.{part}") for part in ("lower", "scale"))
        tensors[name] = dequantized(codes, lower, scale, how["granularity"], how["type"])
    return tensors


def dequantized(
    codes: np.ndarray, lower: np.ndarray, scale: np.ndarray, granularity: str, dtype: str
) -> np.ndarray:
    rows = codes.shape[0]
    matrix = codes.reshape(rows, -1).astype(np.float32)
    columns = matrix.shape[1]
    kind, _, size = granularity.partition(":")
    if kind == "group":
        cell = np.arange(columns) // int(size)
        lower, scale = (a.reshape(rows, -1)[:, cell] for a in (lower, scale))
    else:
        lower, scale = (np.repeat(a, rows // a.size)[:, None] for a in (lower, scale))
    values = matrix * scale.astype(np.float32) + lower.astype(np.float32)
    return values.reshape(codes.shape).astype(dtype)


# By target, and the options of `export` if there are any.
READERS = {
    "mlx": read_mlx, "gguf": read_gguf, "onnx": read_onnx, "onnx-matmulnbits": read_matmul,
    "onnx-matmulnbits --integer-zeros": read_matmul, "safetensors": read_codes,
    "gguf --blocks q4_k": read_gguf, "gguf --blocks q6_k": read_gguf,
}  # fmt: skip
