"""What comes out of well-formed files."""

from __future__ import annotations

import itertools
import json
import math
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from writer import Builder, bit_stream, everything, floats, padded

import condi


@pytest.fixture
def opened(tmp_path: Path):
    def open_built(builder: Builder) -> condi.PackedFile:
        path = tmp_path / "model.condi"
        path.write_bytes(builder.bytes())
        file = condi.open(path)
        file.verify()
        return file

    return open_built


def test_every_encoding(opened):
    file = opened(everything())
    assert file.names == ["raw", "affine", "qkv", "tied", "palette", "constant", "index", "mask",
                          "empty", "scalar"]  # fmt: skip
    np.testing.assert_array_equal(file.tensor("raw"), np.float32([1.5, -2]))
    np.testing.assert_array_equal(
        file.tensor("affine"), np.float32([[-1, -0.5, 0], [0.5, 0, -0.5]]))
    np.testing.assert_array_equal(file.codes("affine"), [[0, 1, 2], [3, 2, 1]])
    np.testing.assert_array_equal(file.tensor("tied"), file.tensor("affine"))
    np.testing.assert_array_equal(file.tensor("qkv"), np.float32([[0, 1], [21, 31], [402, 702]]))
    np.testing.assert_array_equal(file.tensor("palette"), [1, 5, -1, 5, 1])
    np.testing.assert_array_equal(file.tensor("constant"), np.ones((3, 3), np.float16))
    np.testing.assert_array_equal(file.tensor("index"), np.int32([-2, 3, 5, 1]))
    np.testing.assert_array_equal(file.tensor("mask"), np.zeros(64, np.uint8))
    assert file.tensor("empty").shape == (0, 3)
    assert file.tensor("scalar").shape == () and file.tensor("scalar") == True  # noqa: E712
    for name in file.names:
        assert file.tensor(name).tobytes() == file.logical_bytes(name)


def test_load_takes_names_by_pattern(tmp_path: Path):
    path = tmp_path / "model.condi"
    path.write_bytes(everything().bytes())
    seen: list[tuple[int, int]] = []
    tensors = condi.load(path, progress=lambda *reached: seen.append(reached))
    with condi.open(path) as file:
        assert list(tensors) == file.names
        for name in file.names:
            np.testing.assert_array_equal(tensors[name], file.tensor(name))
        total = sum(map(file.stored_byte_count, file.names))
        assert len(seen) == len(file.names) and seen[-1] == (total, total)
        assert seen == sorted(seen)
        checked: list[tuple[int, int]] = []
        file.verify(progress=lambda *reached: checked.append(reached))
        assert checked[-1][0] == checked[-1][1] > 0
    assert list(condi.load(path, ["t*", "r?w"])) == ["raw", "tied"]
    with pytest.raises(condi.PackedError, match="no tensor's name matches 'T\\*'"):
        condi.load(path, ["raw", "T*"])


def test_edits(opened):
    builder = everything()
    assert opened(builder).edits == {}
    edits = {"drops": ["*.m"], "renames": [{"pattern": "^a", "replacement": "b"}],
             "casts": [{"pattern": "*", "elementType": "float16"}]}  # fmt: skip
    builder.members["source"]["edits"] = edits
    assert opened(builder).edits == edits


def test_values(opened):
    values = opened(everything()).values
    assert math.isnan(values.pop("nan"))
    assert values == {"epoch": 3, "best": 3.5, "name": "x", "none": None, "big": 10**20 - 1,
                      "z": complex(1, math.inf), "raw": b"\x00\xff"}  # fmt: skip
    assert isinstance(values["epoch"], int) and isinstance(values["best"], float)


def test_unknown_members_stay(opened):
    assert opened(everything()).header["unknown"] == {"kept": [1, 2]}


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("columns", [1, 7, 60])
def test_widths_and_ragged_rows(opened, bits, columns):
    codes = [(index * 5 + index // 3) % 2**bits for index in range(3 * columns)]
    record = floats(-0.75, 0.3) + bit_stream(codes, bits)
    file = opened(Builder().add("w", "float32", [3, columns], "affine", record, bits=bits,
                                granularity="tensor"))  # fmt: skip
    expected = np.float32(-0.75) + np.float32(0.3) * np.array(codes, np.float32)
    np.testing.assert_array_equal(file.tensor("w").ravel(), expected)


@pytest.mark.parametrize("bits", [0, 1, 3, 8, 9, 31, 33, 63])
def test_integer_widths(opened, bits):
    codes = [0, 2**bits - 1, 2**bits // 3]
    record = bit_stream(codes, bits)
    file = opened(Builder().add("i", "int64", [3], "integer", record, bits=bits, base=-(2**62)))
    assert file.tensor("i").tolist() == [code - 2**62 for code in codes]


def test_unsigned_base_above_int64(opened):
    record = bit_stream([0, 1], 1)
    file = opened(Builder().add("i", "uint64", [2], "integer", record, bits=1, base=2**64 - 2))
    assert file.tensor("i").tolist() == [2**64 - 2, 2**64 - 1]


def test_channels_and_groups(opened):
    codes = [1, 2, 3, 1, 2, 3]
    builder = Builder()
    builder.add("channel", "float32", [2, 3], "affine",
                floats(0, 10, 1, 2) + bit_stream(codes, 2), bits=2, granularity="channel")
    builder.add("group", "float32", [2, 3, 1], "affine",
                floats(0, 100, 200, 300, 1, 2, 3, 4) + bit_stream(codes, 2),
                bits=2, granularity="group:2")
    builder.add("vector", "float32", [3], "affine",
                floats(5, 6, 1, 1) + bit_stream([0, 1, 2], 2), bits=2, granularity="group:2")
    file = opened(builder)
    assert file.tensor("channel").tolist() == [[1, 2, 3], [12, 14, 16]]
    assert file.tensor("group").tolist() == [[[1], [2], [106]], [[203], [206], [312]]]
    assert file.tensor("vector").tolist() == [5, 6, 8]


def test_parameters_of_six_bits(opened):
    # Units 0.5 and 0; lower codes 1, -32, 31 and scale codes 63, 1, 2 of the first row.
    parameters = bytes([0x00, 0x3F, 0, 0]) + bit_stream([1, 32, 31, 0, 0, 0], 6)
    parameters += bit_stream([63, 1, 2, 0, 0, 0], 6)
    record = parameters + bit_stream([0, 1, 2, 3, 3, 0, 0, 0, 0, 0], 2)
    file = opened(Builder().add("w", "float32", [2, 5], "affine", record, bits=2,
                                granularity="group:2", parameters="scaled6"))  # fmt: skip
    assert file.tensor("w").tolist() == [[2, 33.5, -63, -62.5, 65], [0, 0, 0, 0, 0]]


def test_product_is_rounded_before_the_sum(opened):
    lower, scale = np.float32(-0.3), np.float32(0.1)
    fused = np.float32(np.float64(lower) + np.float64(scale) * 3)
    plain = np.float32(lower + np.float32(scale * np.float32(3)))
    assert fused != plain
    record = floats(lower, scale) + bit_stream([3], 2)
    file = opened(Builder().add("w", "float32", [1, 1], "affine", record, bits=2,
                                granularity="tensor"))  # fmt: skip
    assert file.tensor("w")[0, 0] == plain


def test_logical_types(opened):
    parameters = struct.pack("<2e", 1.0, 2.0**-10)
    codes = bit_stream([0, 1, 2, 3, 4, 5, 6, 7], 3)
    exact = [1 + 2.0**-10 * code for code in range(8)]
    builder = Builder()
    for name in ("float16", "bfloat16", "float32", "float64"):
        builder.add(name, name, [2, 4], "affine", parameters + codes, bits=3,
                    granularity="tensor", parameters="float16")  # fmt: skip
    file = opened(builder)
    for name in ("float16", "float32", "float64"):
        assert file.tensor(name).dtype == name and file.tensor(name).ravel().tolist() == exact
    # bfloat16 has steps of 2^-7 above 1: ties to even, so 4/1024 goes down to 1.
    assert file.tensor("bfloat16").ravel().tolist() == [0x3F80] * 5 + [0x3F81] * 3


def test_narrow_raw_elements(opened):
    builder = Builder()
    builder.add("f4", "float4_e2m1", [2, 2], "raw", bit_stream([1, 2, 15, 4], 4))
    builder.add("f6", "float6_e3m2", [4], "raw", bit_stream([1, 63, 2, 40], 6))
    file = opened(builder)
    assert file.tensor("f4").tolist() == [[1, 2], [15, 4]]
    assert file.tensor("f6").tolist() == [1, 63, 2, 40]
    assert file.logical_bytes("f6") == bit_stream([1, 63, 2, 40], 6)


def test_padding_and_mapping(opened):
    file = opened(padded())
    assert file.record("large").offset == 128
    assert bytes(file.tensor("large")) == bytes(index % 251 for index in range(4096))
    assert not file.tensor("large").flags.writeable


def test_minor_versions_are_read(tmp_path):
    data = bytearray(everything().bytes())
    data[10:12] = b"\x07\x00"
    data[60:64] = zlib.crc32(data[:60]).to_bytes(4, "little")
    path = tmp_path / "minor.condi"
    path.write_bytes(data)
    condi.open(path).verify()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "condi", *arguments], capture_output=True,
                          text=True, cwd=Path(condi.__file__).parent.parent)  # fmt: skip


def test_command(tmp_path):
    path = tmp_path / "model.condi"
    path.write_bytes(everything().bytes())
    assert run("verify", str(path)).returncode == 0
    assert "shares with affine" in run("list", str(path)).stdout
    dumped = json.loads(run("dump", str(path)).stdout)
    assert dumped["raw"] == {"elementType": "float32", "shape": [2],
                             "crc32": zlib.crc32(floats(1.5, -2))}  # fmt: skip
    assert dumped["tied"] == dumped["affine"]
    path.write_bytes(everything().bytes()[:-1])
    assert run("verify", str(path)).returncode == 1
    assert run("verify", str(tmp_path / "absent.condi")).returncode == 2


def test_a_reader_that_leaves_is_no_error(tmp_path):
    path = tmp_path / "model.condi"
    path.write_bytes(everything().bytes())
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as lost:
        outcome = subprocess.run([sys.executable, "-m", "condi", "list", str(path)], stdout=lost,
                                 stderr=subprocess.PIPE,
                                 cwd=Path(condi.__file__).parent.parent)  # fmt: skip
    assert outcome.returncode == 141
    assert outcome.stderr == b""


def test_codes_of_every_name_agree_with_tensors(opened):
    file = opened(everything())
    for name, _ in itertools.groupby(file.names):
        if file.record(name).encoding == "raw":
            with pytest.raises(condi.PackedError, match="raw elements have no codes"):
                file.codes(name)
        else:
            assert file.codes(name).shape == file.shape(name)
