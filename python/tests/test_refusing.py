"""What is not whole or not well-formed is refused, with the reason."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest
from writer import Builder, bit_stream, everything, floats, padded, seal

import condi


def refusal(tmp_path: Path, data: bytes) -> str:
    """The error of opening and verifying `data`; the test fails when there is none."""
    path = tmp_path / "model.condi"
    path.write_bytes(data)
    with pytest.raises(condi.PackedError) as caught:
        condi.open(path).verify()
    return str(caught.value)


def in_memory(data: bytes, path: Path) -> bool:
    """Whether `data` is refused."""
    path.write_bytes(data)
    try:
        condi.open(path).verify()
    except condi.PackedError:
        return True
    return False


@pytest.mark.parametrize(
    ("builder", "mask"), [(everything, 0x01), (everything, 0xFF), (padded, 0x80)]
)
def test_every_changed_byte(tmp_path, builder, mask):
    good = builder().bytes()
    path = tmp_path / "model.condi"
    assert not in_memory(good, path)
    missed = []
    for index in range(len(good)):
        data = bytearray(good)
        data[index] ^= mask
        if not in_memory(data, path):
            missed.append(index)
    assert missed == []


def test_every_length(tmp_path):
    good = everything().bytes()
    path = tmp_path / "model.condi"
    assert [size for size in range(len(good)) if not in_memory(good[:size], path)] == []
    assert in_memory(good + b"\x00", path)


def test_prologue(tmp_path):
    stored = zlib.compress(everything().header())
    data, count = bytes(everything().data), len(everything().header())

    def sealed(**fields: object) -> str:
        return refusal(tmp_path, seal(data, stored, count, **fields))

    assert "version 2.0 is unknown: this reader knows 1" in sealed(major=2)
    assert "reserved" in sealed(reserved=1)
    assert "reserved" in sealed(reserved2=b"\x00\x00\x00\x00\x00\x00\x00\x01")
    assert "expected a file of" in sealed(length=64 + len(data) + len(stored) + 1)
    assert "does not end a file" in sealed(offset=63 + len(data))
    assert "does not end a file" in sealed(offset=2**64 - 1)
    assert "expected" in refusal(tmp_path, seal(data, stored, count - 1))
    assert "expected" in refusal(tmp_path, seal(data, stored, count + 1))
    assert "over the limit" in refusal(tmp_path, seal(data, stored, 2**40))
    assert "follow the zlib stream" in refusal(tmp_path, seal(data, stored + b"\x00", count))
    assert "magic" in refusal(tmp_path, b"")
    assert "prologue of 64 bytes, found 8" in refusal(tmp_path, seal(data, stored, count)[:8])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "header"),
        (b"[]", "header is no object"),
        (b'{"format":"condi","format":"condi","producer":"x","tensors":[]}', "occurs twice"),
        (b'{"format":"condi","producer":"x","tensors":[]} x', "header"),
        (b'{"format":"condi","producer":"\xff","tensors":[]}', "header"),
        (b'{"format":"condi","producer":"\\ud800","tensors":[]}', "header"),
        (b'{"format":"condi","producer":"x","tensors":[],"n":NaN}', "NaN"),
        (b'{"format":"other","producer":"x","tensors":[]}', "format"),
        (b'{"format":"condi","producer":"","tensors":[]}', "producer"),
        (b'{"format":"condi","producer":"x"}', "tensors is no array"),
        (b'{"format":"condi","producer":"x","tensors":[1]}', "is no object"),
        (b"[" * 100_000, "header"),
    ],
)
def test_header_text(tmp_path, text, reason):
    assert reason in refusal(tmp_path, Builder().bytes(text))


def affine(record: bytes, type: str = "float32", shape: tuple[int, ...] = (2, 2), **members):
    members = {"bits": 2, "granularity": "tensor", **members}
    return Builder().add("w", type, list(shape), "affine", record, **members)


CODES = bit_stream([0, 1, 2, 3], 2)


def groups(record: bytes):
    return affine(record, granularity="group:2", parameters="scaled6")


def scaled(unit: bytes, scale: bytes = bit_stream([1, 0], 6)) -> bytes:
    """Parameters of two rows of one group: a unit for the first, and codes."""
    return unit + b"\x00\x00" + bit_stream([0, 0], 6) + scale + CODES



@pytest.mark.parametrize(
    ("builder", "reason"),
    [
        (affine(floats(0, float("nan")) + CODES), "not finite"),
        (affine(floats(float("inf"), 1) + CODES), "not finite"),
        (affine(floats(0, -1) + CODES), "negative"),
        (affine(floats(3e38, 3e38) + CODES), "code 3 is not finite"),
        (affine(floats(0, 40000) + CODES, "float16"), "code 3 is not finite in float16"),
        (affine(floats(3.4e38, 0) + CODES, "bfloat16"), "code 0 is not finite in bfloat16"),
        (affine(floats(0, 1) + CODES, "int32"), "no affine form"),
        (affine(floats(0, 1), shape=(0, 2)), "no affine form"),
        (affine(floats(0, 1) + b"\x00", shape=()), "no affine form"),
        (affine(floats(0, 1) + CODES, bits=9), "bits"),
        (affine(floats(0, 1) + CODES, bits=0), "bits"),
        (affine(floats(0, 1) + CODES, granularity="group:0"), "granularity"),
        (affine(floats(0, 1) + CODES, granularity="row"), "granularity"),
        (affine(floats(0, 1) + CODES, parts=0), "parts"),
        (affine(floats(0, 1) + CODES, parts=3), "do not divide"),
        (affine(floats(0, 0, 1, 1) + CODES, granularity="channel", parts=2), "parts"),
        (affine(floats(0, 1) + CODES + b"\x00"), "expected 9 bytes, found 10"),
        (affine(floats(0, 1) + CODES, parameters="float64"), "parameters"),
        (affine(scaled(b"\x00\x3f"), parameters="scaled6"), "go with groups"),
        (groups(scaled(b"\x80\x7f")), "unit is negative or not finite"),
        (groups(scaled(b"\x00\x80")), "unit is negative or not finite"),
        (groups(scaled(b"\x00\x00")), "unit is 0, but not its parameters"),
        (groups(scaled(b"\x00\x3f", scale=b"\x01\xf0")), "unused bits"),
        (affine(floats(0, 1) + CODES, compressed=True), "does not go with affine"),
        (affine(floats(0, 1) + bit_stream([0, 1, 2, 4], 3)[:1] + b"\xf0", bits=3), "unused bits"),
        (Builder().add("p", "uint8", [3], "palette", b"\x01\x02\x03" + bit_stream([0, 3, 1], 2),
                       bits=2, distinct=3), "index 3 where 3"),
        (Builder().add("p", "uint8", [2], "palette", b"\x02\x01\x01", bits=1, distinct=2),
         "not ascending"),
        (Builder().add("p", "uint8", [2], "palette", b"\x02\x02\x01", bits=1, distinct=2),
         "not ascending"),
        (Builder().add("p", "uint8", [2], "palette", b"\x01\x02\x01", bits=2, distinct=2),
         "need other than 2 bits"),
        (Builder().add("p", "complex128", [1], "palette", bytes(16), bits=0, distinct=1),
         "no palette form"),
        (Builder().add("i", "int8", [2], "integer", bit_stream([0, 3], 2), bits=2, base=125),
         "125...128 does not fit int8"),
        (Builder().add("i", "uint8", [1], "integer", b"", bits=0, base=-1), "does not fit uint8"),
        (Builder().add("i", "int8", [], "integer", b"\x03", bits=2, base=125),
         "128...128 does not fit int8"),
        (Builder().add("p", "uint8", [], "palette", b"\x01\x02\x03\x03", bits=2, distinct=3),
         "index 3 where 3"),
        (Builder().add("i", "float32", [1], "integer", b"", bits=0, base=0), "no integer form"),
        (Builder().add("i", "bool", [1], "integer", b"", bits=0, base=0), "no integer form"),
        (Builder().add("i", "int64", [1], "integer", bytes(8), bits=64, base=0), "bits"),
        (Builder().add("r", "float33", [1], "raw", b"\x00"), "unknown"),
        (Builder().add("r", "uint8", [2**62, 4], "raw", b""), "overflows"),
        (Builder().add("r", "uint8", [-1], "raw", b""), "shape"),
        (Builder().add("r", "uint8", [2], "raw", b"\x00"), "expected 2 bytes, found 1"),
        (Builder().add("r", "uint8", [1], "raw", b"\x00", bits=8), "bits does not go with raw"),
        (Builder().add("r", "float4_e2m1", [1], "raw", b"\x10"), "unused bits"),
        (Builder().add("r", "uint8", [1], "zip", b"\x00"), "encoding"),
        (Builder().add("r", "uint8", [1], "raw", b"\x00").add("r", "uint8", [1], "raw", b"\x00"),
         "occurs twice"),
        (Builder().share("a", "b"), "no record before it"),
        (Builder().share("a", "a"), "no record before it"),
        (Builder().add("r", "uint8", [1], "raw", b"\x00").share("a", "r").share("b", "a"),
         "no record before it"),
        (Builder(values={"a": {"real": "1"}}), "is no value"),
        (Builder(values={"a": {"bytes": "?"}}), "value 'a'"),
        (Builder(values={"a": {"real": "nan", "x": 1}}), "is no value"),
        (Builder(values={"a": []}), "is no value"),
        (Builder(metadata={"a": 1}), "metadata"),
        (Builder(activations=[{"name": "a", "bits": 2, "lower": 1.0, "upper": 0.0}]), "above"),
        (Builder(activations=[{"name": "a", "bits": 2, "lower": 0.0, "upper": 1.0,
                               "scaling": "column"}]), "scaling 'column' is not known"),
        *((Builder(activations=[{"name": "a", "bits": 2, "lower": 0.0, "upper": 1.0, "scaling": scaling}]),
           "is not known")
          for scaling in ("group", "group:", "group:1", "group:016", "group:65537", "group:+2", 16)),
        (Builder(activations=[{"name": "a", "bits": 2, "lower": 0.0, "upper": 1.0,
                               "sclaing": "row"}]),
         "header: activations[0]: member 'sclaing' is not known"),
        *((Builder(activations=[{"name": "a", "bits": 2, "lower": 0.0, "upper": 1.0, **members}]), "normalized")
          for members in ({"normalized": 1}, {"normalized": True, "scaling": "group:2"})),
        (Builder(activations=[{"name": "a", "bits": 2, "lower": 0.1, "upper": 1.0}]),
         "0.1 is no Float32"),
        (Builder(source={"format": "x", "byteCount": 1, "tensorByteCount": 1, "sha256": "0" * 64,
                         "edits": {"casts": [{"pattern": "*"}]}}), "source.edits.casts"),
        (Builder(source={"format": "x", "byteCount": 1, "tensorByteCount": 1, "sha256": "0" * 64,
                         "edits": {"other": []}}), "'other' is not known"),
        (Builder(source={"format": "x", "byteCount": 1, "tensorByteCount": 1, "sha256": "00"}),
         "sha256"),
    ],
)  # fmt: skip
def test_content(tmp_path, builder, reason):
    """The checksums of these files are right: only their content is not."""
    assert reason in refusal(tmp_path, builder.bytes())


def changed(builder: Builder, index: int, **members: object) -> bytes:
    builder.entries[index] |= members
    return builder.bytes()


def test_layout(tmp_path):
    two = [("a", b"\x01\x02"), ("b", b"\x03\x04")]

    def built() -> Builder:
        builder = Builder()
        for name, record in two:
            builder.add(name, "uint8", [2], "raw", record)
        return builder

    assert "expected at byte 66, found 64" in refusal(tmp_path, changed(built(), 1, offset=64))
    assert "expected at byte 66, found 128" in refusal(tmp_path, changed(built(), 1, offset=128))
    swapped = built()
    swapped.entries.reverse()
    assert "expected at byte 64, found 66" in refusal(tmp_path, swapped.bytes())
    gap = built()
    gap.data += b"\x00"
    assert "records end at byte 68" in refusal(tmp_path, gap.bytes())
    short = built()
    del short.data[-1]
    assert "records end at byte 68" in refusal(tmp_path, short.bytes())
    unaligned = Builder()
    unaligned.data += b"abc"
    unaligned.add("x", "uint8", [4096], "raw", bytes(4096))
    assert "expected at byte 64" in refusal(tmp_path, unaligned.bytes())
    dirty = padded()
    at = dirty.data.index(b"abc") + 3
    dirty.data[at] = 1
    assert "padding at 67..<128 is not zero" in refusal(tmp_path, dirty.bytes())


def test_compression(tmp_path):
    def built(stored: bytes, inflated: int) -> bytes:
        builder = Builder().add("a", "uint8", [8], "raw", stored)
        return changed(builder, 0, compression="zlib", encodedBytes=inflated)

    stream = zlib.compress(bytes(8))
    assert "follow the zlib stream" in refusal(tmp_path, built(stream + b"\x00", 8))
    assert "expected 8 inflated bytes" in refusal(tmp_path, built(stream[:-1], 8))
    assert "expected 8 inflated bytes" in refusal(tmp_path, built(zlib.compress(bytes(9)), 8))
    assert "expected 8 inflated bytes" in refusal(tmp_path, built(zlib.compress(bytes(7)), 8))
    assert "expected 8 bytes, found 9" in refusal(tmp_path, built(stream, 9))
    assert "Error" in refusal(tmp_path, built(b"not a stream", 8))
    bomb = Builder().add("a", "uint8", [2**40], "raw", stream)
    assert "cannot inflate" in refusal(
        tmp_path, changed(bomb, 0, compression="zlib", encodedBytes=2**40))
    alone = Builder().add("a", "uint8", [1], "raw", b"\x00")
    assert "go together" in refusal(tmp_path, changed(alone, 0, encodedBytes=1))
    other = Builder().add("a", "uint8", [1], "raw", b"\x00")
    assert "is none of zlib" in refusal(
        tmp_path, changed(other, 0, encodedBytes=1, compression="lz4"))


def test_numbers_that_are_no_integers(tmp_path):
    for member, value in (("offset", 64.0), ("bytes", True), ("bytes", "1"), ("offset", 2**70)):
        builder = Builder().add("a", "uint8", [1], "raw", b"\x00")
        assert f"{member}" in refusal(tmp_path, changed(builder, 0, **{member: value}))


def test_huge_constants_need_no_memory_to_verify(tmp_path):
    path = tmp_path / "model.condi"
    builder = Builder().add("a", "uint8", [2**50], "palette", b"\x07", bits=0, distinct=1)
    builder.add("b", "int64", [2**50], "integer", b"", bits=0, base=7)
    path.write_bytes(builder.bytes())
    condi.open(path).verify()


def test_reader_is_stricter_than_json(tmp_path):
    builder = Builder().add("a", "uint8", [1], "raw", struct.pack("<B", 1))
    text = json.loads(builder.header())
    text["tensors"][0]["crc32"] = text["tensors"][0]["crc32"].upper()
    if text["tensors"][0]["crc32"].islower():
        pytest.skip("the checksum has no letters")
    assert "crc32" in refusal(tmp_path, builder.bytes(json.dumps(text).encode()))
