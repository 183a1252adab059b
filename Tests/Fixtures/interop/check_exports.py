"""Exports packed models with condi-convert, opens the results with the runtimes' own packages, and
compares what they compute with the report; then imports checkpoints and compares those.

    python check_exports.py path/to/condi-convert

Packed files are read by the Python reader, not by the tool. A tensor that the report calls exact must
be equal in every element, and one that it calls lossy must differ by just the error that it states.
Exit code 1 on any difference. Needs requirements.txt.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import runtimes

FIXTURES = Path(__file__).resolve().parent.parent
ROOT = FIXTURES.parent.parent
sys.path.insert(0, str(ROOT / "python"))
import condi  # noqa: E402

EXAMPLE = ROOT / "Examples/swinir_light_x2.pth"
# How the example is packed: bits, granularity, and whether a runtime may lack a form for it.
PACKINGS = [
    ("2", "tensor"), ("1", "channel"), ("3", "channel"), ("4", "tensor"), ("4", "group:32"),
    ("5", "channel"), ("6", "tensor"), ("8", "channel"), ("2", "group:20"), ("7", "group:64"),
]  # fmt: skip


def run(tool: str, *arguments: object) -> dict:
    command = [tool, *map(str, arguments), "--quiet", "--format", "json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if result.returncode != 0:
        raise RuntimeError(result.stderr.strip())
    return json.loads(result.stdout)


def values(file: condi.PackedFile, name: str) -> np.ndarray:
    array = file.tensor(name)
    if file.element_type(name) == "bfloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array


def compare(record: dict, found: np.ndarray, expected: np.ndarray) -> str | None:
    """What is wrong with a tensor, if anything."""
    columns = record.get("paddedColumns", expected.shape[-1] if expected.ndim else 0)
    if expected.ndim:
        if found.shape[-1] != columns:
            return f"rows of {found.shape[-1]}, expected {columns}"
        found = found[..., : expected.shape[-1]]
    if found.size != expected.size:
        return f"shape {found.shape}, expected {expected.shape}"
    found = found.reshape(expected.shape)
    if expected.dtype.kind not in "fc":
        return None if np.array_equal(found, expected) else "different elements"
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    error = float(difference.max(initial=0))
    if (record["fidelity"] == "exact") != (error == 0) or error != record["largestError"]:
        return f"{record['fidelity']} with {record['largestError']}, but differs by {error}"
    return None


def check_exports(tool: str, folder: Path) -> tuple[int, list[str]]:
    models = [FIXTURES / "export/sample.condi"]
    for bits, granularity in PACKINGS:
        path = folder / f"{bits}-{granularity.replace(':', '-')}.condi"
        run(tool, "convert", EXAMPLE, path, "--bits", bits, "--granularity", granularity)
        models.append(path)
    count, problems = 0, []
    for model in models:
        with condi.open(model) as file:
            for target, read in runtimes.READERS.items():
                output = folder / f"{model.stem}.{target.replace(' ', '')}"
                target, *options = target.split()
                report = run(
                    tool, "export", model, output, "--to", target, "--pad", "--dequantize", *options
                )
                found = read(output)
                names = [record["name"] for record in report["tensors"]]
                if sorted(names) != sorted(found) or names != file.names:
                    problems.append(f"{model.name} to {target}: other names")
                    continue
                for record in report["tensors"]:
                    name = record["name"]
                    count += 1
                    if problem := compare(record, found[name], values(file, name)):
                        problems.append(f"{model.name} to {target}: '{name}': {problem}")
    return count, problems


def check_products(tool: str, folder: Path) -> tuple[int, list[str]]:
    """Compares products of random inputs with those of the matrices that `read_matmul` finds."""
    def inputs(columns: int) -> np.ndarray:
        return np.random.default_rng(columns).standard_normal((9, columns)).astype(np.float32)

    count, problems = 0, []
    for model in [FIXTURES / "export/sample.condi", *sorted(folder.glob("*.condi"))]:
        plain = folder / "plain.onnx"
        for zeros in ([], ["--integer-zeros"]):
            arguments = ["export", model, plain, "--to", "onnx-matmulnbits", "--dequantize", "--force"]
            run(tool, *arguments, *zeros)
            matrices = runtimes.read_matmul(plain)
            # Inputs of int8 have 127 steps.
            for more, tolerance in ([], 1e-5), (["--int8-inputs"], 0.02):
                run(tool, *arguments, *zeros, *more)
                for name, found in runtimes.run_layers(plain, inputs)[0].items():
                    count += 1
                    expected = inputs(matrices[name].shape[1]) @ matrices[name].T
                    error = np.abs(found - expected).max() / np.abs(expected).max()
                    if not error <= tolerance:
                        problems.append(f"{model.name} {zeros + more}: '{name}' differs by {error}")
    return count, problems


def check_imports(tool: str, folder: Path) -> tuple[int, list[str]]:
    from safetensors.torch import load_file

    cases = [("mlx", FIXTURES / "import/mlx", FIXTURES / "import/mlx-values.safetensors")]
    for path in sorted((FIXTURES / "import").glob("gptq*")):
        cases.append(("gptq", path, path / "values.safetensors"))
    for path in sorted((FIXTURES / "import").glob("compressed-*")):
        cases.append(("compressed-tensors", path, path / "values.safetensors"))
    cases.append(("awq", FIXTURES / "logical/awq", FIXTURES / "logical/awq/values.safetensors"))
    count, problems = 0, []
    for source, path, expected in cases:
        output = folder / f"{path.name}.imported.condi"
        report = run(tool, "import", path, output, "--from", source)
        records = {record["name"]: record for record in report["tensors"]}
        with condi.open(output) as file:
            file.verify()
            for name, tensor in load_file(expected).items():
                count += 1
                if problem := compare(records[name], values(file, name), tensor.float().numpy()):
                    problems.append(f"{path.name}: '{name}': {problem}")
    return count, problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool")
    tool = parser.parse_args().tool
    with tempfile.TemporaryDirectory() as name:
        exported, problems = check_exports(tool, Path(name))
        products, wrong = check_products(tool, Path(name))
        imported, others = check_imports(tool, Path(name))
    problems += wrong + others
    for problem in problems:
        print(problem)
    print(f"{exported} exported and {imported} imported tensors and {products} products compared, "
          f"{len(problems)} not as reported")  # fmt: skip
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
