"""Makes small ncnn networks and what the ncnn package computes with them.

    python Tests/Fixtures/makers/ncnn_networks.py

`ncnn_….safetensors` in `Tests/Fixtures/superresolution` has the weights, named after the layers, the description as
the value `ncnn.param`, and `golden.input` and `golden.output`. Where the network takes pixels off at the edges, the
package was given the image mirrored by as many.
"""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path

import ncnn
import numpy as np
from safetensors.numpy import save_file

from superresolution import FOLDER


class Network:
    def __init__(self, seed: int, channels: int = 3) -> None:
        self.random = np.random.default_rng(seed)
        self.lines: list[str] = []
        self.blobs = 0
        self.last = "data"
        self.tensors: dict[str, np.ndarray] = {}
        self.data = b""
        self.add("Input", [], ["data"], f"2={channels}")

    def add(self, kind: str, inputs: list[str], outputs: list[str], parameters: str = "") -> str:
        self.blobs += len(outputs)
        name = f"layer_{len(self.lines)}"
        self.lines.append(f"{kind} {name} {len(inputs)} {len(outputs)} {' '.join(inputs + outputs)} {parameters}")
        return name

    def op(self, kind: str, parameters: str = "", inputs: list[str] | None = None) -> str:
        """A layer that takes the last result, or others."""
        output = f"blob_{len(self.lines)}"
        self.name = self.add(kind, [self.last] if inputs is None else inputs, [output], parameters)
        self.last = output
        return output

    def split(self, count: int = 2) -> list[str]:
        outputs = [f"blob_{len(self.lines)}_{index}" for index in range(count)]
        self.add("Split", [self.last], outputs)
        self.last = outputs[0]
        return outputs

    def weight(self, suffix: str, *shape: int, spread: float = 1, offset: float = 0, tagged: bool = False) -> None:
        values = (offset + spread * self.random.standard_normal(shape)).astype(np.float32)
        self.tensors[f"{self.name}.{suffix}"] = values
        self.data += (struct.pack("<I", 0) if tagged else b"") + values.tobytes()

    def conv(
        self, inputs: int, outputs: int, side: int = 3, pad: int = 0, more: str = "", groups: int = 1,
        kind: str | None = None, height: int | None = None,
    ) -> str:
        height = height or side
        size = outputs * inputs // groups * height * side
        kind = kind or ("ConvolutionDepthWise" if groups > 1 else "Convolution")
        output = self.op(
            kind,
            f"0={outputs} 1={side} 11={height} 4={pad} 5=1 6={size}{f' 7={groups}' if groups > 1 else ''} {more}",
        )
        spread = (inputs // groups * height * side) ** -0.5
        self.weight("weight", outputs, inputs // groups, height, side, spread=spread, tagged=True)
        self.weight("bias", outputs, spread=0.1)
        return output

    def inner(self, inputs: int, outputs: int, activation: int) -> str:
        output = self.op("InnerProduct", f"0={outputs} 1=1 2={inputs * outputs} 9={activation}")
        self.weight("weight", outputs, inputs, spread=4 * inputs**-0.5, tagged=True)
        self.weight("bias", outputs, spread=0.1)
        return output

    def text(self) -> str:
        return "\n".join(["7767517", f"{len(self.lines)} {self.blobs}", *self.lines, ""])

    def run(self, image: np.ndarray, margin: int) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.param"
            path.write_text(self.text())
            path.with_suffix(".bin").write_bytes(self.data)
            net = ncnn.Net()
            for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
                setattr(net.opt, option, False)
            if net.load_param(str(path)) or net.load_model(str(path.with_suffix(".bin"))):
                raise ValueError("ncnn does not load it")
            around = ((0, 0), (margin, margin), (margin, margin))
            # The package does not keep an array alive.
            padded = np.ascontiguousarray(np.pad(image, around, mode="reflect"))
            extractor = net.create_extractor()
            extractor.input("data", ncnn.Mat(padded).clone())
            code, output = extractor.extract(self.last)
            if code:
                raise ValueError("ncnn does not run it")
            return np.array(output, copy=True)

    def write(self, name: str, height: int, width: int, margin: int = 0, channels: int = 3) -> None:
        image = self.random.random((channels, height, width)).astype(np.float32)
        output = self.run(image, margin)
        scale = output.shape[1] // height
        if output.shape != (channels, scale * height, scale * width):
            raise ValueError(f"{name}: {output.shape}")
        tensors = {**self.tensors, "golden.input": image[None], "golden.output": output[None]}
        save_file(tensors, FOLDER / f"{name}.safetensors", {"condi.values": json.dumps({"ncnn.param": self.text()})})
        print(name, output.shape, float(output.min()), float(output.max()))


LEAKY = "9=2 -23310=1,1.000000e-01"


def gate(net: Network, channels: int, result: str, kind: str) -> None:
    net.op("Pooling", "0=1 4=1")
    net.inner(channels, 4, 1)
    weights = net.inner(4, channels, 4)
    net.op(*(("Scale", "0=-233") if kind == "Scale" else ("BinaryOp", "0=2")), inputs=[result, weights])


def cunet() -> None:
    """As waifu2x's: convolutions without padding, a way around, gates, transposed convolutions."""
    net = Network(1)
    net.conv(3, 6, more=LEAKY)
    net.conv(6, 8, more=LEAKY)
    around, through = net.split()
    net.last = through
    net.conv(8, 8, 2, more=f"3=2 {LEAKY}")
    net.conv(8, 10, more=LEAKY)
    net.conv(10, 8, more=LEAKY)
    result, pooled = net.split()
    net.last = pooled
    gate(net, 8, result, "Scale")
    net.conv(8, 8, 2, more=f"3=2 {LEAKY}", kind="Deconvolution")
    deep, shape = net.split()
    cropped = net.op("Crop", "0=4 1=4", [around, shape])
    net.op("Eltwise", "0=1", [cropped, deep])
    net.conv(8, 8, more=LEAKY)
    net.conv(8, 3, 4, 3, more="3=2", kind="Deconvolution")
    net.write("ncnn_cunet_x2", 20, 26, 8)


def gated() -> None:
    """As Real-CUGAN's: what is cropped by starts and ends, a kernel of 5 with steps of 3."""
    net = Network(2)
    net.conv(3, 8, more=LEAKY)
    around, through = net.split()
    net.last = through
    net.conv(8, 8, more=LEAKY)
    result, pooled = net.split()
    net.last = pooled
    gate(net, 8, result, "BinaryOp")
    inner = net.last
    cropped = net.op("Crop", "-23309=2,1,1 -23310=2,-1,-1 -23311=2,-2,-1", [around])
    net.op("BinaryOp", "0=0", [inner, cropped])
    net.conv(8, 3, 5, 2, more="3=3", kind="Deconvolution")
    net.conv(3, 3, pad=1)
    # 3 (n − 4) − 2 pixels, of which one at each edge goes to make 3 (n − 6).
    net.op("Crop", "-23309=2,2,2 -23310=2,-2,-2 -23311=2,1,2")
    net.write("ncnn_gated_x3", 13, 11, 3)


def span() -> None:
    net = Network(3)
    mean = "mean"
    net.lines.append("MemoryData mean 0 1 mean 0=1 1=1 2=3")
    net.blobs += 1
    net.name = "mean"
    net.weight("data", 3, 1, 1, spread=0.1, offset=0.4)
    net.op("BinaryOp", "0=1", [net.last, mean])
    net.op("BinaryOp", "0=2 1=1 2=2.000000e+00")
    net.conv(3, 8, pad=1)
    first, block = net.split()
    net.last = block
    net.op("Swish")
    net.conv(8, 8, pad=1)
    third, gates = net.split()
    net.last = gates
    net.op("Sigmoid")
    gates = net.op("BinaryOp", "0=1 1=1 2=5.000000e-01")
    total = net.op("BinaryOp", "", [third, first])
    net.op("BinaryOp", "0=2", [total, gates])
    a, b = net.split()
    net.op("Concat", "0=0", [a, b])
    net.conv(16, 8, 1)
    net.conv(8, 12, pad=1)
    net.op("PixelShuffle", "0=2")
    net.write("ncnn_span_x2", 9, 14)


def compact() -> None:
    """As Real-ESRGAN's for ×3: a network for ×4 whose result is made smaller."""
    net = Network(4)
    image, body = net.split()
    net.last = body
    for inputs in (3, 8):
        net.conv(inputs, 8, pad=1)
        net.op("PReLU", "0=8")
        net.weight("weight", 8, spread=0.2)
    net.conv(8, 48, pad=1)
    body = net.op("PixelShuffle", "0=4")
    larger = net.op("Interp", "0=1 1=4.000000e+00 2=4.000000e+00", [image])
    net.op("BinaryOp", "0=0", [body, larger])
    net.op("Interp", "0=3 1=7.500000e-01 2=7.500000e-01")
    net.write("ncnn_compact_x3", 8, 11)


def norms() -> None:
    """One layer each of those that the others lack, on grey images."""
    net = Network(5, 1)
    net.op("Reorg", "0=2")
    net.conv(4, 8, pad=1)
    net.op("GELU")
    net.op("Permute", "0=3")
    net.op("LayerNorm", "0=8 1=1.000000e-06")
    net.weight("weight", 8, spread=0.2, offset=1)
    net.weight("bias", 8, spread=0.2)
    net.op("Permute", "0=4")
    net.op("Padding", "0=1 1=1 2=2 3=2 4=2")
    net.conv(8, 8, 5, height=3, more="9=1")
    net.op("BatchNorm", "0=8 1=1.000000e-05")
    net.weight("weight", 8, spread=0.2, offset=1)
    net.weight("running_mean", 8, spread=0.2)
    net.tensors[f"{net.name}.running_var"] = values = net.random.random(8).astype(np.float32) + 0.5
    net.data += values.tobytes()
    net.weight("bias", 8, spread=0.2)
    left, right = "left", "right"
    net.add("Slice", [net.last], [left, right], "-23300=2,-233,-233 1=0")
    net.last = left
    net.op("Mish")
    net.conv(4, 4, pad=1, groups=4, more="9=5")
    made = net.op("TanH")
    net.last = right
    net.op("GroupNorm", "0=2 1=4 2=1.000000e-05")
    net.weight("weight", 4, spread=0.2, offset=1)
    net.weight("bias", 4, spread=0.2)
    net.op("Scale", "0=4 1=1")
    net.weight("weight", 4, spread=0.2, offset=1)
    net.weight("bias", 4, spread=0.2)
    net.op("ReLU", "0=2.000000e-01")
    net.op("Eltwise", "0=1 -23301=2,5.000000e-01,1.000000e+00", [net.last, made])
    net.op("UnaryOp", "0=1")
    net.op("BinaryOp", "0=7 1=1 2=2.500000e-01")
    net.op("BinaryOp", "0=3 1=1 2=4.000000e+00")
    net.op("Bias", "0=4")
    net.weight("bias", 4, spread=0.2)
    net.op("Noop")
    net.op("Crop", "-23309=1,0 -23310=1,4 -23311=1,0")
    net.conv(4, 4, pad=1)
    net.op("PixelShuffle", "0=2")
    net.write("ncnn_norms_x1", 10, 14, channels=1)


if __name__ == "__main__":
    cunet()
    gated()
    span()
    compact()
    norms()
