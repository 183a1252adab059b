"""Writes power_law.json: exponents that the `powerlaw` package and WeightWatcher's own loop fit.

    pip install powerlaw==2.0.0 && python generate_power_law.py

The data are given by formulas, which PowerLawFitTests repeats.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import powerlaw


def samples(count: int, exponent: float, wobble: float) -> list[float]:
    return [(k + 1) ** -exponent * (1 + wobble * math.sin(3 * k)) for k in range(count)]


def weightwatcher(data: np.ndarray) -> tuple[float, float]:
    """The loop of WeightWatcher 0.7.7, WWFit.fit_power_law."""
    logs = np.log(data)
    best = (math.inf, 0.0, 0.0)
    for index, start in enumerate(data[:-1]):
        count = float(len(data) - index)
        alpha = 1 + count / (np.sum(logs[index:]) - count * logs[index])
        if alpha > 1:
            law = 1 - (data[index:] / start) ** (1 - alpha)
            distance = float(np.max(np.abs(law - np.arange(count) / count)))
            best = min(best, (distance, alpha, float(start)), key=lambda item: item[0])
    return best[1], best[2]


def main() -> int:
    cases = []
    for count, exponent, wobble in [(8, 1.0, 0.1), (40, 1.3, 0.1), (200, 0.7, 0.2), (500, 2.0, 0.3)]:
        data = np.sort(np.array(samples(count, exponent, wobble)))
        fit = powerlaw.Fit(data, verbose=False)
        alpha, start = weightwatcher(data)
        print(count, fit.power_law.alpha, alpha, fit.xmin, start, file=sys.stderr)
        cases.append(
            {
                "count": count, "exponent": exponent, "wobble": wobble,
                "powerlaw": {"alpha": float(fit.power_law.alpha), "start": float(fit.xmin)},
                "weightwatcher": {"alpha": alpha, "start": start},
            }
        )
    path = Path(__file__).with_name("power_law.json")
    path.write_text(json.dumps(cases, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
