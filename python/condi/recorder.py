"""Records what flows into a PyTorch model's layers, for `condi-convert --calibration`.

    from condi.recorder import Recorder

    with Recorder(model) as recorder, torch.no_grad():
        for batch in batches:
            model(batch)
    recorder.save("stats.calib.npz")

Forward hooks watch every `torch.nn.Linear`; `observe` takes what no module's input shows, called by
the model's own code:

    recorder.observe("layers.0.attn.query", q * scale)
    recorder.observe("layers.0.attn.probabilities", weights)  # [..., queries, keys]

The last axis of values is a row. At layers' inputs that is a token's features, and moments of the
rows are kept. At `.probabilities` it is a query's weights over all keys: the axis of the softmax,
which may be of another length in each call and has no moments. How values of both kinds lie in
their rows is kept besides.

Only sums are kept, whatever the number of samples. The file is described in
`Sources/Formats/Formats.docc/Calibration.md`. Needs PyTorch and NumPy.

A second run over the same samples with `quantizers` also records what quantized inputs look like,
which the method `best` makes use of:

    with Recorder(model, quantizers={2: recorder.bounds(2)}) as second, torch.no_grad():
        ...

`record` does both runs in one call, for batches that can be gone through twice:

    condi.recorder.record(model, batches, bits=2).save("stats.calib.npz")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from operator import length_hint
from pathlib import Path
from typing import Any

import numpy as np
import torch

from condi.header import group_size
from condi.progress import Progress

VERSION = 2
BIN_COUNT = 2048
KINDS = ("input", "query", "key", "value", "probabilities")
# Kinds whose quantizers may measure bounds in each row's largest magnitude.
SCALED_KINDS = ("input", "probabilities")
# Rows whose largest magnitude is below this count as zeros, and groups whose values are less far apart
# as one value.
LEAST_MAGNITUDE = 1e-30
Bounds = tuple[float, float]
Ranges = tuple[torch.Tensor, torch.Tensor]


class Histogram:
    """Counts in bins of a width that is a power of two, aligned at zero.

    A value lies in bin floor(value / width). The width is the least for which all values fit in
    `BIN_COUNT` bins, so the histogram depends on the values alone, not on their order.
    """

    def __init__(self) -> None:
        self.minimum = math.inf
        self.maximum = -math.inf
        self.exponent = 0
        self.first = 0
        self.counts = np.zeros(BIN_COUNT, np.int64)

    def _exponent(self) -> int:
        largest = max(abs(self.minimum), abs(self.maximum))
        exponent = math.frexp(largest)[1] - 1 - 40 if largest > 0 else -140
        while True:
            width = math.ldexp(1.0, exponent)
            if math.floor(self.maximum / width) - math.floor(self.minimum / width) < BIN_COUNT:
                return exponent
            exponent += 1

    def add(self, values: np.ndarray) -> None:
        if values.size == 0:
            return
        is_empty = self.minimum > self.maximum
        self.minimum = min(self.minimum, float(values.min()))
        self.maximum = max(self.maximum, float(values.max()))
        exponent = self._exponent()
        width = math.ldexp(1.0, exponent)
        first = math.floor(self.minimum / width)
        counts = np.zeros(BIN_COUNT, np.int64)
        if not is_empty:
            steps = exponent - self.exponent
            occupied = np.flatnonzero(self.counts)
            bins = ((occupied + self.first) >> steps) - first
            np.add.at(counts, bins, self.counts[occupied])
        bins = np.floor(values / width).astype(np.int64) - first
        counts += np.bincount(bins, minlength=BIN_COUNT)
        self.exponent, self.first, self.counts = exponent, first, counts

    @property
    def edges(self) -> np.ndarray:
        width = math.ldexp(1.0, self.exponent)
        return np.array([self.first * width, (self.first + BIN_COUNT) * width])

    def weighted_values(self) -> tuple[np.ndarray, np.ndarray]:
        """What the bins stand for, and how much each counts."""
        left, right = self.edges
        centers = left + (np.arange(BIN_COUNT) + 0.5) * (right - left) / BIN_COUNT
        return centers.clip(self.minimum, self.maximum), self.counts

    @property
    def range(self) -> Bounds:
        return self.minimum, self.maximum


class RowHistogram:
    """Where values lie relative to what is around them, (x - c) / m, in bins from -1 to 1.

    Of whole rows c is 0 and m the largest magnitude, of groups c is the middle of their range and m
    half of it. Each bin has the sum of m² of its values: what a quantizer c + m · Q((x - c) / m) loses
    on all rows is then a sum over the bins.
    """

    def __init__(self) -> None:
        self.energies = np.zeros(BIN_COUNT)

    def add(self, rows: np.ndarray, least: np.ndarray, greatest: np.ndarray) -> None:
        """The range of each value, as `ranges` gives it; empty ones are left out."""
        centers, magnitudes = (greatest + least) / 2, (greatest - least) / 2
        kept = magnitudes > 0
        rows, centers, magnitudes = rows[kept], centers[kept], magnitudes[kept]
        bins = np.floor(((rows - centers) / magnitudes + 1) * (BIN_COUNT / 2)).astype(np.int64)
        self.energies += np.bincount(bins.clip(0, BIN_COUNT - 1), magnitudes**2, BIN_COUNT)

    @property
    def is_empty(self) -> bool:
        return not self.energies.any()

    def weighted_values(self) -> tuple[np.ndarray, np.ndarray]:
        """What the bins stand for, and how much each counts."""
        return (np.arange(BIN_COUNT) + 0.5) / (BIN_COUNT / 2) - 1, self.energies

    @property
    def range(self) -> Bounds:
        """The edges of the first and the last bin that have values."""
        first, last = np.flatnonzero(self.energies)[[0, -1]]
        return float(first / (BIN_COUNT / 2) - 1), float((last + 1) / (BIN_COUNT / 2) - 1)


def row_magnitudes(rows: torch.Tensor) -> torch.Tensor:
    """The largest magnitude of each row, as a column; 0 where the row counts as zeros."""
    magnitudes = rows.abs().amax(1, keepdim=True)
    return magnitudes.where(magnitudes >= LEAST_MAGNITUDE, 0.0)


def ranges(rows: torch.Tensor, scaling: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Where -1 and 1 lie for each value of rows, by rows or groups: of the same shape as those."""
    size = group_size(scaling)
    if size is None:
        magnitudes = row_magnitudes(rows).expand_as(rows)
        return -magnitudes, magnitudes
    least, greatest = torch.empty_like(rows), torch.empty_like(rows)
    for first in range(0, rows.shape[1], size):
        group = slice(first, first + size)
        extremes = rows[:, group].aminmax(dim=1, keepdim=True)
        least[:, group] = extremes.min
        # As much as nothing between them.
        is_one = extremes.max - extremes.min < LEAST_MAGNITUDE
        greatest[:, group] = torch.where(is_one, extremes.min, extremes.max)
    return least, greatest


class QuantizedMoments:
    """Moments of x̂ = Q(x), the quantized rows, together with those of x."""

    def __init__(self, bits: int, bounds: Bounds, columns: int) -> None:
        self.bits = bits
        self.lower, self.upper = (float(np.float32(bound)) for bound in bounds)
        self.sum = torch.zeros(columns, dtype=torch.float64)
        self.second = torch.zeros(columns, columns, dtype=torch.float64)
        self.cross = torch.zeros(columns, columns, dtype=torch.float64)

    def quantize(self, rows: torch.Tensor, measured: Ranges | None) -> torch.Tensor:
        """The images of rows, with bounds in what each value is measured in, or in themselves."""
        lower, upper = (torch.tensor(b, dtype=rows.dtype) for b in (self.lower, self.upper))
        if measured is not None:
            least, greatest = measured
            lower, upper = (
                least * ((1 - bound) / 2) + greatest * ((1 + bound) / 2) for bound in (lower, upper)
            )
        scale = (upper - lower) / (2**self.bits - 1)
        images = ((rows.clamp(lower, upper) - lower) / scale).round() * scale + lower
        return torch.where(scale > 0, images, lower)

    def add(self, rows: torch.Tensor, measured: Ranges | None) -> None:
        quantized = self.quantize(rows, measured)
        self.sum += quantized.sum(0)
        self.second += quantized.T @ quantized
        self.cross += rows.T @ quantized


class Site:
    """The sums of one place in the model.

    Moments are those of rows of `columns` values, none where that is 1.
    """

    def __init__(
        self, name: str, columns: int, quantizers: Mapping[int, Bounds], scaling: str
    ) -> None:
        self.columns = columns
        self.row_count = 0
        self.histogram = Histogram()
        kind = name.rpartition(".")[2]
        self.rows = RowHistogram() if kind in SCALED_KINDS else None
        self.scaling = scaling if kind in SCALED_KINDS else "tensor"
        if kind == "probabilities" and scaling != "tensor":
            self.scaling = "row"
        self.sum = torch.zeros(columns, dtype=torch.float64)
        self.second = torch.zeros(columns, columns, dtype=torch.float64)
        for bounds in quantizers.values():
            if self.scaling != "tensor" and max(map(abs, bounds)) > 1:
                raise ValueError(f"'{name}' has bounds beyond -1 and 1, which no scaled row has")
        self.quantized = [
            QuantizedMoments(bits, bounds, columns)
            for bits, bounds in quantizers.items()
            if columns > 1
        ]

    def add(self, values: torch.Tensor) -> None:
        """Adds rows along the last axis: of `columns` values or, where that is 1, of any length.

        Raises `ValueError` when a value is not finite.
        """
        rows = values.detach().reshape(-1, values.shape[-1]).to("cpu", torch.float64)
        if not torch.isfinite(rows).all():
            raise ValueError("a value is not finite")
        self.row_count += rows.numel() // self.columns
        self.histogram.add(rows.numpy().ravel())
        measured = None
        if self.rows is not None:
            measured = ranges(rows, "row" if self.scaling == "tensor" else self.scaling)
            self.rows.add(rows.numpy(), *(bound.numpy() for bound in measured))
        if self.columns > 1:
            self.sum += rows.sum(0)
            self.second += rows.T @ rows
            for moments in self.quantized:
                moments.add(rows, None if self.scaling == "tensor" else measured)

    def arrays(self) -> dict[str, np.ndarray]:
        histogram = self.histogram
        arrays: dict[str, np.ndarray] = {
            "count": np.array(self.row_count * self.columns, np.int64),
            "range": np.array(histogram.range),
            "histogram": histogram.counts,
            "edges": histogram.edges,
        }
        if self.rows is not None:
            arrays["row_histogram"] = self.rows.energies
            if size := group_size(self.scaling):
                arrays["group_size"] = np.array(size, np.int64)
        if self.columns > 1:
            arrays["mean"] = (self.sum / self.row_count).numpy()
            arrays["second_moment"] = (self.second / self.row_count).numpy()
            for moments in self.quantized:
                prefix = f"quantized/{moments.bits}"
                arrays[f"{prefix}/bounds"] = np.array([moments.lower, moments.upper])
                if self.scaling != "tensor":
                    arrays[f"{prefix}/is_row_scaled"] = np.array(1, np.int64)
                arrays[f"{prefix}/mean"] = (moments.sum / self.row_count).numpy()
                arrays[f"{prefix}/second_moment"] = (moments.second / self.row_count).numpy()
                arrays[f"{prefix}/cross_moment"] = (moments.cross / self.row_count).numpy()
        return arrays


class Recorder:
    """Watches a model's linear layers while it runs.

    `layers` limits it to modules of these names, whose inputs have their features along the last
    axis. `quantizers` maps bit widths to bounds of sites, as `bounds` gives them.

    With the `scaling` "row", bounds of inputs and probabilities are shares of each row's largest
    magnitude; with "group:16" those of inputs lie between the least and the greatest of each 16
    values of a row; with "tensor" they are the same for all rows. Both runs need the same one, the
    method `best` uses "group:16".
    """

    def __init__(
        self,
        model: torch.nn.Module,
        layers: Iterable[str] | None = None,
        quantizers: Mapping[int, Mapping[str, Bounds]] | None = None,
        scaling: str = "group:16",
    ) -> None:
        if scaling not in ("row", "tensor") and group_size(scaling) is None:
            raise ValueError(f"the scaling '{scaling}' is not one of group:N, row, tensor")
        self.scaling = scaling
        self.sites: dict[str, Site] = {}
        self._quantizers = quantizers or {}
        self._handles = []
        modules = dict(model.named_modules())
        names = [name for name, module in modules.items() if isinstance(module, torch.nn.Linear)]
        if layers is not None:
            names = list(layers)
            if unknown := [name for name in names if name not in modules]:
                raise ValueError(f"the model has no module '{unknown[0]}'")
        for name in names:
            self._handles.append(modules[name].register_forward_pre_hook(self._hook(name)))

    def _hook(self, name: str) -> Callable[[torch.nn.Module, tuple[Any, ...]], None]:
        def hook(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
            self.observe(f"{name}.input", arguments[0], columns=arguments[0].shape[-1])

        return hook

    def observe(self, name: str, values: torch.Tensor, columns: int = 1) -> None:
        """Adds values of the site `name`, whose last part is one of `KINDS`.

        Values along the last axis are a row. Moments are kept where `columns` is the length of that
        axis, the same in every call; where it is 1, there are none and the length may vary.

        Raises `ValueError` for other names and other `columns`, for `columns` that are not 1 at
        probabilities or not those of the site's first call, and when a value is not finite.
        """
        kind = name.rpartition(".")[2]
        if kind not in KINDS:
            raise ValueError(f"'{name}' does not end in one of {', '.join(KINDS)}")
        values = values if values.ndim else values[None]
        if columns not in (1, values.shape[-1]):
            raise ValueError(f"'{name}' has rows of {values.shape[-1]} values, not of {columns}")
        if columns != 1 and kind == "probabilities":
            raise ValueError(f"'{name}' has no moments: 'columns' must be 1, not {columns}")
        site = self.sites.get(name)
        if site is not None and site.columns != columns:
            raise ValueError(f"'{name}' had {site.columns} columns before, now it has {columns}")
        if values.numel() == 0:
            return
        if site is None:
            bounds = {
                bits: of_site[name] for bits, of_site in self._quantizers.items() if name in of_site
            }
            site = Site(name, columns, bounds, self.scaling)
        site.add(values)
        self.sites[name] = site

    def bounds(self, bits: int) -> dict[str, Bounds]:
        """The best of DOBI's 100 candidates for each site, judged by the histogram.

        Two-sided: both ends narrow at the same pace (2DQuant, algorithm 1). Outputs of a softmax
        narrow at the upper end alone. There are none for sites where nothing is measured: of rows that
        are all zeros, and of groups that are all one value.
        """
        found = {}
        for name, site in self.sites.items():
            histogram: Histogram | RowHistogram = site.histogram
            if site.scaling != "tensor" and site.rows is not None:
                if site.rows.is_empty:
                    continue
                histogram = site.rows
            low, high = histogram.range
            centers, weights = histogram.weighted_values()
            is_one_sided = name.endswith(".probabilities")
            best = (math.inf, low, high)
            for index in range(100):
                step = index * (high - low) / (100 if is_one_sided else 200)
                lower, upper = low if is_one_sided else low + step, high - step
                scale = (upper - lower) / (2**bits - 1) or 1.0
                code = ((centers - lower) / scale).clip(0, 2**bits - 1).round()
                error = float((weights * (centers - lower - scale * code) ** 2).sum())
                best = min(best, (error, lower, upper), key=lambda item: item[0])
            found[name] = best[1:]
        return found

    def save(self, path: str | Path) -> None:
        """Writes the archive."""
        arrays: dict[str, np.ndarray] = {"version": np.array(VERSION, np.int64)}
        for name, site in self.sites.items():
            for field, array in site.arrays().items():
                arrays[f"{name}/{field}"] = array
        with open(path, "wb") as file:
            # No site is called 'allow_pickle', the one name that is not an array's.
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def close(self) -> None:
        """Takes the hooks off the model."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def record(
    model: torch.nn.Module,
    batches: Iterable[Any],
    *,
    bits: int | None = None,
    forward: Callable[[Any], Any] | None = None,
    layers: Iterable[str] | None = None,
    scaling: str = "group:16",
    progress: Progress | None = None,
) -> Recorder:
    """Runs the model on every batch, without gradients, and returns what was recorded.

    With `bits`, all batches run twice: the second time quantized inputs are recorded as well, which the method
    `best` makes use of at so many bits. A `DataLoader` may be given as it is, an iterator only without
    `bits`. `forward` is called with each batch in place of the model, for batches that are not its one
    argument. `layers` and `scaling` are as for `Recorder`; `progress` is called with batches, of all runs,
    and a total of 0 where their number is not known.
    """
    if bits is not None and iter(batches) is batches:
        raise ValueError("with 'bits' batches run twice, and an iterator has them once; give a list")
    chosen = None if layers is None else list(layers)
    total = length_hint(batches) * (1 if bits is None else 2)
    done = 0

    def run(quantizers: Mapping[int, Mapping[str, Bounds]] | None) -> Recorder:
        nonlocal done
        with Recorder(model, chosen, quantizers, scaling) as recorder, torch.no_grad():
            for batch in batches:
                (model if forward is None else forward)(batch)
                done += 1
                if progress is not None:
                    progress(done, total)
        return recorder

    recorder = run(None)
    return recorder if bits is None else run({bits: recorder.bounds(bits)})
