"""ncnn networks: layers of every kind that has weights, and descriptions broken in one way each.

The files are assembled here, for no program makes one layer of each kind; the ncnn package loads those that it
supports, with every weight where it is said to be, or the maker fails.
"""

from __future__ import annotations

import struct
from typing import Any

import ncnn
import numpy as np

from .manifest import Manifest, leaf_entry, tensor_entry

HALF, BRAIN, CODES, SCALED = 0x01306B47, 0x01348B83, 0x000D4B38, 0x0002C056


def numbers(count: int, seed: int) -> np.ndarray:
    """Floats of both signs that half precision holds."""
    return (((np.arange(count) * 37 + seed * 11) % 201 - 100) / 64).astype(np.float32)


class Network:
    """A description and its weights, with what is to be read from them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.blobs = 0
        self.data = b""
        self.tensors: list[dict[str, Any]] = []

    def layer(self, kind: str, name: str, inputs: str, outputs: str, parameters: str = "") -> None:
        taken, made = inputs.split(), outputs.split()
        self.blobs += len(made)
        words = [kind, name, len(taken), len(made), *taken, *made]
        self.lines.append(" ".join(map(str, words)) + (f" {parameters}" if parameters else ""))

    def weight(self, name: str, shape: list[int], tag: int | None = None, seed: int = 1) -> None:
        """Adds a weight, with a tag unless it is `None`; any other tag than the known ones is a table's."""
        count = int(np.prod(shape))
        values = numbers(count, seed)
        kind, stored = "float32", values.tobytes()
        if tag == HALF:
            kind, stored = "float16", values.astype("<f2").tobytes()
        elif tag == BRAIN:
            kind, stored = "bfloat16", (values.view("<u4") >> 16).astype("<u2").tobytes()
        elif tag is not None and tag not in (0, SCALED):
            indices = ((np.arange(count) * 5 + seed) % 256).astype(np.uint8)
            table = numbers(256, seed)
            values, stored = table[indices], table.tobytes() + indices.tobytes()
        if tag is not None:
            self.data += struct.pack("<I", tag)
        content = values.tobytes() if kind == "float32" else stored
        self.put(stored)
        self.expect(name, kind, shape, content, values)

    def codes(self, name: str, shape: list[int], scales: list[float], bias: bool) -> None:
        """Adds a weight in int8 with its bias and scales; what is read is the quotient."""
        count = int(np.prod(shape))
        codes = ((np.arange(count) * 7) % 255 - 127).astype(np.int8)
        factors = np.array(scales, np.float32)
        values = codes.astype(np.float32).reshape(len(scales), -1) / factors[:, None]
        self.data += struct.pack("<I", CODES)
        self.put(codes.tobytes())
        self.expect(f"{name}.weight", "float32", shape, values.tobytes(), values)
        if bias:
            self.weight(f"{name}.bias", [shape[0]])
        self.put(factors.tobytes())
        self.weight(f"{name}.input_scale", [1])

    def put(self, data: bytes) -> None:
        self.data += data + bytes(-len(data) % 4)

    def expect(self, name: str, kind: str, shape: list[int], data: bytes, values: np.ndarray) -> None:
        shown = None if kind == "bfloat16" else [float(value) for value in values.reshape(-1)]
        self.tensors.append(tensor_entry(name, kind, shape, data, shown))

    def text(self, line_end: str = "\n") -> str:
        return line_end.join(["7767517", f"{len(self.lines)} {self.blobs}", *self.lines, ""])

    def write(self, manifest: Manifest, name: str, *, line_end: str = "\n", note: str | None = None) -> None:
        text = self.text(line_end)
        manifest.path(f"ncnn/{name}.param").write_bytes(text.encode())
        manifest.path(f"ncnn/{name}.bin").write_bytes(self.data)
        entry: dict[str, Any] = {
            "tensors": self.tensors, "values": {"ncnn.param": leaf_entry(text)}, "metadata": {},
        }  # fmt: skip
        if note:
            entry["note"] = note
        manifest.add(f"ncnn/{name}.param", entry)


def convolutions() -> Network:
    net = Network()
    net.layer("Input", "image", "", "data", "2=3")
    net.layer("Convolution", "plain", "data", "a", "0=4 1=3 4=1 5=1 6=108")
    net.weight("plain.weight", [4, 3, 3, 3], 0)
    net.weight("plain.bias", [4])
    net.layer("PReLU", "act", "a", "b", "0=4")
    net.weight("act.weight", [4])
    net.layer("Convolution", "half", "b", "c", "0=3 1=1 11=3 5=0 6=36 9=2 -23310=1,2.000000e-01")
    net.weight("half.weight", [3, 4, 3, 1], HALF)
    net.layer("Convolution", "odd", "c", "d", "0=1 1=3 5=1 6=27")
    net.weight("odd.weight", [1, 3, 3, 3], HALF)
    net.weight("odd.bias", [1])
    net.layer("Convolution", "table", "d", "e", "0=2 1=3 4=1 6=18")
    net.weight("table.weight", [2, 1, 3, 3], 0x01020304)
    net.layer("ConvolutionDepthWise", "groups", "e", "f", "0=4 1=3 4=1 5=1 6=36 7=2")
    net.weight("groups.weight", [4, 1, 3, 3], SCALED)
    net.weight("groups.bias", [4])
    net.layer("Deconvolution", "up", "f", "g", "0=2 1=4 3=2 4=1 5=1 6=128")
    net.weight("up.weight", [2, 4, 4, 4], HALF)
    net.weight("up.bias", [2])
    net.layer("Convolution", "codes", "g", "h", "0=3 1=3 4=1 5=1 6=54 8=2")
    net.codes("codes", [3, 2, 3, 3], [100.0, 0.5, 33.25], True)
    net.layer("BatchNorm", "norm", "h", "i", "0=3 1=1.000000e-05")
    for suffix in ("weight", "running_mean", "running_var", "bias"):
        net.weight(f"norm.{suffix}", [3], seed=len(suffix))
    net.layer("GroupNorm", "groupnorm", "i", "j", "0=3 1=3 2=1.000000e-05")
    net.weight("groupnorm.weight", [3])
    net.weight("groupnorm.bias", [3])
    net.layer("Scale", "scale", "j", "k", "0=3 1=1")
    net.weight("scale.weight", [3])
    net.weight("scale.bias", [3])
    net.layer("Bias", "offset", "k", "l", "0=3")
    net.weight("offset.bias", [3])
    net.layer("MemoryData", "mean", "", "m", "0=1 1=1 2=3")
    net.weight("mean.data", [3, 1, 1])
    net.layer("BinaryOp", "sub", "l m", "n", "0=1")
    net.layer("Pooling", "pool", "n", "o", "0=1 4=1")
    net.layer("InnerProduct", "fc", "o", "p", "0=5 1=1 2=15 9=4")
    net.weight("fc.weight", [5, 3], HALF)
    net.weight("fc.bias", [5])
    net.layer("InnerProduct", "fc8", "p", "q", "0=2 1=1 2=10 8=2")
    net.codes("fc8", [2, 5], [12.5, 3.0], True)
    return net


def others() -> Network:
    net = Network()
    net.layer("Input", "ids", "", "ids")
    net.layer("Embed", "embed", "ids", "a", "0=6 1=7 2=0 3=42")
    net.weight("embed.weight", [7, 6], 0)
    net.layer("LayerNorm", "ln", "a", "b", "0=6 1=1.000000e-05")
    net.weight("ln.weight", [6])
    net.weight("ln.bias", [6])
    net.layer("LSTM", "lstm", "b", "c", "0=4 1=192 2=2")
    net.weight("lstm.weight_ih", [2, 16, 6], 0)
    net.weight("lstm.bias", [2, 4, 4], 0)
    net.weight("lstm.weight_hh", [2, 16, 4], HALF)
    net.layer("GRU", "gru", "c", "d", "0=4 1=96 2=0")
    net.weight("gru.weight_ih", [1, 12, 8], 0)
    net.weight("gru.bias", [1, 4, 4], 0)
    net.weight("gru.weight_hh", [1, 12, 4], 0)
    net.layer("MultiHeadAttention", "mha", "d", "e", "0=4 1=2 2=16")
    for part in ("q", "k", "v", "out"):
        net.weight(f"mha.{part}.weight", [4, 4], HALF)
        net.weight(f"mha.{part}.bias", [4])
    net.layer("Gemm", "gemm", "e", "f", "3=1 5=1 6=1 8=3 9=4 10=4")
    net.weight("gemm.b", [3, 4], 0)
    net.weight("gemm.c", [1, 3], 0)
    return net


def small() -> Network:
    net = Network()
    net.layer("Input", "image", "", "data")
    net.layer("Convolution", "conv", "data", "out", "0=3 1=1 6=9 9=2 10=0.1,0.2")
    net.weight("conv.weight", [3, 3, 1, 1], BRAIN)
    return net


def check(manifest: Manifest, name: str) -> None:
    """Makes the package load a network, whose next weight it would not find after one of another length."""
    path = str(manifest.path(f"ncnn/{name}.param"))
    net = ncnn.Net()
    if net.load_param(path) or net.load_model(path.removesuffix(".param") + ".bin"):
        raise ValueError(f"ncnn does not load {name}")


def make(manifest: Manifest) -> None:
    net = convolutions()
    net.write(manifest, "convolutions")
    check(manifest, "convolutions")
    net.write(manifest, "lines", line_end="\r\n", note="lines end as on Windows")
    others().write(manifest, "others")
    check(manifest, "others")
    small().write(manifest, "small")
    custom = small()
    custom.layer("MyLayer", "mine", "out", "end")
    custom.write(manifest, "custom", note="a layer of an unknown type, which has no weights")
    make_refused(manifest)


def make_refused(manifest: Manifest) -> None:
    def bad(name: str, text: str, reason: str) -> None:
        manifest.path(f"ncnn/{name}.bin").write_bytes(small().data)
        manifest.refuse(f"ncnn/{name}.param", text.encode("latin-1"), reason)

    good = small().text()
    bad("no_counts", "7767517\n", "the numbers of layers and blobs are missing")
    bad("too_few_layers", good.replace("2 2", "3 2"), "2 layers of 3")
    bad("too_many_layers", good.replace("2 2", "1 2"), "2 layers of 1")
    bad("too_many_blobs", good.replace("2 2", "2 1"), "2 blobs of 1")
    bad("many_layers", good.replace("2 2", "100001 2"), "100,001 layers")
    bad("unknown_blob", good.replace("1 1 data out", "1 1 dat out"), "'dat' is not made")
    bad("blob_twice", good.replace("data out", "data data"), "'data' is made twice")
    bad("name_twice", good.replace("conv ", "image "), "two layers with one name")
    bad("few_words", good.replace("1 1 data out", "1"), "no blobs")
    bad("blob_count", good.replace("1 1 data", "9 1 data"), "9 inputs of 1")
    bad("negative_count", good.replace("1 1 data", "-1 1 data"), "-1 inputs")
    bad("huge_count", good.replace("1 1 data", "9223372036854775807 1 data"), "2^63 - 1 inputs")
    bad("no_value", good.replace("1=1", "1="), "a parameter without a value")
    bad("no_key", good.replace("1=1", "x=1"), "a parameter without a number")
    bad("unknown_key", good.replace("1=1", "77=1"), "the parameter 77")
    bad("least_key", good.replace("1=1", "-9223372036854775808=1"), "the parameter -2^63")
    bad("key_twice", good.replace("1=1", "0=1"), "the parameter 0 twice")
    bad("list_length", good.replace("10=0.1,0.2", "-23310=3,0.1,0.2"), "a list of 2 numbers, not 3")
    bad("fraction", good.replace("0=3", "0=3.5"), "3.5 outputs")
    bad("no_multiple", good.replace("6=9", "6=10"), "10 weights of 3 outputs")
    bad("no_outputs", good.replace("0=3", "0=0"), "no outputs")
    bad("negative_size", good.replace("6=9", "6=-9"), "-9 weights")
    bad("bad_utf8", good.replace("conv", "\xff"), "no UTF-8")
    # Refused for what the weights may be.
    manifest.path("ncnn/unknown_layout.param").write_text(good.replace("Convolution", "Unheard"))
    manifest.path("ncnn/unknown_layout.bin").write_bytes(small().data)
