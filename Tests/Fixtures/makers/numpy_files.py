"""Arrays as NumPy writes them, and files that NumPy or condi-convert refuses."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .archives import npy_bytes, unzip, zip_bytes
from .manifest import Manifest, leaf_entry, tensor_entry

NUMERIC = (
    "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64 complex64 "
    "complex128"
).split()


def make(manifest: Manifest) -> None:
    make_npy(manifest)
    make_npz(manifest)
    make_refused_npy(manifest)
    make_refused_npz(manifest)


# MARK: Expectations


def expectation(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Tensors for numeric arrays; texts or bytes for string arrays, one value an element."""
    tensors, values = [], {}
    for name, array in arrays.items():
        if array.dtype.kind in "US":
            for index in np.ndindex(array.shape):
                key = ".".join([name, *map(str, index)]).strip(".")
                values[key] = leaf_entry(array[index].item())
            continue
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        little = little.reshape(array.shape)  # ascontiguousarray makes a 0-d array 1-d.
        tensors.append(
            tensor_entry(name, array.dtype.name, array.shape, little.tobytes(),
                         little.reshape(-1).tolist())
        )  # fmt: skip
    return {"tensors": tensors, "values": values}


def loaded(path: Path) -> dict[str, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 2 headers are read with a warning.
        content = np.load(path, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return {"": content}
    return {name: content[name] for name in content.files}


def add(manifest: Manifest, name: str, data: bytes, **extra: Any) -> None:
    path = manifest.path(name)
    path.write_bytes(data)
    manifest.add(name, {**expectation(loaded(path)), **extra})


def refuse(manifest: Manifest, name: str, data: bytes, reason: str) -> None:
    manifest.refuse(name, data, reason)
    try:
        loaded(manifest.folder / name)
    except Exception as error:  # noqa: BLE001: whatever it is, it is the answer.
        manifest.files[name]["rival"] = f"refuses: {type(error).__name__}"
    else:
        manifest.files[name]["rival"] = "loads"


def npy(array: Any, version: tuple[int, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(array), version=version, allow_pickle=True)
    return buffer.getvalue()


def npz(compressed: bool = False, **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def sample(dtype: str, shape: tuple[int, ...] = (3, 4)) -> np.ndarray:
    """Bytes that run through many patterns, NaN and negative zero included."""
    count = int(np.prod(shape))
    if dtype == "bool":
        return (np.arange(count) % 3 == 0).reshape(shape)
    width = np.dtype(dtype).itemsize
    pattern = (np.arange(count * width) * 37 + 64).astype(np.uint8)
    return pattern.view(dtype).reshape(shape)


# MARK: Files to read


def make_npy(manifest: Manifest) -> None:
    for dtype in NUMERIC:
        add(manifest, f"npy/{dtype}.npy", npy(sample(dtype)))
    matrix = np.arange(15, dtype=np.float32).reshape(3, 5)
    for version in ((1, 0), (2, 0), (3, 0)):
        add(manifest, f"npy/version{version[0]}.npy", npy(matrix, version))
    add(manifest, "npy/fortran.npy", npy(np.asfortranarray(matrix)))
    cube = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    add(manifest, "npy/fortran_3d_big_endian.npy", npy(np.asfortranarray(cube.astype(">i2"))))
    for dtype in (">i2", ">u8", ">f2", ">f4", ">f8", ">c8", ">c16"):
        name = f"npy/big_endian_{np.dtype(dtype).name}.npy"
        add(manifest, name, npy(sample(dtype[1:]).astype(dtype)))
    add(manifest, "npy/scalar.npy", npy(np.float64(2.5)))
    add(manifest, "npy/scalar_big_endian.npy", npy(np.array(258, ">u2")))
    add(manifest, "npy/empty.npy", npy(np.zeros(0, np.int8)))
    add(manifest, "npy/empty_3d.npy", npy(np.zeros((2, 0, 3), np.complex64)))
    add(manifest, "npy/rank_32.npy", npy(np.ones((1,) * 32, np.uint8)))

    add(manifest, "npy/byte_text.npy", npy(np.array([b"abc", b"d"])), mayRefuse=True)
    data = matrix.tobytes()
    add(manifest, "npy/header_other_order.npy",
        npy_bytes(b'{ "shape":(3, 5),"fortran_order":False , \'descr\':"<f4"}', data),
        note="keys in another order, both kinds of quotes, no trailing comma")
    add(manifest, "npy/header_python2_longs.npy",
        npy_bytes(b"{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 5L), }", data),
        note="as Python 2 wrote it; NumPy reads it with a warning", mayRefuse=True)
    add(manifest, "npy/header_unpadded.npy", unpadded(
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 5)}", data),
        note="the data starts at an odd offset")
    add(manifest, "npy/trailing_bytes.npy", npy(matrix) + b"\x00",
        note="NumPy ignores what follows the data", mayRefuse=True)


def unpadded(header: bytes, data: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def make_npz(manifest: Manifest) -> None:
    arrays = {name: sample(name) for name in NUMERIC}
    add(manifest, "npz/stored.npz", npz(**arrays))
    add(manifest, "npz/deflated.npz", npz(compressed=True, **arrays))
    matrix = np.arange(15.0).reshape(3, 5)
    add(manifest, "npz/layouts.npz", npz(
        fortran=np.asfortranarray(matrix), transposed=matrix.T, step=matrix[:, ::2],
        big_endian=matrix.astype(">f4"), scalar=np.float32(2.5), empty=np.zeros((0, 3)),
    ))  # fmt: skip
    add(manifest, "npz/texts.npz", npz(
        title=np.array("Grüße, 世界"), names=np.array(["q", "key", ""]),
        grid=np.array([["a", "b"], ["c", "\U0001f600"]]), big_endian=np.array("x", ">U3"),
        weight=matrix,
    ), note="string arrays become values: one text an element, indices joined by dots")  # fmt: skip
    add(manifest, "npz/nested_names.npz", npz(**{
        "layer/0/weight": matrix, "layer.1.weight": matrix * 2, "ключ": np.arange(3),
    }))  # fmt: skip
    add(manifest, "npz/positional.npz", positional(matrix, np.arange(4)))
    add(manifest, "npz/no_arrays.npz", npz())
    add(manifest, "npz/rezipped.npz", zip_bytes(unzip(npz(b=matrix, a=np.arange(3)))),
        note="without the zip64 extra fields that NumPy writes")


def positional(*arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    return buffer.getvalue()


# MARK: Files to refuse

STRUCTURED = np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f8")])


def make_refused_npy(manifest: Manifest) -> None:
    def bad(name: str, data: bytes, reason: str) -> None:
        refuse(manifest, f"npy/{name}.npy", data, reason)

    bad("structured", npy(STRUCTURED), "structured elements are unsupported")
    bad("datetime", npy(np.array(["2020-01-01"], "M8[D]")), "datetimes are unsupported")
    bad("timedelta", npy(np.array([5], "m8[s]")), "time differences are unsupported")
    bad("void", npy(np.zeros(3, "V2")), "the type of 2-byte voids is lost")
    bad("longdouble", npy(np.zeros(2, np.longdouble)), "128-bit reals are unsupported")
    # Not made by pickling: the pickle would differ between versions of NumPy.
    bad("object", npy_bytes(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
                            b"\x80\x03]q\x00K\x01a."), "objects are pickles")

    good = npy(np.arange(6, dtype=np.int32).reshape(2, 3))
    data = good[128:]
    bad("truncated_data", good[:-1], "24 bytes are declared, 23 are there")
    bad("truncated_header", good[:60], "the header is cut")
    bad("truncated_magic", good[:7], "the magic is cut")
    bad("version4", good[:6] + b"\x04" + good[7:], "version 4.0 is unknown")
    bad("version0", good[:6] + b"\x00" + good[7:], "version 0.0 is unknown")
    bad("wrong_magic", b"\x93NUMPX" + good[6:], "the magic is wrong")

    def header(text: str) -> bytes:
        return npy_bytes(text.encode(), data)

    bad("header_call", header("{'descr': '<i4', 'fortran_order': False, "
                              "'shape': __import__('os').getcwd(), }"), "not a literal")
    bad("header_negative", header("{'descr': '<i4', 'fortran_order': False, 'shape': (-2, 3), }"),
        "a dimension is negative")
    bad("header_negative_pair", header(
        "{'descr': '<i4', 'fortran_order': False, 'shape': (-2, -3), }"), "dimensions are negative")
    bad("header_overflow", header("{'descr': '<i4', 'fortran_order': False, "
                                  "'shape': (4294967296, 4294967296, 4), }"), "count overflows")
    bad("header_huge_dimension", header("{'descr': '<i4', 'fortran_order': False, "
                                        "'shape': (" + "9" * 40 + ",), }"), "count overflows")
    bad("header_missing_key", header("{'descr': '<i4', 'shape': (2, 3), }"), "no fortran_order")
    bad("header_extra_key", header("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), "
                                   "'x': 1}"), "an unknown key")
    bad("header_real_shape", header("{'descr': '<i4', 'fortran_order': False, "
                                    "'shape': (2.0, 3), }"), "a dimension is no integer")
    bad("header_integer_order", header("{'descr': '<i4', 'fortran_order': 0, 'shape': (2, 3), }"),
        "fortran_order is no truth value")
    bad("header_unknown_type", header("{'descr': '<i3', 'fortran_order': False, "
                                      "'shape': (2, 3), }"), "type '<i3' is unknown")
    bad("header_trailing_text", header("{'descr': '<i4', 'fortran_order': False, "
                                       "'shape': (2, 3), } + 1"), "text follows the dictionary")
    bad("header_unclosed", header("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3"),
        "the tuple is not closed")
    bad("header_deep", header("(" * 9000), "parentheses are nested 9,000 deep")
    bad("header_list", header("['descr']"), "the header is no dictionary")
    bad("header_too_long", good[:8] + b"\xff\xff" + good[10:], "the header is longer than the file")
    bad("header_not_utf8", npy_bytes(
        b"{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), '\xff': 1}", data, (3, 0)),
        "the header is not UTF-8")


def make_refused_npz(manifest: Manifest) -> None:
    def bad(name: str, data: bytes, reason: str) -> None:
        refuse(manifest, f"npz/{name}.npz", data, reason)

    matrix = np.arange(6.0).reshape(2, 3)
    member = npy(matrix)
    bad("structured", npz(weight=matrix, table=STRUCTURED), "structured elements are unsupported")
    bad("datetime", npz(day=np.array("2020-01-01", "M8[D]")), "datetimes are unsupported")
    bad("object", zip_bytes([("weight.npy", member), ("object.npy", npy_bytes(
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\x80\x03]q\x00K\x01a."))]),
        "objects are pickles")
    bad("duplicate", zip_bytes([("a.npy", member), ("a.npy", npy(matrix + 1))]),
        "two entries are named a.npy")
    bad("text_collision", npz(**{"a": np.array(["x"]), "a.0": matrix}),
        "a value and a tensor are named 'a.0'")
    bad("short_member", zip_bytes([("a.npy", member[:-1])]), "48 bytes are declared, 47 are there")
    archive = zip_bytes([("a.npy", member)])
    at = archive.index(matrix.tobytes()) + 9
    bad("flipped", archive[:at] + bytes([archive[at] ^ 1]) + archive[at + 1 :],
        "CRC-32 of a.npy differs")
    bad("truncated", archive[:-10], "the end of the central directory is cut")
    huge = npy_bytes(b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }", b"")
    bad("declared_too_large", zip_bytes([("a.npy", huge)], deflated=True),
        "800 GB are declared, none are there")
