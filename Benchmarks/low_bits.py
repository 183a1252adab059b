"""Times packed networks beside the same networks in full precision, at each vector level.

    python low_bits.py BINARY --calibration FOLDER --image FILE MODEL … [--before BINARY] [--runs 5]
        [--output results/low-bits.md]

Each model is packed at 4 bits, weights and the inputs of its layers, in four ways: with bounds that are the same for
all inputs, with bounds that follow each row, and with those of groups of 16 and of 32 values. One thread upscales a
square image; reported are the seconds of the forward pass, the least of all runs, which take turns. With --before, an
earlier program runs the same files as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from compare import HERE, processor
from PIL import Image

LEVELS = ("avx2", "avx512-vnni")
SCALINGS = ("tensor", "row", "group:16", "group:32")
SIDE = 512


def seconds(binary: str, model: Path, dataset: Path, level: str) -> float:
    done = subprocess.run(
        [
            binary, "evaluate", str(model), "--dataset", str(dataset), "--threads", "1", "--format", "json", "--quiet",
        ],
        check=True, capture_output=True, text=True, env=os.environ | {"CONDI_VECTOR_LEVEL": level},
    )
    return json.loads(done.stdout)["methods"][-1]["meanSeconds"]


def levels(binary: str) -> list[str]:
    """Those that the processor has."""

    def runs(level: str) -> bool:
        environment = os.environ | {"CONDI_VECTOR_LEVEL": level}
        return not subprocess.run([binary, "--version"], capture_output=True, env=environment).returncode

    return [level for level in LEVELS if runs(level)]


def rows(arguments: argparse.Namespace, path: Path, folder: Path) -> list[str]:
    models = {"full precision": path}
    for scaling in SCALINGS:
        models[scaling] = folder / f"{scaling.replace(':', '')}.condi"
        subprocess.run(
            [
                arguments.binary, "convert", str(path), str(models[scaling]), "--bits", "4", "--method", "2dquant",
                "--activation-scaling", scaling, "--steps", "0", "--calibration-images", arguments.calibration,
                "--patches", "4", "--force", "--quiet",
            ],
            check=True, stdout=subprocess.DEVNULL,
        )
    programs = {"": arguments.binary} | ({"before": arguments.before} if arguments.before else {})
    table = []
    for level in levels(arguments.binary):
        best: dict[tuple[str, str], float] = {}
        for _ in range(arguments.runs):
            for name, model in models.items():
                for program, binary in programs.items():
                    found = seconds(binary, model, folder / "set", level)
                    best[name, program] = min(found, best.get((name, program), found))
        for name in models:
            full = best["full precision", "before" if arguments.before else ""]
            before = f" {full / best[name, 'before']:.2f} |" if arguments.before else ""
            table.append(
                f"| {path.stem} | {level} | {name} | {1000 * best[name, '']:.1f} ms | {full / best[name, '']:.2f} |{before}")
        print("\n".join(table[-len(models):]), flush=True)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--before", help="an earlier program")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "low-bits.md")
    arguments = parser.parse_args()
    table = []
    with tempfile.TemporaryDirectory() as name:
        large = Path(name) / "set" / "HR" / "image.png"
        large.parent.mkdir(parents=True)
        Image.open(arguments.image).convert("RGB").resize((SIDE, SIDE), Image.BICUBIC).save(large)
        for model in arguments.models:
            table += rows(arguments, model, Path(name))
    before = " before |" if arguments.before else ""
    arguments.output.write_text(f"""# Packed networks beside full precision

Made by `Benchmarks/low_bits.py`: 4 bits, weights and inputs of layers, one thread; {processor()}.
The image is such that the result has {SIDE} × {SIDE} pixels. Milliseconds are those of a forward pass, the least of
{arguments.runs} runs that took turns; the factors are full precision's time{" in an earlier program" if arguments.before else ""} divided by the row's:
above 1, the packed network is faster{"; before, both in the earlier program" if arguments.before else ""}. Bounds of activations are the same for all
values (tensor), or follow each row or group of values.

| network | level | bounds of inputs | time | faster |{before}
|---|---|---|--:|--:|{"--:|" if arguments.before else ""}
""" + "\n".join(table) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
