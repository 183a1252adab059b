"""Calling condi-convert: by a program that says what it was called with, and by the real one where it is."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import condi

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes CONDI_CONVERT a Python script that logs its arguments."""

    def make(body: str) -> Path:
        path = tmp_path / "program"
        log = tmp_path / "arguments.json"
        path.write_text(
            f"#!{sys.executable}\nimport json, sys\n"
            f"json.dump(sys.argv[1:], open({str(log)!r}, 'w'))\n{body}\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CONDI_CONVERT", str(path))
        return log

    return make


def test_versions_agree():
    source = (ROOT / "Sources/Formats/Tensor/Producer.swift").read_text(encoding="utf-8")
    found = re.search(r'static let version = "([^"]+)"', source)
    assert found is not None
    assert condi.__version__ == found[1]


def test_absent_program_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delenv("CONDI_CONVERT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(condi.ProgramNotFound, match="make install.*CONDI_CONVERT"):
        condi.run(["--version"])
    monkeypatch.setenv("CONDI_CONVERT", "/nowhere/condi-convert")
    with pytest.raises(condi.ProgramNotFound, match="'/nowhere/condi-convert', which is no program"):
        condi.find_program()


def test_program_is_found_on_path(tmp_path, monkeypatch):
    monkeypatch.delenv("CONDI_CONVERT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "condi-convert"
    path.write_text("#!/bin/sh\necho condi-convert 9.8.7\necho zlib 1\n")
    path.chmod(0o755)
    assert condi.find_program() == str(path)
    assert condi.program_version() == "9.8.7"


def test_exit_codes(program):
    program("print('out'); print('said', file=sys.stderr); sys.exit(1)")
    result = condi.run(["diff", Path("a"), "b"])
    assert (result.exit_code, result.output, result.messages) == (1, "out\n", "said\n")
    assert result.is_finding
    program("print('condi-convert: a.pth: there is no such file', file=sys.stderr); sys.exit(2)")
    with pytest.raises(condi.ProgramError) as raised:
        condi.run(["inspect", "a.pth"])
    assert str(raised.value) == "a.pth: there is no such file"
    assert raised.value.exit_code == 2
    with pytest.raises(TypeError, match="a list"):
        condi.run("inspect a.pth")
    program("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(condi.ProgramError, match="ended by signal 9"):
        condi.run(["inspect", "a.pth"])


def test_progress_goes_to_standard_error(program, capfd):
    program("print('half', file=sys.stderr)")
    assert condi.run(["inspect"], progress=True).messages == ""
    assert capfd.readouterr().err == "half\n"


def test_convert_passes_options_on(program, tmp_path):
    report = {"summary": {"ratios": {"file": 4.25, "paper": 3.5}}}
    log = program(f"print({json.dumps(json.dumps(report))})")
    output = tmp_path / "model.condi"
    output.write_bytes(b"12345")
    made = condi.convert(
        "model.pth", output, bits=2, calibration_images=Path("photos"), steps=0, force=True,
        options=["--patches", "4"])  # fmt: skip
    assert json.loads(log.read_text()) == [
        "convert", "model.pth", str(output), "--bits", "2", "--calibration-images", "photos",
        "--steps", "0", "--force", "--patches", "4", "--format", "json"]  # fmt: skip
    assert made.ratios == {"file": 4.25, "paper": 3.5}
    assert made.byte_count == 5
    program("")
    assert condi.convert("a.pth", output).ratios == {}


def test_evaluations_have_scores(program):
    methods = [
        {"name": "bicubic", "exactImages": [], "meanPSNR": 28.5, "meanSSIM": 0.9, "meanSeconds": 0.1,
         "gainPSNR": -1.5},
        {"name": "model", "exactImages": ["white"], "meanSSIM": 1, "meanSeconds": 2},
    ]  # fmt: skip
    log = program(f"print(json.dumps({{'methods': {methods!r}}}))")
    evaluation = condi.evaluate("model.condi", "Set5", against="model.pth")
    assert json.loads(log.read_text()) == [
        "evaluate", "model.condi", "--dataset", "Set5", "--against", "model.pth", "--format", "json"]  # fmt: skip
    assert evaluation["bicubic"].gain == -1.5
    assert evaluation["model"] == condi.Score("model", None, 1, None, 2)
    with pytest.raises(KeyError):
        evaluation["other"]


@pytest.mark.skipif(
    not (os.environ.get("CONDI_CONVERT") or shutil.which("condi-convert")),
    reason="there is no condi-convert: CONDI_CONVERT names none, and none is on PATH",
)
def test_real_program(tmp_path):
    model = ROOT / "Examples/swinir_light_x2.pth"
    assert condi.program_version() == condi.__version__
    made = condi.convert(model, tmp_path / "model.condi", bits=2)
    assert made.ratios["file"] > 4
    seen: list[tuple[int, int]] = []
    weights = condi.load(made.path, "*.qkv.weight", progress=lambda *reached: seen.append(reached))
    assert len(weights) == 24 == len(seen)
    assert all(array.shape == (180, 60) for array in weights.values())
    assert seen[-1][0] == seen[-1][1] < made.byte_count
    assert condi.report("verify", made.path)["isWhole"]
    with pytest.raises(condi.ProgramError, match="exists") as raised:
        condi.convert(model, made.path, bits=2)
    assert raised.value.exit_code == 2
    scores = condi.evaluate(made.path, ROOT / "Examples/images/evaluation", against=model)
    assert [score.name for score in scores.scores] == ["bicubic", "swinir_light_x2", "model"]
    gain = scores["model"].gain
    assert gain is not None and -1 < gain < 0


def command_line(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-m", "condi", *arguments], capture_output=True, text=True, env=environment)


def test_help_and_versions(program):
    program("print('condi-convert 1.2.3')")
    shown = command_line()
    assert shown.returncode == 0 and shown.stdout == command_line("--help").stdout
    for part in ("list", "verify", "dump", "examples:", "exit codes:", "CONDI_CONVERT"):
        assert part in shown.stdout
    assert all(len(line) <= 100 for line in shown.stdout.splitlines())
    assert command_line("--version").stdout == (
        f"condi {condi.__version__}\ncondi-convert 1.2.3 ({os.environ['CONDI_CONVERT']})\n")
    wrong = command_line("lst", "a.condi")
    assert wrong.returncode == 64 and "invalid choice: 'lst'" in wrong.stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_line_is_erased():
    terminal = Terminal()
    with condi.ProgressLine("loading", terminal) as progress:
        progress(1, 4)
        progress(2, 4)
    assert terminal.getvalue() == "\r\x1b[Kloading  25 %\r\x1b[K"
    elsewhere = io.StringIO()
    with condi.ProgressLine("loading", elsewhere) as progress:
        progress(1, 4)
    assert elsewhere.getvalue() == ""
