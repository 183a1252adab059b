"""Runs condi-convert and the PyTorch baseline side by side; writes a Markdown table.

    python compare.py BINARY [--model NAME=PATH ...] [--runs 7] [--output results/convert-inspect.md]

Each command runs once unmeasured, then `--runs` times, the tools taking turns; with one run, that one counts. Reported are the
median wall and CPU times and the largest resident set of the process (`getrusage` of the child). PyTorch is
measured with one thread and with as many as there are CPUs, and the faster is compared: its
threads wait for each other in loops, which costs dearly where anything else runs. A machine that
was not idle is said so in the table. Ratios above 1 are in favour of condi-convert.

`convert` also compares results: how many of the quantized tensors got the same codes from both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "Examples"
MODELS = {"SwinIR-light ×2": EXAMPLES / "swinir_light_x2.pth"}
BASELINE = HERE / "baseline_convert_inspect.py"
MEASURED = HERE / "measured.py"
CPUS = os.cpu_count() or 1


@dataclass
class Run:
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    steps: dict[str, float]


@dataclass
class Tool:
    name: str
    command: list[str]
    threads: int | None = None

    def run(self, timings: Path) -> Run:
        environment = dict(os.environ)
        if self.threads is not None:
            environment |= {"OMP_NUM_THREADS": str(self.threads)}
        timings.unlink(missing_ok=True)
        child = subprocess.run(
            [sys.executable, "-S", str(MEASURED), *self.command], capture_output=True, env=environment
        )
        if child.returncode:
            raise SystemExit(f"{' '.join(self.command)}\n{child.stderr.decode(errors='replace')}")
        seconds, cpu_seconds, peak_bytes = map(float, child.stdout.split())
        steps = json.loads(timings.read_text()) if timings.exists() else {}
        return Run(seconds, cpu_seconds, int(peak_bytes), steps)


def median_run(runs: list[Run]) -> Run:
    """Medians of times, the largest of the peaks."""
    names = runs[0].steps.keys()
    return Run(
        statistics.median(run.seconds for run in runs),
        statistics.median(run.cpu_seconds for run in runs),
        max(run.peak_bytes for run in runs),
        {name: statistics.median(run.steps[name] for run in runs) for name in names},
    )


def turns(runs: int) -> list[bool]:
    """Whether each turn counts: the first does not, unless it is the only one asked for."""
    return [True] if runs == 1 else [False, *[True] * runs]


def measure(tools: list[Tool], runs: int, timings: Path) -> list[Run]:
    results: list[list[Run]] = [[] for _ in tools]
    for counts in turns(runs):
        for tool, found in zip(tools, results, strict=True):
            result = tool.run(timings)
            if counts:
                found.append(result)
    return [median_run(found) for found in results]


def agreement(npz: Path, packed: Path) -> str:
    """How many quantized tensors got the same codes from both tools."""
    sys.path.insert(0, str(HERE.parent / "python"))
    import condi
    import numpy as np

    with condi.open(packed) as ours, np.load(npz) as theirs:
        names = [name for name in ours.names if ours.record(name).encoding == "affine"]
        same = 0
        for name in names:
            bits = ours.record(name).bits
            codes = ours.codes(name).ravel()
            stream = np.unpackbits(theirs[f"{name}.codes"], bitorder="little")
            planes = stream[: codes.size * bits].reshape(-1, bits)
            same += np.array_equal(codes, planes @ (1 << np.arange(bits)))
    return f"{same} of {len(names)}"


def python_tools(task: list[str], timings: Path) -> list[Tool]:
    command = [sys.executable, str(BASELINE), "--timings", str(timings), *task]
    counts = sorted({1, CPUS})
    return [Tool(f"PyTorch, threads: {count}", command, count) for count in counts]


def megabytes(count: float) -> str:
    return f"{count / 1e6:.2f} MB"


def compare(binary: str, model: str, path: Path, runs: int, folder: Path) -> list[str]:
    """The table's rows for one model."""
    timings, npz, packed = folder / "timings.json", folder / "out.npz", folder / "out.condi"
    inspect_layers = ["--layers", "*.weight"]
    tasks: list[tuple[str, list[str], list[str], Callable[[], str]]] = [
        (
            "convert, 2 bits",
            ["convert", str(path), str(packed), "--bits", "2", "--force", "--quiet"],
            ["convert", str(path), str(npz), "--bits", "2"],
            lambda: f"output {megabytes(packed.stat().st_size)}, PyTorch's "
            f"{megabytes(npz.stat().st_size)}; same codes in {agreement(npz, packed)} tensors",
        ),
        (
            "inspect",
            ["inspect", str(path), "--quiet", *inspect_layers],
            ["inspect", str(path)],
            lambda: "singular values of every 2-D and 4-D weight",
        ),
    ]
    rows = []
    for label, ours, theirs, note in tasks:
        rivals = python_tools(theirs, timings)
        results = measure([Tool("condi-convert", [binary, *ours]), *rivals], runs, timings)
        own, rival = results[0], min(results[1:], key=lambda run: run.seconds)
        steps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in rival.steps.items())
        work = sum(seconds for name, seconds in rival.steps.items() if name != "import")
        rows.append(
            f"| {model} | {label} | {own.seconds:.3f} s | {rival.seconds:.2f} s "
            f"| {rival.seconds / own.seconds:.1f}× | {work / own.seconds:.1f}× "
            f"| {own.cpu_seconds:.2f} s | {rival.cpu_seconds:.2f} s "
            f"| {rival.cpu_seconds / own.cpu_seconds:.1f}× "
            f"| {megabytes(own.peak_bytes)} | {megabytes(rival.peak_bytes)} "
            f"| {rival.peak_bytes / own.peak_bytes:.1f}× | {steps} | {note()} |"
        )
        print(rows[-1])
    return rows


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def version(binary: str) -> list[str]:
    """The lines of the program's version; the last one names the vector level."""
    return subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout.splitlines()


def versions() -> str:
    query = "import torch, numpy; print(f'PyTorch {torch.__version__}, NumPy {numpy.__version__}')"
    return subprocess.run(
        [sys.executable, "-c", query], capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "convert-inspect.md")
    arguments = parser.parse_args()
    models = dict(MODELS)
    for item in arguments.model:
        name, _, path = item.partition("=")
        models[name] = Path(path)
    load = os.getloadavg()[0]
    rows: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in models.items():
            if not path.exists():
                print(f"{name}: {path} is not there, skipped", file=sys.stderr)
                continue
            rows += compare(arguments.binary, name, path, arguments.runs, Path(folder))
    if not rows:
        print("no model was there: nothing was measured", file=sys.stderr)
        return 1
    busy = "" if load < 0.5 else f" **The machine was not idle (load {load:.1f} at the start).**"
    text = f"""# convert and inspect, beside PyTorch

Made by `Benchmarks/compare.py`: medians of {arguments.runs} runs after one unmeasured run, the tools
taking turns; {platform.system()} on {platform.machine()}, {CPUS} CPUs. {", ".join(version(arguments.binary))}
against `baseline_convert_inspect.py` with {versions()}, Python {platform.python_version()}: the faster of one
and {CPUS} threads.{busy}

"without import" sets PyTorch's loading, computing and saving alone, inside a running Python, against
the whole run of condi-convert, which also checks every CRC-32 of the source and hashes it, finds
equal tensors, compresses buffers, and syncs its output to disk; the baseline does none of these.
Ratios above 1 are in favour of condi-convert.

| model | task | condi-convert | PyTorch | faster | without import | CPU time | PyTorch | less CPU | peak memory | PyTorch | less memory | PyTorch's steps (s) | |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
""" + "\n".join(rows) + "\n"
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text, encoding="utf-8")
    print(f"written to {arguments.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
