"""Writes bounds.json: golden results of the bound search, from the definition in NumPy.

Run with NumPy 2: `python3 generate_bounds.py`. Elementwise arithmetic is float32, as a stored
quantizer's is; bounds are computed in float64; the sum of squares is float64 in the order that the
Swift kernel documents, so that even ties between candidates fall the same way.
"""

import json
import pathlib

import numpy as np


def quantize(x, lower, scale, bits):
    """The stored quantizer: codes, then values, in float32."""
    if not scale > 0:
        return np.full_like(x, lower)
    code = np.clip(np.rint((x - lower) / scale), np.float32(0), np.float32(2**bits - 1))
    return lower + scale * code


def squared_error(x, lower, scale, bits):
    with np.errstate(over="ignore", invalid="ignore"):
        difference = (x - quantize(x, lower, scale, bits)).astype(np.float64)
    squares = np.zeros(-(-len(x) // 8) * 8)
    squares[: len(x)] = difference * difference
    # cumsum adds one after the other, unlike sum.
    s = np.cumsum(squares.reshape(-1, 8), axis=0)[-1]
    return float(((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])))


def parameters(l, u, bits, dtype):
    """Float32 parameters, and the same as stored."""
    lower, scale = np.float32(l), np.float32((u - l) / (2**bits - 1))
    return (lower, scale), (np.float32(dtype(lower)), np.float32(dtype(scale)))


def search(x, method, bits, dtype):
    low, high = float(x.min()), float(x.max())
    if low == high:
        return np.float32(low), np.float32(0), 0, squared_error(x, np.float32(dtype(low)), 0, bits)
    candidates = 1 if method == "minmax" else 100
    step = (high - low) / (200 if method == "dobi" else 100)
    best = None
    for i in range(candidates):
        l = low + i * step if method == "dobi" else low
        found, stored = parameters(l, high - i * step, bits, dtype)
        error = squared_error(x, *stored, bits)
        if best is None or error < best[3]:
            best = (*found, i, error)
    return best


def inputs(rng):
    yield "normal", rng.standard_normal(611)
    yield "uniform", rng.uniform(-0.3, 0.7, 256)
    yield "long-tailed", rng.standard_t(2, 500) * 0.05
    yield "softmax", (lambda e: e / e.sum())(np.exp(2 * rng.standard_normal(333)))
    yield "offset", 100 + rng.standard_normal(97) * 0.01
    yield "tiny", rng.standard_normal(64) * 1e-3
    yield "short", rng.standard_normal(3)
    yield "two values", np.array([-1.0, 2.0, 2.0, -1.0, 2.0])
    yield "constant", np.full(17, 0.1)
    yield "zero", np.zeros(9)


def main():
    rng = np.random.default_rng(20240606)
    cases = []
    for name, values in inputs(rng):
        x = values.astype(np.float32)
        results = []
        for method in ("minmax", "dobi", "dobi-one-sided"):
            for bits in (1, 2, 3, 4, 8):
                for dtype in (np.float32, np.float16):
                    lower, scale, index, error = search(x, method, bits, dtype)
                    results.append({
                        "method": method, "bits": bits, "parameterType": dtype.__name__,
                        "lower": float(lower), "scale": float(scale), "candidate": index,
                        "squaredError": error})
        # Every float32 is exact in JSON's shortest float64 form.
        cases.append({"name": name, "values": [float(v) for v in x], "results": results})
    text = ",\n".join(json.dumps(case) for case in cases)
    path = pathlib.Path(__file__).with_name("bounds.json")
    path.write_text(f'{{"cases": [\n{text}\n]}}\n')


if __name__ == "__main__":
    main()
