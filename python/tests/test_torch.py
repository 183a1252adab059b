"""Loading into PyTorch; skipped where torch is not installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from writer import Builder, bit_stream, floats

import condi

torch = pytest.importorskip("torch")
import condi.torch as condi_torch  # noqa: E402: after the skip.


def linear() -> Builder:
    builder = Builder()
    builder.add("weight", "float32", [2, 3], "affine",
                floats(-1.0, 0.5) + bit_stream([0, 1, 2, 3, 2, 1], 2), bits=2, granularity="tensor")
    builder.add("bias", "float32", [2], "raw", floats(0.25, -4.0))
    return builder  # fmt: skip


def written(folder: Path, builder: Builder) -> Path:
    path = folder / "model.condi"
    path.write_bytes(builder.bytes())
    return path


def test_a_module_computes_with_the_dequantized_weights(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    assert condi_torch.load_into(module, written(tmp_path, linear())) == ([], [])
    assert module.weight.tolist() == [[-1.0, -0.5, 0.0], [0.5, 0.0, -0.5]]
    assert module.weight.requires_grad
    assert module(torch.ones(1, 3)).tolist() == [[-1.25, -4.0]]


def test_a_module_keeps_its_own_type(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2, dtype=torch.float64)
    condi_torch.load_into(module, written(tmp_path, linear()))
    assert module.weight.dtype == torch.float64
    assert module.bias.tolist() == [0.25, -4.0]


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_values_of_codes_are_not_rounded_to_a_narrower_type_than_the_module_has(tmp_path: Path, kind: str) -> None:
    builder = Builder()
    record = floats(-1.0, 0.3) + bit_stream([0, 1, 2, 3], 2)
    builder.add("weight", kind, [2, 2], "affine", record, bits=2, granularity="tensor")
    path = written(tmp_path, builder)
    exact = (np.float32(-1) + np.float32(0.3) * np.arange(4, dtype=np.float32)).reshape(2, 2).tolist()
    module = torch.nn.Linear(2, 2, bias=False)
    condi_torch.load_into(module, path)
    assert module.weight.tolist() == exact
    assert condi_torch.state_dict(path, rounded=False)["weight"].tolist() == exact
    rounded = condi_torch.state_dict(path)["weight"]
    assert rounded.dtype == getattr(torch, kind)
    assert rounded.tolist() == torch.tensor(exact).to(rounded.dtype).tolist() != exact


def test_names_that_differ_are_an_error_before_anything_is_copied(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2, bias=False)
    before = module.weight.clone()
    path = written(tmp_path, linear())
    with pytest.raises(condi.PackedError, match=r"the file 1 that the module has not \(\['bias'\]\)"):
        condi_torch.load_into(module, path)
    assert torch.equal(module.weight, before)
    assert condi_torch.load_into(module, path, strict=False) == ([], ["bias"])
    assert module.weight.tolist()[0] == [-1.0, -0.5, 0.0]


def test_shapes_that_differ_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(condi.PackedError, match=r"tensor 'weight': expected \(2, 4\), found \(2, 3\)"):
        condi_torch.load_into(torch.nn.Linear(4, 2), written(tmp_path, linear()), strict=False)


def test_a_state_dict_has_every_tensor_in_memory_of_its_own(tmp_path: Path) -> None:
    path = written(tmp_path, linear())
    state = condi_torch.state_dict(path)
    assert list(state) == ["weight", "bias"]
    module = torch.nn.Linear(3, 2)
    module.load_state_dict(state)
    assert module.weight.tolist() == [[-1.0, -0.5, 0.0], [0.5, 0.0, -0.5]]
    state["bias"].zero_()
    assert condi_torch.state_dict(path)["bias"].tolist() == [0.25, -4.0]


def test_a_state_dict_begins_below_a_prefix(tmp_path: Path) -> None:
    builder = Builder()
    builder.add("params_ema.bias", "float32", [1], "raw", floats(1.0))
    builder.add("params.bias", "float32", [1], "raw", floats(2.0))
    path = written(tmp_path, builder)
    assert condi_torch.state_dict(path, prefix="params.") == {"bias": torch.tensor([2.0])}
    with pytest.raises(condi.PackedError, match="no tensor's name begins with 'net.'"):
        condi_torch.state_dict(path, prefix="net.")


def test_quantizers_of_activations_are_warned_of(tmp_path: Path) -> None:
    builder = linear()
    builder.members["activations"] = [{"name": "input", "bits": 2, "lower": -0.5, "upper": 1.5}]
    path = written(tmp_path, builder)
    with condi.open(path) as file:
        assert file.activations == [{"name": "input", "bits": 2, "lower": -0.5, "upper": 1.5}]
    message = r"activation quantizers \(1\) are not applied"
    with pytest.warns(condi_torch.ActivationsNotQuantized, match=message) as caught:
        condi_torch.state_dict(path)
        condi_torch.load_into(torch.nn.Linear(3, 2), path)
    assert [Path(warning.filename).name for warning in caught] == ["test_torch.py"] * 2


def test_types_that_numpy_lacks_are_torch_s_own(tmp_path: Path) -> None:
    builder = Builder()
    builder.add("brain", "bfloat16", [2], "raw", bytes.fromhex("803f00c0"))
    builder.add("narrow", "float8_e4m3fn", [2], "raw", bytes([0x38, 0xC0]))
    builder.add("word", "uint16", [1], "raw", b"\x01\x80")
    builder.add("tiny", "float4_e2m1", [2], "raw", b"\x21")
    with condi.open(written(tmp_path, builder)) as file:
        assert condi_torch.tensor(file, "brain").tolist() == [1.0, -2.0]
        assert condi_torch.tensor(file, "narrow").to(torch.float32).tolist() == [1.0, -2.0]
        assert condi_torch.tensor(file, "word").tolist() == [0x8001]
        with pytest.raises(TypeError, match="torch has no type for float4_e2m1 elements"):
            condi_torch.tensor(file, "tiny")


def test_tensors_own_their_memory(tmp_path: Path) -> None:
    with condi.open(written(tmp_path, linear())) as file:
        bias = condi_torch.tensor(file, "bias")
        bias.zero_()
        assert np.array_equal(file.tensor("bias"), np.array([0.25, -4.0], np.float32))
        assert [name for name, _ in condi_torch.tensors(file)] == ["weight", "bias"]
