"""The program condi-convert, called: conversions, evaluations, and any report as Python has it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ProgramError, ProgramNotFound

StrPath = str | os.PathLike[str]

NAME = "condi-convert"
VARIABLE = "CONDI_CONVERT"


@dataclass(frozen=True)
class Result:
    """What a run of the program printed. Its exit code is 0, or 1 for a finding."""

    exit_code: int
    output: str
    messages: str

    @property
    def is_finding(self) -> bool:
        """Whether there is a difference, or a check that failed."""
        return self.exit_code == 1


@dataclass(frozen=True)
class Conversion:
    """What `convert` wrote."""

    path: Path
    #: The report as `condi-convert convert --format json` prints it; empty where a format alone was changed.
    report: Mapping[str, Any] = field(repr=False)

    @property
    def byte_count(self) -> int:
        """The bytes of the file."""
        return self.path.stat().st_size

    @property
    def ratios(self) -> dict[str, float]:
        """How many times smaller a packed file is, counted as `paper`, `parameters` and `file` do."""
        found: dict[str, float] = self.report.get("summary", {}).get("ratios", {})
        return dict(found)


@dataclass(frozen=True)
class Score:
    """How well a model restored a data set, on average."""

    name: str
    #: In dB, on luma; None where every image is restored exactly.
    psnr: float | None
    ssim: float
    #: The PSNR minus that of what it is compared with; None for that itself.
    gain: float | None
    seconds_per_image: float


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measured: bicubic interpolation first, then the models."""

    scores: list[Score]
    #: The report as `condi-convert evaluate --format json` prints it.
    report: Mapping[str, Any] = field(repr=False)

    def __getitem__(self, name: str) -> Score:
        """The score of a model: its file's name without folder and extension."""
        for score in self.scores:
            if score.name == name:
                return score
        raise KeyError(name)


def find_program() -> str:
    """The path of condi-convert: what CONDI_CONVERT says, or else the one on PATH.

    Raises `ProgramNotFound`, which says what to install, if there is neither.
    """
    if named := os.environ.get(VARIABLE):
        if path := shutil.which(named):
            return os.path.abspath(path)
        raise ProgramNotFound(f"{VARIABLE} is '{named}', which is no program")
    if path := shutil.which(NAME):
        return path
    raise ProgramNotFound(
        f"{NAME} is not installed: there is none on PATH. In its repository 'make install "
        f"PREFIX=$HOME/.local' installs it below your home, 'make deb' makes a Debian package; or let "
        f"{VARIABLE} say where the program is. Reading packed files does not need it"
    )


def program_version() -> str:
    """The version of the program, such as `0.1.0`."""
    return run(["--version"]).output.split("\n", 1)[0].rpartition(" ")[2]


def run(arguments: Iterable[StrPath], *, progress: bool = False) -> Result:
    """Runs condi-convert, as `condi.run(["inspect", "model.pth"])`.

    With `progress`, its messages and, on a terminal, its progress bar go to standard error while it runs,
    and `messages` is empty. Raises `ProgramError` when it ends with an error, and `ProgramNotFound`.
    """
    if isinstance(arguments, str):
        raise TypeError("the arguments are a list, one string each")
    command = [find_program(), *(os.fspath(argument) for argument in arguments)]
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if progress else subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    messages = ended.stderr or ""
    if ended.returncode not in (0, 1):
        reason = messages.strip().removeprefix(f"{NAME}: ") or f"exit code {ended.returncode}"
        if ended.returncode < 0:
            reason = f"ended by signal {-ended.returncode}"
        raise ProgramError(reason, ended.returncode)
    return Result(ended.returncode, ended.stdout, messages)


def report(command: str, *arguments: StrPath, progress: bool = False) -> dict[str, Any]:
    """The report of a command, as `condi.report("inspect", "model.pth", "--sort", "condition")`.

    It is what `--format json` prints, which the schemas that are installed with the program describe;
    a finding is in it and no error. Raises what `run` does.
    """
    result = run([command, *arguments, "--format", "json"], progress=progress)
    found: dict[str, Any] = json.loads(result.output) if result.output.strip() else {}
    return found


def convert(
    source: StrPath,
    output: StrPath,
    *,
    bits: int | None = None,
    calibration_images: StrPath | None = None,
    calibration: StrPath | None = None,
    method: str | None = None,
    steps: int | None = None,
    force: bool = False,
    options: Iterable[StrPath] = (),
    progress: bool = False,
) -> Conversion:
    """Quantizes and packs a checkpoint, or changes its format, as `condi-convert convert` does.

    `calibration_images` and `calibration`, a file of `condi.recorder`, let activations be quantized as well;
    `options` are any others of the command. An existing output is replaced only with `force`. Raises what
    `run` does.
    """
    arguments: list[StrPath] = [source, output]
    for name, value in (
        ("--bits", bits),
        ("--calibration-images", calibration_images),
        ("--calibration", calibration),
        ("--method", method),
        ("--steps", steps),
    ):
        if value is not None:
            arguments += [name, str(value) if isinstance(value, int) else value]
    if force:
        arguments.append("--force")
    found = report("convert", *arguments, *options, progress=progress)
    return Conversion(Path(output), found)


def evaluate(
    models: StrPath | Iterable[StrPath],
    dataset: StrPath,
    *,
    against: StrPath | None = None,
    options: Iterable[StrPath] = (),
    progress: bool = False,
) -> Evaluation:
    """Measures models over a folder of images, as `condi-convert evaluate` does.

    Gains are over `against`, a model or "bicubic"; otherwise over the first of several models, or bicubic.
    `options` are any others of the command. Raises what `run` does.
    """
    paths = [models] if isinstance(models, (str, os.PathLike)) else list(models)
    arguments: list[StrPath] = [*paths, "--dataset", dataset]
    if against is not None:
        arguments += ["--against", against]
    found = report("evaluate", *arguments, *options, progress=progress)
    scores = [
        Score(
            name=method["name"],
            psnr=method.get("meanPSNR"),
            ssim=method["meanSSIM"],
            gain=method.get("gainPSNR"),
            seconds_per_image=method["meanSeconds"],
        )
        for method in found["methods"]
    ]
    return Evaluation(scores, found)
