"""The recorder against sums over all samples at once."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from condi.recorder import BIN_COUNT, Histogram, Recorder, Site  # noqa: E402
from condi.recorder import record as record_in_one_call  # noqa: E402


def batches():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(3, 7, 5, generator=generator) * 2 + 1 for _ in range(4)]


def record(**options):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.GELU(), torch.nn.Linear(4, 2))
    with Recorder(model, **options) as recorder, torch.no_grad():
        for batch in batches():
            model(batch)
    return model, recorder


def test_moments_are_those_of_all_rows(tmp_path):
    _, recorder = record()
    recorder.save(tmp_path / "a.calib.npz")
    with np.load(tmp_path / "a.calib.npz") as arrays:
        rows = torch.cat(batches()).reshape(-1, 5).double().numpy()
        assert arrays["version"] == 2
        assert arrays["0.input/count"] == rows.size == arrays["0.input/histogram"].sum()
        assert arrays["0.input/range"].tolist() == [rows.min(), rows.max()]
        np.testing.assert_allclose(arrays["0.input/mean"], rows.mean(0), rtol=1e-12)
        np.testing.assert_allclose(
            arrays["0.input/second_moment"], rows.T @ rows / len(rows), rtol=1e-12
        )
        assert arrays["2.input/mean"].shape == (4,)


def test_one_call_records_both_runs():
    model, first = record()
    with Recorder(model, quantizers={2: first.bounds(2)}) as second, torch.no_grad():
        for batch in batches():
            model(batch)
    seen = []
    one = record_in_one_call(
        model, batches(), bits=2, progress=lambda *reached: seen.append(reached))
    assert seen == [(done, 8) for done in range(1, 9)]
    assert one.sites.keys() == second.sites.keys() and one.sites
    for name, site in one.sites.items():
        expected = second.sites[name].arrays()
        assert site.arrays().keys() == expected.keys()
        for field, array in site.arrays().items():
            np.testing.assert_array_equal(array, expected[field])
    assert not model[0]._forward_pre_hooks
    pairs = [(batch, "label") for batch in batches()]
    seen.clear()
    fed = record_in_one_call(
        model, iter(pairs), forward=lambda pair: model(pair[0]),
        progress=lambda *reached: seen.append(reached))  # fmt: skip
    assert fed.sites["0.input"].row_count == one.sites["0.input"].row_count
    assert seen[-1][0] == 4
    with pytest.raises(ValueError, match="an iterator has them once"):
        record_in_one_call(model, iter(pairs), bits=2)


def test_row_histograms_hold_the_squared_magnitudes_of_rows():
    rows = torch.cat(batches()).reshape(-1, 5)
    rows[3] = 0
    rows[4] = 1e-31
    site = Site("0.input", 5, {}, "row")
    for piece in rows.split([1, 30, 53]):
        site.add(piece)
    expected = np.zeros(BIN_COUNT)
    for row in rows.double().numpy():
        magnitude = abs(row).max()
        if magnitude < 1e-30:
            continue
        for value in row:
            place = int(np.floor((value / magnitude + 1) * 1024))
            expected[min(place, BIN_COUNT - 1)] += magnitude**2
    np.testing.assert_allclose(site.arrays()["row_histogram"], expected, rtol=1e-12)


def test_rows_are_recorded_where_they_may_have_scales():
    _, recorder = record()
    recorder.observe("0.query", torch.randn(4, 3), columns=3)
    recorder.observe("0.key", torch.randn(4, 3))
    recorder.observe("0.probabilities", torch.rand(4, 3))
    recorder.observe("1.input", torch.randn(4, 3))
    arrays = {name: site.arrays() for name, site in recorder.sites.items()}
    names = [name for name in arrays if "row_histogram" in arrays[name]]
    assert names == ["0.input", "2.input", "0.probabilities", "1.input"]
    names = [name for name in arrays if "mean" in arrays[name]]
    assert names == ["0.input", "2.input", "0.query"]


def test_probabilities_have_rows_of_any_length_along_the_last_axis():
    model = torch.nn.Linear(2, 2)
    generator = torch.Generator().manual_seed(4)
    # [windows, heads, queries, keys], [channels, channels] and a single query.
    pieces = [
        torch.randn(shape, generator=generator).softmax(-1)
        for shape in [(2, 3, 4, 5), (6, 6), (7,)]
    ]
    first = Recorder(model)
    for piece in pieces:
        first.observe("attn.probabilities", piece)
    expected = np.zeros(BIN_COUNT)
    count = 0
    for piece in pieces:
        for row in piece.reshape(-1, piece.shape[-1]).double().numpy():
            places = np.floor((row / row.max() + 1) * 1024).astype(int).clip(0, BIN_COUNT - 1)
            np.add.at(expected, places, row.max() ** 2)
            count += row.size
    arrays = first.sites["attn.probabilities"].arrays()
    assert arrays["count"] == count == arrays["histogram"].sum()
    np.testing.assert_allclose(arrays["row_histogram"], expected, rtol=1e-12)
    assert arrays["row_histogram"].dtype == np.float64
    bounds = first.bounds(2)
    lower, upper = bounds["attn.probabilities"]
    assert 0 <= lower < upper <= 1
    second = Recorder(model, quantizers={2: bounds})
    for piece in pieces:
        second.observe("attn.probabilities", piece)
    again = second.sites["attn.probabilities"].arrays()
    assert again.keys() == arrays.keys()
    assert (again["row_histogram"] == arrays["row_histogram"]).all()
    assert "mean" not in again


def test_rows_of_a_site_with_moments_have_one_length():
    recorder = Recorder(torch.nn.Linear(2, 2))
    recorder.observe("0.query", torch.zeros(4, 3), columns=3)
    with pytest.raises(ValueError, match="'0.query' had 3 columns before, now it has 4"):
        recorder.observe("0.query", torch.zeros(3, 4), columns=4)
    with pytest.raises(ValueError, match="'0.query' had 3 columns before, now it has 1"):
        recorder.observe("0.query", torch.zeros(4, 3))
    with pytest.raises(ValueError, match="'0.query' has rows of 6 values, not of 3"):
        recorder.observe("0.query", torch.zeros(2, 6), columns=3)
    with pytest.raises(ValueError, match="'0.probabilities' has no moments"):
        recorder.observe("0.probabilities", torch.zeros(4, 3), columns=3)
    assert list(recorder.sites) == ["0.query"]
    assert recorder.sites["0.query"].row_count == 4


def test_no_values_make_no_site():
    recorder = Recorder(torch.nn.Linear(3, 2))
    recorder.observe("0.input", torch.zeros(0, 3), columns=3)
    recorder.observe("0.probabilities", torch.zeros(3, 0))
    with pytest.raises(ValueError, match="not finite"):
        recorder.observe("0.value", torch.tensor(float("inf")))
    assert not recorder.sites


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_bounds_are_shares_of_rows_largest_magnitudes(bits):
    rows = torch.cat(batches()).reshape(-1, 5).double().numpy()
    magnitudes = abs(rows).max(1, keepdims=True)

    def error(bounds):
        lower, upper = (bound * magnitudes for bound in bounds)
        scale = (upper - lower) / (2**bits - 1)
        images = np.round((rows.clip(lower, upper) - lower) / scale) * scale + lower
        return ((rows - images) ** 2).sum()

    found = {scaling: record(scaling=scaling)[1].bounds(bits) for scaling in ("row", "tensor")}
    assert all(-1 <= lower < upper <= 1 for lower, upper in found["row"].values())
    assert found["tensor"]["0.input"][1] > 1
    whole = (rows / magnitudes).min(), 1.0
    assert error(found["row"]["0.input"]) <= 1.01 * error(whole)


@pytest.mark.parametrize("scaling", ["group:2", "group:3", "group:7", "row", "tensor"])
def test_a_second_run_records_quantized_rows(tmp_path, scaling):
    _, first = record(scaling=scaling)
    bounds = first.bounds(2)
    _, second = record(quantizers={2: bounds}, scaling=scaling)
    second.save(tmp_path / "a.calib.npz")
    with np.load(tmp_path / "a.calib.npz") as arrays:
        rows = torch.cat(batches()).reshape(-1, 5).double().numpy()
        lower, upper = arrays["0.input/quantized/2/bounds"]
        assert (lower, upper) == tuple(np.float32(bound) for bound in bounds["0.input"])
        if scaling == "row":
            assert arrays["0.input/quantized/2/is_row_scaled"] == 1
            magnitudes = abs(rows).max(1, keepdims=True)
            lower, upper = lower * magnitudes, upper * magnitudes
        elif scaling.startswith("group"):
            assert arrays["0.input/quantized/2/is_row_scaled"] == 1
            size = int(scaling.partition(":")[2])
            assert arrays["0.input/group_size"] == size
            least, greatest = np.empty_like(rows), np.empty_like(rows)
            for first in range(0, 5, size):
                group = rows[:, first : first + size]
                least[:, first : first + size] = group.min(1, keepdims=True)
                greatest[:, first : first + size] = group.max(1, keepdims=True)
            middles, halves = (least + greatest) / 2, (greatest - least) / 2
            lower, upper = middles + lower * halves, middles + upper * halves
        else:
            assert "0.input/group_size" not in arrays
            assert "0.input/quantized/2/is_row_scaled" not in arrays
        scale = (upper - lower) / 3
        # The last group of size 2 is one value, which stays as it is.
        steps = np.where(scale > 0, scale, 1)
        images = np.round((rows.clip(lower, upper) - lower) / steps) * scale + lower
        np.testing.assert_allclose(
            arrays["0.input/quantized/2/mean"], images.mean(0), rtol=1e-10
        )
        np.testing.assert_allclose(
            arrays["0.input/quantized/2/cross_moment"], rows.T @ images / len(rows), rtol=1e-10
        )
        np.testing.assert_allclose(
            arrays["0.input/quantized/2/second_moment"], images.T @ images / len(rows), rtol=1e-10
        )


@pytest.mark.parametrize("scaling", ["group", "group:1", "group:65537", "group:x", "rows", ""])
def test_other_scalings_are_refused(scaling):
    with pytest.raises(ValueError, match="is not one of group:N, row, tensor"):
        Recorder(torch.nn.Linear(3, 2), scaling=scaling)


def test_groups_of_one_value_stay_as_they_are():
    site = Site("0.input", 4, {2: (-1, 1)}, "group:2")
    site.add(torch.tensor([[5.0, 5.0, 1.0, 4.0]]))
    arrays = site.arrays()
    np.testing.assert_allclose(arrays["quantized/2/mean"], [5, 5, 1, 4], rtol=1e-12)
    assert arrays["row_histogram"].sum() == pytest.approx(2 * 1.5**2)


def test_bounds_of_the_whole_tensor_are_the_least_error_of_its_histogram():
    _, recorder = record(scaling="tensor")
    histogram = recorder.sites["0.input"].histogram
    low, high = histogram.minimum, histogram.maximum
    left, right = histogram.edges
    values = (left + (np.arange(BIN_COUNT) + 0.5) * (right - left) / BIN_COUNT).clip(low, high)

    def error(bounds):
        scale = (bounds[1] - bounds[0]) / 3
        codes = ((values - bounds[0]) / scale).clip(0, 3).round()
        return (histogram.counts * (values - bounds[0] - scale * codes) ** 2).sum()

    steps = [index * (high - low) / 200 for index in range(100)]
    expected = min(((low + step, high - step) for step in steps), key=error)
    assert recorder.bounds(2)["0.input"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "scaling, rows",
    [("row", [[0.0, 0, 0]] * 4), ("group:16", [[0.0, 0, 0]] * 4), ("group:2", [[-3.0] * 3, [6.0] * 3])],
)
def test_where_nothing_is_measured_there_are_no_bounds(scaling, rows):
    """Rows of zeros, and rows that are the same in all columns."""
    first = Recorder(torch.nn.Linear(3, 2), scaling=scaling)
    first.observe("0.input", torch.tensor(rows), columns=3)
    assert first.bounds(2) == {}
    second = Recorder(torch.nn.Linear(3, 2), quantizers={2: first.bounds(2)}, scaling=scaling)
    second.observe("0.input", torch.tensor(rows), columns=3)
    arrays = second.sites["0.input"].arrays()
    assert not arrays["row_histogram"].any()
    assert not [name for name in arrays if name.startswith("quantized")]


def test_small_bounds_of_the_tensor_are_exact():
    site = Site("0.input", 2, {2: (-1e-20, 2e-20)}, "tensor")
    site.add(torch.tensor([[-1e-20, 2e-20], [1e-20, 0.0]]))
    arrays = site.arrays()
    np.testing.assert_allclose(arrays["quantized/2/mean"], [0, 1e-20], rtol=1e-6, atol=1e-27)


def test_zeros_among_rows_stay_zeros():
    site = Site("0.input", 2, {2: (-1, 1)}, "row")
    site.add(torch.tensor([[0.0, 0.0], [3.0, -1.0]]))
    arrays = site.arrays()
    np.testing.assert_allclose(arrays["quantized/2/mean"], [1.5, -0.5], rtol=1e-12)


@pytest.mark.parametrize("pieces", [1, 2, 9])
def test_histograms_do_not_depend_on_the_order(pieces):
    values = np.random.default_rng(2).normal(size=1000) ** 3
    whole, parts = Histogram(), Histogram()
    whole.add(values)
    for piece in np.array_split(values[::-1], pieces):
        parts.add(piece)
    assert (whole.counts == parts.counts).all()
    assert (whole.edges == parts.edges).all()
    expected, _ = np.histogram(values, BIN_COUNT, tuple(whole.edges))
    assert (whole.counts == expected).all()


def test_names_and_values_are_checked():
    _, recorder = record()
    with pytest.raises(ValueError, match="does not end in one of"):
        recorder.observe("0.output", torch.zeros(3))
    with pytest.raises(ValueError, match="not finite"):
        recorder.observe("0.probabilities", torch.tensor([float("nan")]))
    with pytest.raises(ValueError, match="no module 'missing'"):
        Recorder(torch.nn.Linear(2, 2), layers=["missing"])
    with pytest.raises(ValueError, match="scaling 'column' is not one of group:N, row, tensor"):
        Recorder(torch.nn.Linear(2, 2), scaling="column")
    with pytest.raises(ValueError, match="'0.input' has bounds beyond -1 and 1"):
        record(quantizers={2: {"0.input": (-5, 7)}})


def test_hooks_are_gone_after_closing():
    model, recorder = record()
    count = recorder.sites["0.input"].row_count
    with torch.no_grad():
        model(torch.zeros(1, 5))
    assert recorder.sites["0.input"].row_count == count
