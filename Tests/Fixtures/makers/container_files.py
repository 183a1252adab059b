"""Archives and graphs that their own programs load in their own way, for auditing."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from pathlib import Path

import gguf
import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import package

from .archives import unzip, zip_bytes
from .manifest import Manifest


def make(manifest: Manifest) -> None:
    for name, data in (
        ("package.pt", torch_package()),
        ("export.pt2", torch_export()),
        ("chat_template.gguf", chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")),
        ("reaching_template.gguf", chat_template("{{ ''.__class__.__mro__ }}")),
        ("custom_operator.onnx", graph("Mine", "my.ops")),
        ("microsoft_operator.onnx", graph("Gelu", "com.microsoft")),
        ("compiled_operator.onnx", graph("EPContext", "com.microsoft")),
    ):
        manifest.path(f"containers/{name}").write_bytes(data)


def torch_package() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with package.PackageExporter(buffer) as exporter:
            exporter.save_source_string("net.layers", "width = 3\n")
            exporter.save_pickle("model", "model.pkl", {"weight": torch.ones(3)})
            exporter.save_text("notes", "readme.txt", "A model of three ones.\n")
    return without_versions(buffer.getvalue())


class Sum(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 3)
        self.register_buffer("steps", torch.arange(3))
        with torch.no_grad():
            self.linear.weight.fill_(0.5)
            self.linear.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.steps


def torch_export() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.pt2"
        torch.export.save(torch.export.export(Sum(), (torch.zeros(1, 2),)), path)
        return without_versions(path.read_bytes())


def without_versions(data: bytes) -> bytes:
    """The archive without what varies: the Python that ran, and where its sources were."""

    def fixed(name: str, content: bytes) -> bytes:
        if name.endswith("python_version"):
            return b"3.11.0"
        if name.endswith("models/model.json"):
            return json.dumps(without_traces(json.loads(content))).encode()
        return content

    return zip_bytes([
        (name, fixed(name, content)) for name, content in unzip(data)
        if not name.endswith("serialization_id")])  # fmt: skip


def without_traces(value: object) -> object:
    if isinstance(value, dict):
        return {k: without_traces(v) for k, v in value.items() if k not in ("metadata", "guards_code")}
    if isinstance(value, list):
        return [without_traces(item) for item in value]
    return value


def chat_template(template: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chat.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_chat_template(template)
        writer.add_tensor("w", np.ones(4, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def graph(operator: str, domain: str) -> bytes:
    weight = numpy_helper.from_array(np.ones(1, np.float32), "w")
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    node = helper.make_node(operator, ["x", "w"], ["y"], domain=domain)
    content = helper.make_graph([node], "graph", ports[:1], ports[1:], [weight])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    return helper.make_model(content, opset_imports=opsets, ir_version=8).SerializeToString()
