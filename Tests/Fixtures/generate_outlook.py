"""Writes outlook.json: layers with inputs, and the SQNR of their outputs when both are rounded.

    python Tests/Fixtures/generate_outlook.py

Weight and inputs are rounded to nearest between their smallest and largest values, at 2, 3 and 4
bits, and outputs are compared with those in full precision: the oracle of what `inspect
--calibration` predicts from the weight and the moments alone.
"""

import json
from pathlib import Path

import numpy as np

OUTPUTS, INPUTS, ROWS = 16, 24, 20_000


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    lower, upper = values.min(), values.max()
    step = (upper - lower) / (2**bits - 1)
    return lower + step * np.rint((values - lower) / step)


def cases(rng: np.random.Generator):
    for name in ["white", "correlated", "low-rank", "outliers", "rectified", "aligned", "shifted"]:
        weight = rng.normal(size=(OUTPUTS, INPUTS)) / np.sqrt(INPUTS)
        inputs = rng.normal(size=(ROWS, INPUTS))
        mix = rng.normal(size=(INPUTS, INPUTS)) / np.sqrt(INPUTS)
        if name == "correlated":
            inputs = inputs @ (mix + 0.3 * np.eye(INPUTS))
        elif name == "low-rank":
            inputs = rng.normal(size=(ROWS, 6)) @ mix[:6] + 0.05 * inputs
        elif name == "outliers":
            inputs[:, [3, 17]] *= 20
        elif name == "rectified":
            inputs = np.maximum(inputs, 0)
        elif name == "aligned":
            inputs = 2 * rng.normal(size=(ROWS, 3)) @ mix[:3] + 0.2 * inputs
            weight += rng.normal(size=(OUTPUTS, 3)) @ np.linalg.qr(mix[:3].T)[0].T
        elif name == "shifted":
            inputs = 0.3 * inputs + 1.5
        yield name, weight.astype(np.float32).astype(float), inputs.astype(np.float32).astype(float)


def main() -> None:
    documents = []
    for name, weight, inputs in cases(np.random.default_rng(3)):
        outputs = inputs @ weight.T
        energy = (outputs**2).sum()
        measured = []
        for bits in (2, 3, 4):
            error = outputs - rounded(inputs, bits) @ rounded(weight, bits).T
            measured.append(10 * np.log10(energy / (error**2).sum()))
        second = inputs.T @ inputs / ROWS
        alignment = energy / ROWS / ((weight**2).sum() * np.trace(second))
        spread = inputs.max() - inputs.min()
        concentration = np.trace(second) / (INPUTS * spread**2)
        documents.append({
            "name": name,
            "weight": weight.ravel().tolist(),
            "mean": inputs.mean(axis=0).tolist(),
            "secondMoment": second.ravel().tolist(),
            "edges": [inputs.min(), inputs.max()],
            "histogram": np.histogram(inputs, bins=2048)[0].tolist(),
            "alignment": 10 * np.log10(alignment),
            "concentration": 10 * np.log10(concentration),
            "measured": measured,
        })
    shorten = lambda value: (
        [shorten(item) for item in value] if isinstance(value, list)
        else float(f"{value:.7g}") if isinstance(value, float) else value
    )
    lines = [json.dumps({key: shorten(value) for key, value in case.items()}) for case in documents]
    Path(__file__).with_name("outlook.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
    for case in documents:
        print(case["name"], [round(float(value), 2) for value in case["measured"]])


if __name__ == "__main__":
    main()
