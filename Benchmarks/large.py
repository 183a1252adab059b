"""Models larger than memory: time, peak memory and bytes written as the work grows.

    python large.py make FOLDER --gigabytes 2 [--types mixed|float32] [--embedding] [--shard-megabytes 512]
    python large.py measure BINARY FOLDER [--threads 1]
    python large.py consume BINARY FOLDER [--threads 1]
    python large.py grow BINARY --from 0.1 --to 20 [--work FOLDER] [--output results/large.md]

`make` writes a sharded safetensors checkpoint as language models have it: float32, float16, bfloat16
and int64 tensors, shards of about 0.5 GB, values near a normal distribution.

`measure` packs it at 2 bits, rounded to nearest between the least and the largest value, and prints the
wall and CPU times, the largest resident set (the kernel's, mapped pages of files included) and the
bytes that it had the system write; and beside it what `cp` takes for the same files, and NumPy on one
core for rounding the float32 tensors: with bounds a tensor, as here, and with bounds for each block of 32
neighbours, as llama-quantize has them. All files have been read once before, so they come from the page
cache where it holds them.

`consume` converts copies of it with --consume-input, to safetensors and packed as above, and prints by how
many bytes the shards that are left and the partial file together exceeded the model on the disk, at most,
seen every 5 ms.

`grow` doubles the model from step to step, with layers of the same size, and fits slopes: 1 is linear, 0
does not grow.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RECIPE = {
    "name": "round-to-nearest",
    "bits": 2,
    "search": "minmax",
    "rules": [{"match": "*_proj.weight", "action": "quantize"}],
}
WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}


# MARK: Checkpoints


class Values:
    """Bytes that repeat nowhere at the same place: pieces of a pool of normal values."""

    def __init__(self, seed: int = 1) -> None:
        self.random = np.random.default_rng(seed)
        single = (0.02 * self.random.standard_normal(1 << 24, dtype=np.float32)).astype("<f4")
        self.pools = {
            "F32": single.tobytes(),
            "F16": single.astype("<f2").tobytes(),
            "BF16": (single.view("<u4") >> 16).astype("<u2").tobytes(),
        }

    def write(self, file, kind: str, count: int) -> None:
        if kind == "I64":
            start = int(self.random.integers(1 << 40))
            file.write(np.arange(start, start + count, dtype="<i8").tobytes())
            return
        pool, width = self.pools[kind], WIDTHS[kind]
        left = count * width
        place = int(self.random.integers(len(pool) // width)) * width
        while left > 0:
            piece = min(left, len(pool) - place)
            file.write(memoryview(pool)[place : place + piece])
            left -= piece
            place = 0


def layer(index: int, kind: str) -> list[tuple[str, str, list[int]]]:
    """51 MB in float32."""
    prefix = f"model.layers.{index}"
    attention = [(f"{prefix}.self_attn.{x}_proj.weight", kind, [1024, 1024]) for x in "qkvo"]
    network = [
        (f"{prefix}.mlp.gate_proj.weight", kind, [2816, 1024]),
        (f"{prefix}.mlp.up_proj.weight", kind, [2816, 1024]),
        (f"{prefix}.mlp.down_proj.weight", kind, [1024, 2816]),
    ]
    rest = [
        (f"{prefix}.input_layernorm.weight", "F32", [1024]),
        (f"{prefix}.positions", "I64", [1024]),
    ]
    return attention + network + rest


def byte_count(kind: str, shape: list[int]) -> int:
    return WIDTHS[kind] * math.prod(shape)


def make(
    folder: Path, gigabytes: float, types: str, has_embedding: bool, shard_bytes: int
) -> None:
    folder.mkdir(parents=True)
    goal = gigabytes * 1e9
    kinds = ["F32"] if types == "float32" else ["F32", "F32", "F16", "BF16"]
    tensors: list[tuple[str, str, list[int]]] = []
    if has_embedding:
        tensors.append(("model.embed_tokens.weight", "BF16", [32000, 2048]))
    total = sum(byte_count(kind, shape) for _, kind, shape in tensors)
    index = 0
    while total < goal:
        more = layer(index, kinds[index % len(kinds)])
        tensors += more
        total += sum(byte_count(kind, shape) for _, kind, shape in more)
        index += 1
    shards: list[list[tuple[str, str, list[int]]]] = [[]]
    filled = 0
    for tensor in tensors:
        if filled >= shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += byte_count(*tensor[1:])
    values = Values()
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        header: dict[str, object] = {}
        end = 0
        for tensor, kind, shape in shard:
            start, end = end, end + byte_count(kind, shape)
            header[tensor] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
            weight_map[tensor] = name
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(folder / name, "wb", buffering=0) as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for _, kind, shape in shard:
                values.write(file, kind, math.prod(shape))
    index_text = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index_text))


def shards_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def tensors_of(shard: Path) -> dict[str, dict]:
    with open(shard, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    for entry in header.values():
        entry["data_offsets"] = [8 + length + offset for offset in entry["data_offsets"]]
    return header


# MARK: Measuring


@dataclass
class Run:
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    written_bytes: int


def run(command: list[str]) -> Run:
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    seconds = time.perf_counter() - started
    # What was handed to the disk, as long as the process is remembered.
    counts = dict(line.split(": ") for line in Path(f"/proc/{child.pid}/io").read_text().splitlines())
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
    return Run(
        seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, int(counts["write_bytes"]))


def round_in_numpy(weight: np.ndarray) -> np.ndarray:
    """2-bit codes of a float32 array, four in a byte, as the tool rounds them."""
    lower, upper = weight.min(), weight.max()
    scale = np.float32((float(upper) - float(lower)) / 3)
    codes = np.rint(np.clip((weight - lower) / scale, 0, 3)).astype(np.uint8).reshape(-1, 4)
    return codes[:, 0] | codes[:, 1] << 2 | codes[:, 2] << 4 | codes[:, 3] << 6


def round_blocks_in_numpy(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same with a lower bound and a scale for each block of 32."""
    blocks = weight.reshape(-1, 32)
    lower, upper = blocks.min(axis=1, keepdims=True), blocks.max(axis=1, keepdims=True)
    scale = (upper - lower) / np.float32(3)
    inverse = 1 / np.where(scale > 0, scale, np.float32(1))
    codes = np.rint(np.clip((blocks - lower) * inverse, 0, 3)).astype(np.uint8).reshape(-1, 4)
    packed = codes[:, 0] | codes[:, 1] << 2 | codes[:, 2] << 4 | codes[:, 3] << 6
    return packed, lower.astype(np.float16), scale.astype(np.float16)


def time_numpy(folder: Path, work, limit: float = 1e9) -> float:
    """CPU seconds a GB of float32 that `work` takes, over about `limit` bytes."""
    done = 0
    started = time.process_time()
    for shard in shards_of(folder):
        data = np.memmap(shard, dtype=np.uint8, mode="r")
        for name, entry in tensors_of(shard).items():
            if entry["dtype"] != "F32" or not name.endswith("_proj.weight"):
                continue
            start, end = entry["data_offsets"]
            work(np.frombuffer(data[start:end], dtype="<f4"))
            done += end - start
            if done >= limit:
                return (time.process_time() - started) / (done / 1e9)
    return (time.process_time() - started) / (max(done, 1) / 1e9)


def pack(binary: str, folder: Path, work: Path, threads: int) -> Run:
    recipe = work / "recipe.json"
    recipe.write_text(json.dumps(RECIPE))
    output = work / "model.condi"
    output.unlink(missing_ok=True)
    command = [binary, "convert", str(folder), str(output), "--recipe", str(recipe)]
    result = run(command + ["--quiet", "--threads", str(threads)])
    output.unlink()
    return result


def read_once(folder: Path) -> None:
    for path in folder.iterdir():
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 22):
                pass


def measure(binary: str, folder: Path, work: Path, threads: int, runs: int) -> dict[str, float]:
    total = sum(path.stat().st_size for path in folder.iterdir())
    read_once(folder)
    packed = sorted((pack(binary, folder, work, threads) for _ in range(runs)), key=lambda x: x.seconds)
    middle = packed[len(packed) // 2]
    largest = max(
        entry["data_offsets"][1] - entry["data_offsets"][0]
        for shard in shards_of(folder)
        for entry in tensors_of(shard).values()
    )
    return {
        "bytes": total,
        "largest": largest,
        "seconds": middle.seconds,
        "cpu": statistics.median(x.cpu_seconds for x in packed),
        "peak": max(x.peak_bytes for x in packed),
        "written": middle.written_bytes,
    }


def bytes_on_disk(*paths: Path) -> int:
    total = 0
    for path in paths:
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            pass
    return total


def consume(binary: str, folder: Path, work: Path, threads: int, options: list[str]) -> list[object]:
    copy, output = work / "copy", work / ("out.condi" if options else "out.safetensors")
    shutil.copytree(folder, copy)
    os.sync()  # until then not all blocks are given out
    paths = [*shards_of(copy), Path(f"{output}.part"), output]
    before = largest = bytes_on_disk(*paths)
    command = [binary, "convert", str(copy), str(output), "--consume-input", "--quiet", *options]
    child = subprocess.Popen([*command, "--threads", str(threads)], stdout=subprocess.DEVNULL)
    while child.poll() is None:
        largest = max(largest, bytes_on_disk(*paths))
        time.sleep(0.005)
    if child.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit status {child.returncode}")
    size = output.stat().st_size
    shutil.rmtree(copy)
    output.unlink()
    return [output.suffix, *(f"{count / 1e6:.0f}" for count in (before, size, largest - before))]


def line(cells: list[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def described(result: dict[str, float]) -> list[object]:
    gigabytes = result["bytes"] / 1e9
    return [
        f"{gigabytes:.2f}",
        f"{result['seconds']:.2f}",
        f"{result['cpu']:.2f}",
        f"{gigabytes / result['cpu']:.2f}",
        f"{result['peak'] / 1e6:.0f}",
        f"{result['largest'] / 1e6:.0f}",
        f"{result['written'] / 1e6:.0f}",
    ]


HEADINGS = [
    "GB read", "wall s", "CPU s", "GB per CPU second", "peak MB", "largest tensor MB", "MB written",
]


def slope(points: list[tuple[float, float]]) -> float:
    xs, ys = zip(*[(math.log(x), math.log(y)) for x, y in points])
    return statistics.linear_regression(xs, ys).slope


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("folder", type=Path)
    making.add_argument("--gigabytes", type=float, default=2)
    making.add_argument("--shard-megabytes", type=int, default=512)
    making.add_argument("--types", choices=["mixed", "float32"], default="mixed")
    making.add_argument(
        "--embedding", action="store_true", help="131 MB of bfloat16 that is kept, before the layers")
    measuring = commands.add_parser("measure")
    measuring.add_argument("binary")
    measuring.add_argument("folder", type=Path)
    measuring.add_argument("--runs", type=int, default=3)
    consuming = commands.add_parser("consume")
    consuming.add_argument("binary")
    consuming.add_argument("folder", type=Path)
    growing = commands.add_parser("grow")
    growing.add_argument("binary")
    growing.add_argument("--from", dest="first", type=float, default=0.1)
    growing.add_argument("--to", dest="last", type=float, default=20)
    growing.add_argument("--output", type=Path)
    growing.add_argument("--runs", type=int, default=1)
    for command in (measuring, consuming, growing):
        command.add_argument("--threads", type=int, default=1)
        command.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    if arguments.command == "make":
        make(
            arguments.folder, arguments.gigabytes, arguments.types, arguments.embedding,
            arguments.shard_megabytes << 20)
        return
    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        work = Path(name)
        if arguments.command == "consume":
            (work / "recipe.json").write_text(json.dumps(RECIPE))
            headings = ["to", "model MB", "output MB", "beyond the model MB"]
            print(line(headings), line(["---"] + ["---:"] * 3), sep="\n")
            for options in ([], ["--recipe", str(work / "recipe.json")]):
                print(line(consume(
                    arguments.binary, arguments.folder, work, arguments.threads, options)))
            return
        if arguments.command == "measure":
            result = measure(
                arguments.binary, arguments.folder, work, arguments.threads, arguments.runs)
            print(line(HEADINGS), line(["---:"] * len(HEADINGS)), line(described(result)), sep="\n")
            copied = run(["cp", "-r", str(arguments.folder), str(work / "copy")])
            rate = result["bytes"] / 1e9
            print(f"\ncp: {copied.seconds:.2f} s, {rate / copied.cpu_seconds:.2f} GB per CPU second")
            shutil.rmtree(work / "copy")
            for what, rounding in (("a tensor", round_in_numpy), ("a block", round_blocks_in_numpy)):
                rate = 1 / time_numpy(arguments.folder, rounding)
                print(f"NumPy, bounds {what}: {rate:.2f} GB of float32 per CPU second")
            return
        lines = [line(HEADINGS), line(["---:"] * len(HEADINGS))]
        points = []
        gigabytes = arguments.first
        while gigabytes <= arguments.last * 1.001:
            folder = work / "model"
            # In a process of its own: a child's peak counts what its parent once held.
            subprocess.run(
                [sys.executable, __file__, "make", str(folder), "--gigabytes", str(gigabytes)],
                check=True)
            result = measure(arguments.binary, folder, work, arguments.threads, arguments.runs)
            shutil.rmtree(folder)
            points.append(result)
            lines.append(line(described(result)))
            print(lines[-1], flush=True)
            gigabytes = arguments.last if gigabytes < arguments.last < 2 * gigabytes else 2 * gigabytes
        slopes = {key: slope([(point["bytes"], point[key]) for point in points])
                  for key in ("seconds", "cpu", "peak", "written")}
        lines += ["", "Powers of the bytes read that fit: {seconds:.2f} of the wall time, {cpu:.2f} of the "
                  "CPU time, {peak:.2f} of the peak, {written:.2f} of the bytes written.".format(**slopes)]
        text = "\n".join(lines) + "\n"
        print(text)
        if arguments.output is not None:
            arguments.output.write_text(text)


if __name__ == "__main__":
    main()
