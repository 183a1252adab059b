"""Measures what conditioning weights before they are quantized is worth; writes a Markdown table.

    python conditioning.py BINARY --calibration FOLDER --testsets FOLDER [--weights FOLDER]
        [--networks SPAN_x4.pth ...] [--settings NAME ...] [--seeds 2] [--output results/conditioning.md]

One factor at a time: ranges of activations, with and without learning, networks, target condition numbers
and the penalty, which is the other proximal operator. Everything is calibrated on 16 patches, and measured
on Set5 and on the first 20 images of B100. DAT-light ×2 is converted once a seed, which draws the patches;
other networks once. What is measured stands in a JSON file beside the table, and is not measured again.
Files as `accuracy.py` takes them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from accuracy import (
    Measurements, Model, argument_parser, commit, dat_light, evaluate, other_networks, signed,
)
from compare import HERE
from compare import version as version_of

VARIANTS = {
    "as it is": ("--target-condition", "1e300"),
    "κ ≤ 100": ("--target-condition", "100"),
    "κ ≤ 28": ("--target-condition", "28"),
    "κ ≤ 10": ("--target-condition", "10"),
    "penalty": ("--penalty", "1e-3"),
}
IMAGE_COUNT = 20
# What a user can do with the table.
ADVICE = (
    "**With `best`, leave conditioning off, as it is unless asked for (`--target-condition`).** With ranges of groups at "
    "3 bits, κ ≤ 28 costs networks of convolutions and HiT-SR 0.1 to 0.25 dB on Set5, and κ ≤ 10 up to 1.8; on DAT-light "
    "it makes no difference beyond that of seeds. With static ranges differences go either way, within 0.16 dB. It gains "
    "where ranges are those from the least to the greatest value: 0.9 dB at 4 bits with κ ≤ 28.",
)


@dataclass(frozen=True)
class Setting:
    bits: int
    arguments: tuple[str, ...]
    # Whether weights are conditioned by a command of their own, as the method itself does not.
    is_apart: bool = False
    only_first: bool = False


SETTINGS = {
    "best, static": Setting(3, ("--method", "best", "--activation-scaling", "tensor", "--steps", "0")),
    "best, groups of 16": Setting(3, ("--method", "best", "--steps", "0")),
    "DOBI, static": Setting(3, ("--method", "condiquant", "--steps", "0"), only_first=True),
    "min–max, static": Setting(4, ("--method", "minmax", "--steps", "0"), is_apart=True, only_first=True),
    "best, static, 50 steps": Setting(
        3, ("--method", "best", "--activation-scaling", "tensor", "--steps", "50"), only_first=True),
}


def convert(options, model: Model, setting: Setting, variant: str, seed: int, folder: Path) -> Path:
    calibration = ["--calibration-images", str(options.calibration), "--patches", "16", "--seed", str(seed)]
    common = ["--threads", str(options.threads), "--quiet"]
    source, packed = model.path, folder / "model.condi"
    how = VARIANTS[variant]
    if setting.is_apart:
        source = folder / "conditioned.safetensors"
        command = [options.binary, "condition", str(model.path), str(source), *how, *calibration, *common]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        how = ()
    subprocess.run(
        [
            options.binary, "convert", str(source), str(packed), "--bits", str(setting.bits), *setting.arguments,
            *how, *calibration, *common,
        ],
        check=True, stdout=subprocess.DEVNULL,
    )
    return packed


def measure(options, model: Model, name: str, variant: str, seed: int, sets: dict[str, Path]) -> dict[str, float]:
    if name == "full precision":
        return {key: evaluate(options, model.path, model.scale, path)["model"][0] for key, path in sets.items()}
    with tempfile.TemporaryDirectory() as folder:
        packed = convert(options, model, SETTINGS[name], variant, seed, Path(folder))
        return {key: evaluate(options, packed, model.scale, path)["model"][0] for key, path in sets.items()}


def key_of(model: Model, name: str, variant: str, seed: int) -> str:
    return f"{model.name} ×{model.scale}; {name}; {variant}; seed {seed}"


def document(options, plan: list, rows: dict, version: str, sets: dict[str, Path]) -> str:
    commits = sorted({row["commit"] for row in rows.values()})
    lines = [
        "# What conditioning is worth", "",
        f"By `Benchmarks/conditioning.py`, which says how, {version} at commit {', '.join(commits)}. "
        "What is lost against full precision, in dB of PSNR on Set5 and on 20 images of B100; where there are two "
        "seeds, their mean, and how far apart the two are at most.", "",
        *ADVICE, "",
        "| network | bits | method, ranges | " + " | ".join(VARIANTS) + " | apart |",
        "|---|--:|---|" + "--:|" * len(VARIANTS) + "--:|",
    ]
    for model, name, seeds in plan:
        full = rows.get(key_of(model, "full precision", "as it is", 0))
        if full is None:
            continue
        cells, spread = [], 0.0
        for variant in VARIANTS:
            found = [rows.get(key_of(model, name, variant, seed)) for seed in range(seeds)]
            found = [row["psnr"] for row in found if row]
            lost = {key: [row[key] - full["psnr"][key] for row in found] for key in sets}
            cells.append(" / ".join(signed(mean(values)) for values in lost.values()) if found else "")
            spread = max([spread, *(max(values) - min(values) for values in lost.values() if values)])
        apart = f"{spread:.2f}" if seeds > 1 else ""
        first = [f"{model.name} ×{model.scale}", str(SETTINGS[name].bits), name]
        lines.append("| " + " | ".join([*first, *cells, apart]) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "conditioning.md")
    options = parser.parse_args()
    version = version_of(options.binary)[0]
    measurements = Measurements(options.output.with_suffix(".json"))
    models = dat_light(options.weights, options.cache, [2]) + other_networks(options.networks, [2, 3, 4])
    plan = []
    for model in models:
        is_first = model is models[0]
        for name in options.settings:
            if is_first or not SETTINGS[name].only_first:
                plan.append((model, name, options.seeds if is_first else 1))
    with tempfile.TemporaryDirectory() as folder:
        few = Path(folder) / "B100" / "HR"
        few.mkdir(parents=True)
        for image in sorted((options.testsets / "B100" / "HR").iterdir())[:IMAGE_COUNT]:
            (few / image.name).symlink_to(image.resolve())
        sets = {"Set5": options.testsets / "Set5", "B100": few.parent}
        wanted = [(model, "full precision", "as it is", 0) for model in models]
        wanted += [
            (model, name, variant, seed)
            for model, name, seeds in plan for seed in range(seeds) for variant in VARIANTS
        ]
        for row in wanted:
            if (key := key_of(*row)) not in measurements.rows:
                print(f"conditioning.py: {key}", file=sys.stderr, flush=True)
                measurements.rows[key] = {"commit": commit(), "psnr": measure(options, *row, sets)}
                measurements.save()
            options.output.write_text(document(options, plan, measurements.rows, version, sets))


if __name__ == "__main__":
    main()
