"""Arrays as NumPy writes them, and files that NumPy or condi-convert refuses."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
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
    make_objects(manifest)
    make_odd_npz(manifest)
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


# MARK: Entries that cannot be read, and objects

STRUCTURED = np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f8")])


def expect(manifest: Manifest, name: str, data: bytes, arrays: dict[str, Any], **extra: Any) -> None:
    """Writes a file that NumPy itself reads otherwise, or only by unpickling."""
    values = extra.pop("values", {})
    manifest.path(name).write_bytes(data)
    entry = expectation({key: np.asanyarray(array) for key, array in arrays.items()})
    entry["values"].update({key: leaf_entry(value) for key, value in values.items()})
    manifest.add(name, {**entry, **extra})


def make_objects(manifest: Manifest) -> None:
    """Arrays of objects, whose pickles are data here; protocol 4, as NumPy writes them."""
    # Not made by pickling: the pickle would differ between versions of NumPy.
    def objects(shape: str, pickle: bytes) -> bytes:
        header = b"{'descr': '|O', 'fortran_order': False, 'shape': " + shape.encode() + b", }"
        return npy_bytes(header, pickle)

    def array(shape: bytes, item: bytes) -> bytes:
        """numpy.ndarray's pickle of objects, in protocol 0."""
        return (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntVb\ntR(I1\n"
                + shape + b"cnumpy\ndtype\n(VO8\nI00\nI01\ntR(I3\nV|\nNNNI-1\nI-1\nI63\ntb"
                + b"I00\n(l" + item + b"atb.")

    number = (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntVb\ntR(I1\n(I2\nt"
              b"cnumpy\ndtype\n(Vi1\nI00\nI01\ntR(I3\nV|\nNNNI-1\nI-1\nI0\ntbI00\n"
              b"c_codecs\nencode\n(V\x01\x02\nVlatin1\ntRtb")  # fmt: skip
    dictionary = array(b"(t", b"(dVw\n" + number + b"sVn\nI7\ns")
    pair = np.array([1, 2], np.int8)
    expect(manifest, "npy/objects.npy", objects("()", dictionary), {"w": pair}, values={"n": 7})
    evil = array(b"(t", b"cos\nsystem\n(Vtrue\ntR")
    expect(manifest, "npz/objects.npz", zip_bytes([
        ("params.npy", objects("()", dictionary)), ("list.npy", objects("(1,)", array(b"(I1\nt", number))),
        ("evil.npy", objects("()", evil)), ("weight.npy", npy(pair)),
    ]), {"params.w": pair, "list.0": pair, "weight": pair}, values={"params.n": 7},
        unread=["evil"])  # fmt: skip


def make_odd_npz(manifest: Manifest) -> None:
    matrix = np.arange(6.0).reshape(2, 3)
    odd = {"day": np.array(["2020-01-01"], "M8[D]"), "span": np.array(5, "m8[s]"),
           "table": STRUCTURED, "long": np.zeros(2, np.longdouble), "void": np.zeros(3, "V2")}
    members = unzip(npz(weight=matrix, **odd))
    members += [("layer/", b""), ("layer/w.npy", npy(matrix)), ("README.txt", b"hello")]
    expect(manifest, "npz/odd_entries.npz", zip_bytes(members), {"weight": matrix, "layer/w": matrix},
           unread=[*odd, "layer/", "README.txt"])
    narrow = np.arange(3)
    expect(manifest, "npz/ml_dtypes.npz", npz(
        b=narrow.astype(ml_dtypes.bfloat16), f=narrow.astype(ml_dtypes.float8_e4m3fn),
    ), {}, refused=True, reason="NumPy does not keep the types of ml_dtypes")  # fmt: skip
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, method in (("a.npy", zipfile.ZIP_STORED), ("b.npy", zipfile.ZIP_BZIP2),
                             ("c.npy", zipfile.ZIP_LZMA)):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            archive.writestr(info, npy(matrix))
    expect(manifest, "npz/methods.npz", buffer.getvalue(), {"a": matrix}, unread=["b", "c"])


# MARK: Files to refuse


def make_refused_npy(manifest: Manifest) -> None:
    def bad(name: str, data: bytes, reason: str) -> None:
        refuse(manifest, f"npy/{name}.npy", data, reason)

    bad("structured", npy(STRUCTURED), "structured elements are unsupported")
    bad("datetime", npy(np.array(["2020-01-01"], "M8[D]")), "datetimes are unsupported")
    bad("timedelta", npy(np.array([5], "m8[s]")), "time differences are unsupported")
    bad("void", npy(np.zeros(3, "V2")), "the type of 2-byte voids is lost")
    bad("longdouble", npy(np.zeros(2, np.longdouble)), "128-bit reals are unsupported")
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
