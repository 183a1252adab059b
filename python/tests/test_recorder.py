"""The recorder against sums over all samples at once."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from condi.recorder import BIN_COUNT, Histogram, Recorder  # noqa: E402


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
        assert arrays["version"] == 1
        assert arrays["0.input/count"] == rows.size == arrays["0.input/histogram"].sum()
        assert arrays["0.input/range"].tolist() == [rows.min(), rows.max()]
        np.testing.assert_allclose(arrays["0.input/mean"], rows.mean(0), rtol=1e-12)
        np.testing.assert_allclose(
            arrays["0.input/second_moment"], rows.T @ rows / len(rows), rtol=1e-12
        )
        assert arrays["2.input/mean"].shape == (4,)


def test_a_second_run_records_quantized_rows(tmp_path):
    _, first = record()
    bounds = first.bounds(2)
    _, second = record(quantizers={2: bounds})
    second.save(tmp_path / "a.calib.npz")
    with np.load(tmp_path / "a.calib.npz") as arrays:
        rows = torch.cat(batches()).reshape(-1, 5).double().numpy()
        lower, upper = arrays["0.input/quantized/2/bounds"]
        assert (lower, upper) == tuple(np.float32(bound) for bound in bounds["0.input"])
        scale = (upper - lower) / 3
        images = np.round((rows.clip(lower, upper) - lower) / scale) * scale + lower
        np.testing.assert_allclose(
            arrays["0.input/quantized/2/cross_moment"], rows.T @ images / len(rows), rtol=1e-10
        )
        np.testing.assert_allclose(
            arrays["0.input/quantized/2/second_moment"], images.T @ images / len(rows), rtol=1e-10
        )


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


def test_hooks_are_gone_after_closing():
    model, recorder = record()
    count = recorder.sites["0.input"].row_count
    with torch.no_grad():
        model(torch.zeros(1, 5))
    assert recorder.sites["0.input"].row_count == count
