"""ONNX models as the onnx package writes them, and files broken in one way each."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .manifest import Manifest, leaf_entry, tensor_entry

ELEMENT_TYPES = {
    "FLOAT": "float32", "UINT8": "uint8", "INT8": "int8", "UINT16": "uint16", "INT16": "int16",
    "INT32": "int32", "INT64": "int64", "BOOL": "bool", "FLOAT16": "float16", "DOUBLE": "float64",
    "UINT32": "uint32", "UINT64": "uint64", "COMPLEX64": "complex64", "COMPLEX128": "complex128",
    "BFLOAT16": "bfloat16", "FLOAT8E4M3FN": "float8_e4m3fn",
    "FLOAT8E4M3FNUZ": "float8_e4m3fnuz", "FLOAT8E5M2": "float8_e5m2",
    "FLOAT8E5M2FNUZ": "float8_e5m2fnuz", "FLOAT8E8M0": "float8_e8m0fnu",
}  # fmt: skip
# Their elements fill whole bytes only for some shapes.
NARROW = {"FLOAT4E2M1": "float4_e2m1", "FLOAT6E2M3": "float6_e2m3", "FLOAT6E3M2": "float6_e3m2"}
# They are read as bytes.
PACKED = {"INT4": "int8", "UINT4": "uint8", "INT2": "int8", "UINT2": "uint8"}


def make(manifest: Manifest) -> None:
    make_read(manifest)
    make_external(manifest)
    make_refused(manifest)


def sample(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    dtype = helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind))
    count = int(np.prod(shape))
    if kind == "BOOL":
        return (np.arange(count) % 3 == 0).reshape(shape)
    data = (np.arange(count * dtype.itemsize, dtype=np.int64) * 37 + 64) % 256
    return data.astype(np.uint8).view(dtype).reshape(shape)


def raw(name: str, kind: str, shape: tuple[int, ...] = (3, 4)) -> TensorProto:
    return numpy_helper.from_array(sample(kind, shape), name)


def typed(name: str, kind: str, shape: tuple[int, ...] = (3, 4)) -> TensorProto:
    """The elements in the field of their type, as the package's `make_tensor` puts them."""
    values = sample(kind, shape)
    if kind == "FLOAT8E8M0":  # make_tensor wants reals, and not every code is one.
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT8E8M0, dims=shape)
        tensor.int32_data.extend(values.view(np.uint8).reshape(-1).tolist())
        return tensor
    return helper.make_tensor(name, getattr(TensorProto, kind), shape, values.reshape(-1))


def model(initializers: list[TensorProto], nodes: list[Any] = [], **extra: Any) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "a graph", [], [], initializers)
    made = helper.make_model(graph, producer_name="condi-test", ir_version=10,
                             opset_imports=[helper.make_opsetid("", 21)])
    helper.set_model_props(made, extra.get("metadata", {}))
    return made


def expected(made: onnx.ModelProto, folder: str = "", nodes: dict[str, TensorProto] = {}
             ) -> dict[str, Any]:  # fmt: skip
    """What the package reads from the model's initializers, and from tensors of `nodes` by name."""
    tensors = []
    named = [(tensor.name, tensor) for tensor in made.graph.initializer] + list(nodes.items())
    for tensor_name, tensor in named:
        kind = TensorProto.DataType.Name(tensor.data_type)
        array = numpy_helper.to_array(tensor, folder)
        if kind in PACKED:
            array = array.astype(PACKED[kind])
        if kind in NARROW and is_whole(kind, array.size):
            # to_array gives a byte an element; the model packs them.
            content, shown = tensor.raw_data, None
        else:
            if kind in NARROW:
                array = array.astype(np.float32)
            content = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
            shown = array.reshape(-1).tolist() if array.dtype.kind in "biufc" else None
        name = {**ELEMENT_TYPES, **PACKED, **NARROW}[kind]
        if kind in NARROW and not is_whole(kind, array.size):
            name = "float32"
        tensors.append(tensor_entry(tensor_name, name, list(tensor.dims), content, shown))
    values: dict[str, Any] = {"onnx.ir_version": leaf_entry(made.ir_version)}
    for opset in made.opset_import:
        values[f"onnx.opset_import.{opset.domain or 'ai.onnx'}"] = leaf_entry(opset.version)
    for name, value in (("producer_name", made.producer_name), ("graph.name", made.graph.name)):
        if value:
            values[f"onnx.{name}"] = leaf_entry(value)
    metadata = {pair.key: pair.value for pair in made.metadata_props}
    return {"tensors": tensors, "values": values, "metadata": metadata}


def is_whole(kind: str, count: int) -> bool:
    return count * (4 if kind == "FLOAT4E2M1" else 6) % 8 == 0


def serialized(made: onnx.ModelProto) -> bytes:
    return made.SerializeToString(deterministic=True)


def add(manifest: Manifest, name: str, made: onnx.ModelProto, data: bytes | None = None,
        nodes: dict[str, TensorProto] = {}, **extra: Any) -> None:  # fmt: skip
    path = f"onnx/{name}.onnx"
    manifest.path(path).write_bytes(serialized(made) if data is None else data)
    manifest.add(path, {**expected(onnx.load(manifest.folder / path), nodes=nodes), **extra})


def make_read(manifest: Manifest) -> None:
    add(manifest, "raw", model([raw(kind.lower(), kind) for kind in ELEMENT_TYPES]))
    add(manifest, "typed", model([typed(kind.lower(), kind) for kind in ELEMENT_TYPES]))
    add(manifest, "narrow", model([raw("four", "FLOAT4E2M1", (3, 4)), raw("odd", "FLOAT4E2M1", (3, 5))]))
    packed = [make(f"{kind.lower()}_{way}", kind, shape) for kind in PACKED
              for way, make, shape in (("raw", raw, (3, 4)), ("typed", typed, (3, 4)),
                                       ("odd", raw, (3, 3)), ("odd_typed", typed, (7,)))]  # fmt: skip
    add(manifest, "packed", model(packed))
    integers = helper.make_tensor("integers", TensorProto.INT8, (4,), [-128, -1, 0, 127])
    words = helper.make_tensor("words", TensorProto.INT64, (3,), [-(2**63), -1, 2**63 - 1])
    unsigned = helper.make_tensor("unsigned", TensorProto.UINT64, (2,), [0, 2**64 - 1])
    add(manifest, "extremes", model([integers, words, unsigned]))
    shapes = [raw("scalar", "FLOAT", ()), raw("empty", "FLOAT", (0, 3)), raw("odd", "INT16", (3, 5, 7))]
    add(manifest, "shapes", model(shapes))
    constant = helper.make_node("Constant", [], ["c"], value=raw("c", "FLOAT"))
    add(manifest, "nodes", model([raw("w", "FLOAT")], [constant], metadata={"author": "Grüße"}),
        nodes={"c": constant.attribute[0].t})
    make_branches(manifest)
    add(manifest, "no_initializers", model([]))
    # An unpacked float_data, and an int32_data in two packed pieces: older writers' encodings.
    unpacked = model([typed("w", "FLOAT", (3,)), typed("i", "INT8", (4,))])
    floats = sample("FLOAT", (3,)).tobytes()
    pieces = b"".join(b"\x25" + floats[start : start + 4] for start in (0, 4, 8))
    integers_data = packed_field(5, unpacked.graph.initializer[1].int32_data)
    values = list(unpacked.graph.initializer[1].int32_data)
    data = rebuilt(unpacked, {
        "w": lambda body: body.replace(b"\x22\x0c" + floats, pieces),
        "i": lambda body: body.replace(
            integers_data, packed_field(5, values[:1]) + packed_field(5, values[1:])),
    })  # fmt: skip
    add(manifest, "unpacked", unpacked, data)


def make_branches(manifest: Manifest) -> None:
    """Tensors in nodes, in branches and loops inside them, and in functions.

    Functions come last in a model, so that a file that is cut before them is still whole.
    """
    def constant(output: str, **attribute: Any) -> Any:
        return helper.make_node("Constant", [], [output], **attribute)

    inner, deep = raw("inner", "FLOAT", (2, 3)), raw("", "INT64", (1,))
    then_branch = helper.make_graph([], "then", [], [], [inner])
    else_branch = helper.make_graph([constant("deep", value=deep)], "else", [], [], [
        raw("same", "INT4", (2, 3))])
    weight = raw("same", "UINT8", (2, 3))
    body = helper.make_graph([constant("step", value_int=7), constant("same", value_float=0.5)],
                             "body", [], [], [weight])  # fmt: skip
    filled = helper.make_node("ConstantOfShape", ["w"], ["z"], name="fill", value=raw("v", "FLOAT", (1,)))
    sparse = helper.make_sparse_tensor(
        raw("", "FLOAT", (1,)), helper.make_tensor("", TensorProto.INT64, (1,), [2]), [4])
    nodes = [
        constant("c", value=raw("", "FLOAT", (2,))),
        helper.make_node("If", ["w"], ["y"], name="if", then_branch=then_branch,
                         else_branch=else_branch),
        helper.make_node("Loop", ["w"], ["l"], body=body), filled,
        constant("reals", value_floats=[1.5, -2.0]), constant("integers", value_ints=[3, -4]),
        constant("text", value=helper.make_tensor("", TensorProto.STRING, (1,), [b"a"])),
        constant("sparse", sparse_value=sparse),
    ]  # fmt: skip
    array = numpy_helper.from_array
    add(manifest, "branches", model([raw("w", "FLOAT")], nodes), unread=["text", "sparse", "l.body.same"], nodes={
        "c": nodes[0].attribute[0].t, "if.else_branch.deep": deep,
        "if.else_branch.same": else_branch.initializer[0], "if.then_branch.inner": inner,
        "l.body.step": array(np.array(7)), "l.body.same": array(np.array(0.5, np.float32)),
        "fill.value": filled.attribute[0].t, "reals": array(np.array([1.5, -2], np.float32)),
        "integers": array(np.array([3, -4])),
    })  # fmt: skip
    made = model([raw("w", "FLOAT")])
    made.functions.append(helper.make_function(
        "test", "scaled", ["x"], ["y"], [constant("f", value=raw("", "FLOAT", (3,))),
                                         helper.make_node("Mul", ["x", "f"], ["y"])],
        [helper.make_opsetid("", 21)]))
    add(manifest, "functions", made, nodes={"scaled.f": made.functions[0].node[0].attribute[0].t})


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    output = bytearray()
    while value >= 0x80:
        output.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(output) + bytes([value])


def delimited(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def packed_field(number: int, values: Any) -> bytes:
    return delimited(number, b"".join(varint(value) for value in values))


def rebuilt(made: onnx.ModelProto, edits: dict[str, Callable[[bytes], bytes]]) -> bytes:
    """The model with the encoded bytes of some initializers edited."""
    graph = b""
    for tensor in made.graph.initializer:
        body = tensor.SerializeToString(deterministic=True)
        edit = edits.get(tensor.name)
        if edit is not None:
            assert edit(body) != body, tensor.name
            body = edit(body)
        graph += delimited(5, body)
    rest = onnx.ModelProto()
    rest.CopyFrom(made)
    rest.ClearField("graph")
    graph = delimited(2, made.graph.name.encode()) + graph
    return serialized(rest) + delimited(7, graph)


def external(name: str, kind: str, **entries: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=getattr(TensorProto, kind), dims=[3, 4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def make_external(manifest: Manifest) -> None:
    first, second = sample("FLOAT", (3, 4)).tobytes(), sample("INT16", (3, 4)).tobytes()
    manifest.path("onnx/external/weights.bin").write_bytes(first + bytes(16) + second)
    manifest.path("onnx/external/parts/more.bin").write_bytes(second)
    made = model([
        external("whole", "FLOAT", location="weights.bin", offset="0", length="48"),
        external("second", "INT16", location="weights.bin", offset="64", length="24"),
        external("below", "INT16", location="parts/more.bin"),
        raw("inside", "FLOAT"),
    ])  # fmt: skip
    path = "onnx/external/model.onnx"
    manifest.path(path).write_bytes(serialized(made))
    manifest.add(path, expected(made, str(manifest.folder / "onnx/external")))


def make_refused(manifest: Manifest) -> None:
    def bad(name: str, made: onnx.ModelProto | bytes, reason: str) -> None:
        data = made if isinstance(made, bytes) else serialized(made)
        manifest.refuse(f"onnx/{name}.onnx", data, reason)

    texts = helper.make_tensor("w", TensorProto.STRING, (2,), [b"a", b"b"])
    bad("unreadable_string", model([raw("good", "FLOAT"), texts]), "'w' holds texts")
    short = raw("w", "INT4", (3, 3))
    short.raw_data = short.raw_data[:-1]
    bad("packed_too_short", model([short]), "four bytes for nine elements of 4 bits")

    def edited(file: str, reason: str, **fields: Any) -> None:
        tensor = raw("w", "FLOAT")
        for field, value in fields.items():
            if field == "dims":
                del tensor.dims[:]
                tensor.dims.extend(value)
            elif field == "float_data":
                tensor.float_data.extend(value)
            else:
                setattr(tensor, field, value)
        bad(file, model([tensor]), reason)

    edited("unknown_type", "the type 99 is unknown", data_type=99)
    edited("undefined_type", "the type is not defined", data_type=0)
    edited("negative_dimension", "a dimension is negative", dims=[-3, -4])
    edited("shape_overflow", "2^64 elements", dims=[2**62, 4])
    edited("many_axes", "65 axes", dims=[1] * 65)
    edited("raw_too_short", "44 bytes for 12 elements", raw_data=bytes(44))
    edited("raw_too_long", "52 bytes for 12 elements", raw_data=bytes(52))
    edited("no_name", "the name is empty", name="")
    edited("two_places", "raw_data and float_data", float_data=[1.0] * 12)
    for count in (11, 13):
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[12])
        tensor.float_data.extend([1.0] * count)
        bad(f"typed_{count}", model([tensor]), f"{count} elements for 12")
        tensor = TensorProto(name="w", data_type=TensorProto.INT8, dims=[12])
        tensor.int32_data.extend([1] * count)
        bad(f"typed_integers_{count}", model([tensor]), f"{count} elements for 12")
    tensor = TensorProto(name="w", data_type=TensorProto.INT8, dims=[1])
    tensor.int32_data.append(128)
    bad("typed_range", model([tensor]), "128 is no int8")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.int32_data.append(1)
    bad("typed_field", model([tensor]), "a float in int32_data")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    bad("no_data", model([tensor]), "there is no data")
    segment = raw("w", "FLOAT")
    segment.segment.begin, segment.segment.end = 0, 6
    bad("segment", model([segment]), "only a segment of the tensor")
    bad("duplicate", model([raw("w", "FLOAT"), raw("w", "INT8")]), "'w' occurs twice")
    sparse = model([raw("w", "FLOAT")])
    sparse.graph.sparse_initializer.append(helper.make_sparse_tensor(
        raw("sparse", "FLOAT", (1,)), helper.make_tensor("", TensorProto.INT64, (1,), [2]), [4]))
    bad("sparse", sparse, "a sparse initializer")
    no_graph = model([])
    no_graph.ClearField("graph")
    bad("no_graph", no_graph, "there is no graph")
    for name, entries, reason in (
        ("external_missing", {"location": "missing.bin"}, "the file is missing"),
        ("external_parent", {"location": "../npy/float32.npy"}, "the path leaves the folder"),
        ("external_absolute", {"location": "/etc/passwd"}, "the path is absolute"),
        ("external_hidden_parent", {"location": "external/../../npy/float32.npy"}, "'..' inside"),
        ("external_no_location", {"offset": "0"}, "there is no location"),
        ("external_past_the_end", {"location": "external/weights.bin", "offset": "80"}, "too long"),
        ("external_offset_text", {"location": "external/weights.bin", "offset": "x"}, "no number"),
        ("external_negative", {"location": "external/weights.bin", "offset": "-1"}, "negative"),
        ("external_length", {"location": "external/weights.bin", "length": "47"}, "47 bytes"),
    ):
        bad(name, model([external("w", "FLOAT", **entries)]), reason)
    both = external("w", "FLOAT", location="external/weights.bin")
    both.raw_data = bytes(48)
    bad("external_and_raw", model([both]), "data in two places")
    good = serialized(model([raw("w", "FLOAT")]))
    bad("group", good + b"\x0b\x0c", "a group, which protobuf has given up")
    bad("after_the_end", good + b"\x0a\x05ab", "the last field is cut")
