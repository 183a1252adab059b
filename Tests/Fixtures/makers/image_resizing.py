"""MATLAB's bicubic `imresize` from its definition, in NumPy float64."""

from __future__ import annotations

import numpy as np


def kernel(x: np.ndarray) -> np.ndarray:
    a = np.abs(x)
    inner = 1.5 * a**3 - 2.5 * a**2 + 1
    outer = -0.5 * a**3 + 2.5 * a**2 - 4 * a + 2
    return np.where(a <= 1, inner, np.where(a <= 2, outer, 0))


def contributions(inputs: int, outputs: int, factor: float, border: str):
    stretch = min(1.0, factor)
    center = np.arange(1, outputs + 1) / factor + 0.5 * (1 - 1 / factor)
    left = np.floor(center - 2 / stretch)
    position = left[:, None] + np.arange(int(np.ceil(4 / stretch)) + 2)
    weights = stretch * kernel(stretch * (center[:, None] - position))
    index = position.astype(int) - 1
    if border == "symmetric":
        mirrored = np.concatenate([np.arange(inputs), np.arange(inputs)[::-1]])
        index = mirrored[np.mod(index, 2 * inputs)]
    else:
        index = np.clip(index, 0, inputs - 1)
    return weights / weights.sum(1, keepdims=True), index


def resize(image: np.ndarray, factor: float, maximum: int | None, border: str = "symmetric"):
    """`image` is `[height, width, channels]`; the vertical pass comes first.

    With a `maximum`, each pass is rounded half up and clipped to 0…maximum, as for uint8.
    """

    def finish(values: np.ndarray) -> np.ndarray:
        return values if maximum is None else np.clip(np.floor(values + 0.5), 0, maximum)

    height, width = (round(side * factor) for side in image.shape[:2])
    values = image.astype(np.float64)
    weights, index = contributions(image.shape[0], height, factor, border)
    values = finish(np.einsum("op,opwc->owc", weights, values[index]))
    weights, index = contributions(image.shape[1], width, factor, border)
    return finish(np.einsum("op,hopc->hoc", weights, values[:, index]))
