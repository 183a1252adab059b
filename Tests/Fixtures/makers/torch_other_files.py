"""Checkpoints in PyTorch's other forms, and pickles that hold more than plain data.

The classes pickled here are made for the purpose and live in `__main__` as far as the pickles say,
so that no program can load them by accident.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import functools
import io
import operator
import pathlib
import pickle
import posixpath
import re
import signal
import struct
import sys
import tarfile
import types
from collections import OrderedDict
from typing import Any

import ml_dtypes
import numpy as np
import torch

from .archives import unzip, zip_bytes
from .manifest import Manifest
from .torch_files import add_written, refuse, sample, saved, saved_legacy
from .torch_tensors import expectation

MAGIC = 0x1950A86A20F9469CFC6C


def make(manifest: Manifest) -> None:
    make_legacy(manifest)
    make_tar(manifest)
    make_modules(manifest)
    make_torchscript(manifest)
    make_numpy_pickles(manifest)
    make_plain_pickles(manifest)
    make_composite_tensors(manifest)
    make_odd_entries(manifest)
    make_zipped(manifest)


# MARK: What is expected


def plain(value: Any) -> Any:
    """`value` as condi-convert reads it: containers, tensors and leaves."""
    match value:
        case torch.nn.Module():
            attributes = dict(value.__dict__)
            own = [attributes.pop(key) for key in ("_parameters", "_buffers", "_modules")]
            return plain({key: child for part in [*own, attributes] for key, child in part.items()})
        case torch.Tensor():
            return value
        case dict():
            return {key_text(key): plain(child) for key, child in value.items()}
        case np.ndarray() if value.dtype == object:
            return [plain(item) for item in value.reshape(-1)]
        case np.ndarray() if value.dtype.kind in "US":
            return value.tolist()
        case np.ndarray():
            native = value.astype(value.dtype.newbyteorder("="), order="C")
            return torch.from_numpy(native)
        case np.generic():
            return value.item()
        case list() | tuple() | set() | frozenset() | collections.deque():
            return [plain(item) for item in value]
        case argparse.Namespace():
            return plain(vars(value))
        case datetime.date() | datetime.time():
            return value.isoformat()
        case pathlib.PurePath() | decimal.Decimal():
            return str(value)
        case torch.dtype() | torch.device():
            return str(value)
        case _ if callable(value):
            return f"{value.__module__}.{value.__qualname__}"
    return value


def key_text(key: Any) -> Any:
    return repr(key) if isinstance(key, tuple) else key


def expect(manifest: Manifest, name: str, data: bytes, value: Any, **extra: Any) -> None:
    add_written(manifest, name, data, value=plain(value), **extra)


# MARK: Unzipped checkpoints


def stream(value: bytes, storages: list[tuple[str, int, bytes]], *, little_endian: bool = True) -> bytes:
    """The unzipped form around a hand-made object pickle; storages are (key, count, bytes)."""
    sizes = {"short": 2, "int": 4, "long": 4}
    info = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": sizes}
    pickles = [pickle.dumps(part, protocol=2) for part in (MAGIC, 1001, info)]
    keys = pickle.dumps([key for key, _, _ in storages], protocol=2)
    tail = b"".join(struct.pack("<q", count) + data for _, count, data in storages)
    return b"".join(pickles) + value + keys + tail


def tensor_pickle(key: str, count: int, view: bytes, offset: int, size: int) -> bytes:
    """A tensor of floats in the storage `key`, in protocol 0 so that it can be read here."""
    return (
        f"ctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV{key}\nVcpu\nI{count}\n".encode()
        + view
        + f"tQI{offset}\n(I{size}\nt(I1\ntI00\nccollections\nOrderedDict\n(tRtR".encode()
    )


def make_legacy(manifest: Manifest) -> None:
    numbers = torch.arange(6.0)
    data = numbers.numpy().tobytes()
    view = b"(V77\nI2\nI3\nt"  # key, offset and length of a view, in elements
    object_ = b"(dVwhole\n" + tensor_pickle("5", 6, b"N", 0, 6) + b"sVview\n"
    object_ += tensor_pickle("5", 6, view, 1, 2) + b"s."
    expected = {"whole": numbers, "view": numbers[3:5]}
    expect(manifest, "legacy_storage_views.pth", stream(object_, [("5", 6, data)]), expected,
           note="storages that are views of storages, as written until 1.5")
    expect(manifest, "legacy_big_endian.pth",
           stream(object_, [("5", 6, data)], little_endian=False), expected,
           note="the machine was big-endian; the storages are little-endian all the same")
    value = {
        "model": OrderedDict(weight=torch.arange(4.0).reshape(2, 2).t(),
                             half=sample(torch.float16, (3,)),
                             u16=torch.tensor([1, 65535], dtype=torch.uint16)),
        "epoch": 7, "name": "läuft", "lr": 0.5,
    }  # fmt: skip
    expect(manifest, "legacy_checkpoint.pth", saved_legacy(value), value)

    good = stream(object_, [("5", 6, data)])
    refuse(manifest, "legacy_truncated.pth", good[:-3], "the storage is cut", ask=False)
    refuse(manifest, "legacy_trailing.pth", good + b"more", "bytes follow the storages", ask=False)
    refuse(manifest, "legacy_wrong_count.pth", stream(object_, [("5", 5, data)]),
           "the storage has 5 elements where 6 are declared", ask=False)
    refuse(manifest, "legacy_unknown_key.pth", stream(object_, [("6", 6, data)]),
           "no tensor has the storage '6'", ask=False)
    outside = b"(V77\nI4\nI3\nt"
    refuse(manifest, "legacy_view_outside.pth",
           stream(tensor_pickle("5", 6, outside, 0, 2) + b".", [("5", 6, data)]),
           "the view ends outside the storage", ask=False)


def tar_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def make_tar(manifest: Manifest) -> None:
    """What torch.save wrote before 0.1.11, from the facts that torch.load's `legacy_load` keeps."""
    floats, bytes_ = torch.arange(6.0), torch.arange(4, dtype=torch.uint8)

    def dumps(value: Any) -> bytes:
        return pickle.dumps(value, protocol=2)

    def described(key: int, second: bytes, class_: str) -> bytes:
        """The pickle (key, `second`, class), where the class is torch's old one."""
        return b"(I%d\n" % key + second + b"ctorch\n" + class_.encode() + b"\nt."

    def storage(key: int, class_: str, tensor: torch.Tensor) -> bytes:
        return (described(key, b"Vcpu\n", class_) + struct.pack("<q", tensor.numel())
                + tensor.numpy().tobytes())

    def tensor(key: int, root: int, class_: str, offset: int, *dimensions: tuple[int, int]) -> bytes:
        sizes, strides = zip(*dimensions)
        return (described(key, b"I%d\n" % root, class_)
                + struct.pack("<ii", len(sizes), 0)
                + struct.pack(f"<{2 * len(sizes) + 1}q", *sizes, *strides, offset))

    storages = dumps(2) + storage(10, "FloatStorage", floats) + storage(11, "ByteStorage", bytes_)
    storages += dumps([(12, 10, 2, 3)])
    tensors = dumps(3) + tensor(20, 10, "FloatTensor", 0, (2, 3), (3, 1))
    tensors += tensor(21, 11, "ByteTensor", 1, (2, 1)) + tensor(22, 12, "FloatTensor", 1, (2, 1))
    # Persistent identifiers are numbers, as texts for tensors.
    object_ = b"\x80\x02}(X\x01\x00\x00\x00wX\x02\x00\x00\x0020QX\x01\x00\x00\x00bX\x02\x00\x00\x0021Q"
    object_ += b"X\x01\x00\x00\x00vK\x16QX\x05\x00\x00\x00epochK\x03u."
    members = {"sys_info": dumps({"protocol_version": 1000, "little_endian": True}),
               "pickle": object_, "storages": storages, "tensors": tensors}
    expected = {"w": floats.as_strided((2, 3), (3, 1)), "b": bytes_[1:3], "v": floats[3:5], "epoch": 3}
    expect(manifest, "tar.pth", tar_bytes(members), expected)
    cut = {**members, "storages": storages[:-30]}
    refuse(manifest, "tar_short_storage.pth", tar_bytes(cut), "the storages are cut", ask=False)
    without = {name: data for name, data in members.items() if name != "tensors"}
    refuse(manifest, "tar_no_tensors.pth", tar_bytes(without), "there is no 'tensors'", ask=False)
    evil = {**members, "pickle": b"cos\nsystem\n(Vtrue\ntR."}
    refuse(manifest, "tar_calls_system.pth", tar_bytes(evil), "global os.system", ask=False)


# MARK: Modules


class Stage(torch.nn.Module):
    """A module of an unknown class, with everything that modules keep."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 3)
        self.norm = torch.nn.BatchNorm1d(2)
        self.layers = torch.nn.ModuleList([torch.nn.Linear(2, 2, bias=False)])
        self.scale = torch.nn.Parameter(torch.tensor([0.5]))
        self.register_buffer("window", torch.arange(3.0), persistent=False)
        self.anchors = torch.arange(4.0)
        self.activation = torch.nn.functional.relu
        self.settings = argparse.Namespace(depth=2, sizes=[1, 2])
        with torch.no_grad():
            for order, parameter in enumerate(self.parameters()):
                count = parameter.numel()
                parameter.copy_((torch.arange(count) * 0.25 - order).reshape(parameter.shape))


class Settings(dict):
    """A dictionary with attributes, as configuration packages make them."""


class Slotted:
    __slots__ = ("first", "second")


Stage.__module__ = Settings.__module__ = Slotted.__module__ = "__main__"


def in_main(function: Any) -> Any:
    """Calls `function` while the classes above can be found where their pickles say."""
    import __main__

    for class_ in (Stage, Settings, Slotted):
        setattr(__main__, class_.__name__, class_)
    return function()


def make_modules(manifest: Manifest) -> None:
    module = Stage()
    expect(manifest, "module.pth", in_main(lambda: saved(module)), module)
    wrapped = {"model": module, "epoch": 4, "dtype": torch.float16}
    expect(manifest, "module_in_dict.pth", in_main(lambda: saved(wrapped)), wrapped)
    linear = torch.nn.Linear(2, 2)
    torch.nn.init.ones_(linear.weight), torch.nn.init.zeros_(linear.bias)
    expect(manifest, "whole_module.pth", saved(linear), linear)
    expect(manifest, "whole_module_legacy.pth", legacy_module(linear), linear,
           note="classes are persistent identifiers that hold their source")
    expect(manifest, "namespace.pth",
           saved({"opt": argparse.Namespace(lr=0.1), "w": torch.arange(4.0)}),
           {"opt": argparse.Namespace(lr=0.1), "w": torch.arange(4.0)})

    settings, slotted = Settings(a=1, b=torch.ones(2)), Slotted()
    settings.frozen = True
    slotted.first, slotted.second = torch.zeros(1), "x"
    value = {"settings": settings, "slotted": slotted}
    expected = {"settings": {"a": 1, "b": torch.ones(2), "__dict__": {"frozen": True}},
                "slotted": {"first": torch.zeros(1), "second": "x"}}
    expect(manifest, "objects.pth", in_main(lambda: saved(value)), expected)

    optimizer = torch.optim.AdamW(linear.parameters(), lr=0.01, amsgrad=True)
    for parameter in linear.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    checkpoint = {
        "state_dict": linear.state_dict(), "optimizer": optimizer.state_dict(),
        "scheduler": {key: child for key, child in scheduler.state_dict().items()},
        "rng": np.arange(5, dtype=np.uint32), "best": np.float64(0.125), "step": np.int64(-3),
        "args": argparse.Namespace(out=pathlib.PurePosixPath("/tmp/x"), when=datetime.date(2024, 2, 29)),
        "seen": collections.Counter("aab"), "lists": collections.defaultdict(list, {"k": [1]}),
        "milestones": {3}, "queue": collections.deque([1, 2], 5),
    }  # fmt: skip
    expect(manifest, "training.pth", saved(checkpoint), checkpoint)


def legacy_module(module: torch.nn.Linear) -> bytes:
    """An unzipped checkpoint of a module, its storage keys and sources made constant.

    torch keeps the source of each class as a persistent identifier; the source's path depends on
    the machine. The keys are addresses, and the storages follow in their order.
    """
    data = saved(module, _use_new_zipfile_serialization=False)
    path = torch.nn.modules.linear.__file__.encode()
    data = data.replace(b"X" + struct.pack("<I", len(path)) + path, b"X\x09\x00\x00\x00linear.py")
    keys: dict[bytes, bytes] = {}

    def renamed(match: re.Match[bytes]) -> bytes:
        if int.from_bytes(match[1], "little") != len(match[2]):
            return match[0]
        key = keys.setdefault(match[2], b"%d" % (94_000_000_000_000 + 64 * len(keys)))
        return b"X" + len(key).to_bytes(4, "little") + key

    data = re.sub(rb"X(.\0\0\0)(\d{8,})", renamed, data, flags=re.DOTALL)
    storages = [
        struct.pack("<q", tensor.numel()) + tensor.detach().numpy().tobytes()
        for tensor in (module.weight, module.bias)
    ]
    pickles, _, _ = data[: min(map(data.index, storages))].rpartition(b"\x80\x02]")
    listed = pickle.dumps([key.decode() for key in keys.values()], protocol=2)
    return pickles + listed + b"".join(storages)


# MARK: TorchScript


class Scripted(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 3)
        self.register_buffer("steps", torch.arange(3))
        self.extra = torch.arange(2.0)
        self.sizes = [1, 2]
        self.names = {"a": 1}
        self.rate = 0.5
        with torch.no_grad():
            self.linear.weight.copy_(torch.arange(6.0).reshape(3, 2))
            self.linear.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * self.extra[0]


class Traced(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.tensor([1.0, 2.0])


def make_torchscript(manifest: Manifest) -> None:
    def script(module: torch.jit.ScriptModule) -> bytes:
        buffer = io.BytesIO()
        torch.jit.save(module, buffer)
        return buffer.getvalue()

    module = Scripted()
    own = {"training": True, "_is_full_backward_hook": None}
    expected = {
        **own, "steps": module.steps, "extra": module.extra, "sizes": [1, 2], "names": {"a": 1},
        "rate": 0.5, "linear": {**module.linear.state_dict(), **own},
    }  # fmt: skip
    expect(manifest, "torchscript.pt", without_sources(script(torch.jit.script(module))), expected)
    traced = torch.jit.trace(Traced(), torch.zeros(2), check_trace=False)
    expected = {**own, "CONSTANTS": {"c0": torch.tensor([1.0, 2.0])}}
    expect(manifest, "torchscript_constants.pt", without_sources(script(traced)), expected)


def without_sources(data: bytes) -> bytes:
    """The archive without what varies: paths of this machine, and the order of lines in the code."""
    stray = (".debug_pkl", "serialization_id")
    return zip_bytes([
        (name, b"# removed\n" if "/code/" in name else content)
        for name, content in unzip(data) if not name.endswith(stray)])  # fmt: skip


# MARK: Odd entries beside tensors


def make_odd_entries(manifest: Manifest) -> None:
    w = torch.arange(2.0)
    functions = {
        "w": w, "activation": torch.relu, "log": print, "get": operator.attrgetter("x"),
        "norm": functools.partial(torch.nn.LayerNorm, eps=1e-6), "join": posixpath.join,
        "signal": signal.SIGINT,
    }  # fmt: skip
    expect(manifest, "functions.pth", saved(functions), {
        "w": w, "activation": "torch._C._VariableFunctionsClass.relu", "log": "builtins.print",
        "get": ["x"],
        "norm": {
            "__state__": ["torch.nn.modules.normalization.LayerNorm", [], {"eps": 1e-6}, None],
            "__args__": ["torch.nn.modules.normalization.LayerNorm"],
        },
        "join": "posixpath.join", "signal": [2],
    })  # fmt: skip
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    torch.nn.init.ones_(module[0].weight), torch.nn.init.zeros_(module[0].bias)
    module.call, module.inner = module.forward, module[0].forward
    attributes = plain(module)
    attributes["call"] = "torch.nn.modules.container.Sequential.forward"
    attributes["inner"] = "torch.nn.modules.linear.Linear.forward"
    expect(manifest, "bound_methods.pth", saved(module), attributes)

    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.mask = torch.zeros(2)
    expect(manifest, "parameter_attributes.pth", saved({"p": parameter, "list": [parameter]}),
           {"p": parameter, "p.mask": parameter.mask, "list": [parameter]}, unread=["list.0.mask"])
    make_distributed(manifest)

    masked = np.ma.masked_array(np.arange(3.0), [False, True, False])
    for protocol in (0, 2, 5):
        expect(manifest, f"masked_protocol{protocol}.pkl", pickle.dumps({"m": masked}, protocol),
               {"m": masked.data, "m.mask": masked.mask})
    narrow = np.arange(3).astype(ml_dtypes.bfloat16)
    expect(manifest, "ml_dtypes.pkl", pickle.dumps({"b": narrow}, 2),
           {"b": torch.arange(3, dtype=torch.bfloat16)})
    expect(manifest, "jax.pkl", jax_pickle(), {"layer": {"kernel": np.arange(6.0).reshape(2, 3)}},
           note="assembled as jax.Array.__reduce__ has it")


def make_distributed(manifest: Manifest) -> None:
    """DTensors of one process: the whole tensor, a part of one, and a summand."""
    torch.distributed.init_process_group(
        "gloo", rank=0, world_size=1, store=torch.distributed.HashStore())
    try:
        from torch.distributed.tensor import DTensor, Partial, Shard, init_device_mesh

        mesh = init_device_mesh("cpu", (1,))
        local = torch.arange(6.0).reshape(2, 3)

        def distributed(placement: Any, *shape: int) -> torch.Tensor:
            return DTensor.from_local(local, mesh, [placement], run_check=False,
                                      shape=torch.Size(shape), stride=(3, 1))  # fmt: skip

        value = {"whole": distributed(Shard(0), 2, 3), "part": distributed(Shard(0), 4, 3),
                 "sum": distributed(Partial(), 2, 3), "plain": torch.ones(2)}  # fmt: skip
        data = saved(value)
    finally:
        torch.distributed.destroy_process_group()
    expect(manifest, "dtensors.pth", data, {
        "whole": local, "part": {"_local_tensor": local}, "sum": {"_local_tensor": local},
        "plain": torch.ones(2),
    }, unread=["part", "sum"])  # fmt: skip


def jax_pickle() -> bytes:
    class JAXArray:
        def __reduce__(self) -> Any:
            function, arguments, state = np.arange(6.0).reshape(2, 3).__reduce__()
            return reconstruct, (function, arguments, state, {"weak_type": False})

    module = types.ModuleType("jax._src.array")

    def reconstruct(*arguments: Any) -> None: ...

    reconstruct.__module__, reconstruct.__qualname__ = module.__name__, "_reconstruct_array"
    module._reconstruct_array = reconstruct
    names = ["jax", "jax._src", module.__name__]
    saved_modules = {name: sys.modules.get(name) for name in names}
    sys.modules.update({name: types.ModuleType(name) for name in names[:2]})
    sys.modules[module.__name__] = module
    try:
        return pickle.dumps({"layer": {"kernel": JAXArray()}}, 4)
    finally:
        for name, known in saved_modules.items():
            if known is None:
                del sys.modules[name]
            else:
                sys.modules[name] = known


# MARK: Archives of several files


class Exported(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 3)
        self.register_buffer("steps", torch.arange(3.0))
        with torch.no_grad():
            self.linear.weight.copy_(torch.arange(6.0).reshape(3, 2))
            self.linear.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * self.steps + torch.tensor([1.0, 2.0, 3.0])


def make_zipped(manifest: Manifest) -> None:
    state = OrderedDict(w=torch.arange(4.0), b=torch.ones(1))
    members = [("data", b"{}"), ("policy.pth", saved(state)), ("version.txt", b"2.0")]

    def add(name: str, data: bytes, value: Any, **extra: Any) -> None:
        manifest.path(f"zipped/{name}").write_bytes(data)
        manifest.add(f"zipped/{name}", {**expectation(plain(value)), **extra})

    for name, deflated in (("agent.zip", False), ("agent_deflated.zip", True)):
        add(name, zip_bytes(members, deflated=deflated), {"policy.pth": state},
            unread=["data", "version.txt"], note="as stable-baselines3 saves an agent")
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(Exported(), (torch.ones(1, 2),)), buffer)
    # The program names files of this machine, and nothing of it is read.
    members = [
        (name, b"{}" if "/models/" in name else content)
        for name, content in unzip(buffer.getvalue())
        if not name.endswith("serialization_id") and "/sample_inputs/" not in name]  # fmt: skip
    module = Exported()
    add("exported.pt2", zip_bytes(members), {
        **dict(module.named_parameters()), **dict(module.named_buffers()), "lifted_tensor_0": torch.tensor([1.0, 2.0, 3.0])})


# MARK: Pickles without an archive


def make_numpy_pickles(manifest: Manifest) -> None:
    arrays = {
        "matrix": np.arange(6.0).reshape(2, 3), "float16": np.arange(3, dtype="<f2"),
        "fortran": np.asfortranarray(np.arange(6, dtype="<i4").reshape(2, 3)),
        "big_endian": np.arange(3, dtype=">i2"), "bool": np.array([True, False]),
        "complex": np.array([1 + 2j], dtype="<c8"), "empty": np.zeros((0, 3), dtype="<f4"),
        "scalar_array": np.array(7, dtype="<u8"), "view": np.arange(8.0)[::2],
        "texts": np.array([["ab", "c"], ["", "döë"]]), "bytes": np.array([b"a", b"bc"]),
        "objects": np.array([1, "x", None], dtype=object),
        "float32": np.float32(1.5), "int8": np.int8(-3), "uint64": np.uint64(2**64 - 1),
        "true": np.bool_(True), "complex64": np.complex64(1 + 2j), "str": np.str_("hey"),
        "half": np.float16(2.5),
    }  # fmt: skip
    for protocol in range(6):
        expect(manifest, f"numpy_protocol{protocol}.pkl", pickle.dumps(arrays, protocol), arrays)
    values = {
        "none": None, "flags": [True, False], "numbers": [1, -70000, 2**70, -(2**31), 1.5],
        "text": "Grüße\n\\ \u2028 \U0001f600", "raw": b"\x00\xff", "array": bytearray(b"ab"),
        "tuple": (1, (2,), ()), "set": {5}, "frozen": frozenset([6]), "complex": 1 - 2j,
        "when": datetime.datetime(2024, 1, 2, 3, 4, 5, 6), "time": datetime.time(1, 2, 3),
        "path": pathlib.PurePosixPath("a/b"), "decimal": decimal.Decimal("1.50"),
        "ordered": OrderedDict(b=1, a=2), (1, "a"): "tuple as key",
    }  # fmt: skip
    for protocol in range(6):
        expect(manifest, f"values_protocol{protocol}.pkl", pickle.dumps(values, protocol), values)
    python2 = (
        b"\x80\x02}q\x01U\x01wq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04"
        b"K\x00\x85U\x01b\x87Rq\x05(K\x01K\x02\x85cnumpy\ndtype\nq\x06U\x02f4K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x00\xc0tbs."
    )
    expect(manifest, "numpy_python2.pkl", python2, {"w": torch.tensor([1.0, -2.0])})
    structured = np.zeros(2, dtype=[("a", "<i4"), ("b", "<f4")])
    expect(manifest, "numpy_structured.pkl", pickle.dumps({"s": structured}, 2), {}, unread=["s"])
    dates = np.array(["2024-01-01"], dtype="datetime64[D]")
    expect(manifest, "numpy_dates.pkl", pickle.dumps({"d": dates}, 2), {}, unread=["d"])
    short = pickle.dumps(np.arange(4, dtype="<i4"), 4).replace(b"K\x04\x85", b"K\x05\x85")
    refuse(manifest, "numpy_short.pkl", short, "five numbers in 16 bytes", ask=False)
    refuse(manifest, "two_pickles.pkl", pickle.dumps([1]) + pickle.dumps([2]),
           "a pickle follows the first one", ask=False)


def make_plain_pickles(manifest: Manifest) -> None:
    """Tensors pickled without torch.save: each storage is a small checkpoint inside."""
    state = {"weight": torch.arange(6.0).reshape(2, 3), "u8": torch.arange(3, dtype=torch.uint8)}
    # The storages' keys are addresses; here they get fixed digits of the same length.
    keys = dict.fromkeys(
        key for length, key in re.findall(rb"X(.)\0\0\0(\d{8,})", pickle.dumps(state, 4))
        if length[0] == len(key))  # fmt: skip
    for protocol in (0, 2, 4):
        data = pickle.dumps(state, protocol)
        for index, key in enumerate(keys):
            data = data.replace(key, str(9 * 10 ** (len(key) - 1) + index).encode())
        expect(manifest, f"tensors_protocol{protocol}.pkl", data, state)


# MARK: Tensors of several arrays


def make_composite_tensors(manifest: Manifest) -> None:
    eye = torch.eye(3)
    coo, csr, csc = eye.to_sparse(), eye.to_sparse_csr(), eye.to_sparse_csc()
    value = {"coo": coo, "csr": csr, "csc": csc}
    expected = {
        "coo": {"indices": coo.indices(), "values": coo.values(), "size": [3, 3],
                "is_coalesced": True, "layout": "torch.sparse_coo"},
        "csr": {"crow_indices": csr.crow_indices(), "col_indices": csr.col_indices(),
                "values": csr.values(), "size": [3, 3], "layout": "torch.sparse_csr"},
        "csc": {"ccol_indices": csc.ccol_indices(), "row_indices": csc.row_indices(),
                "values": csc.values(), "size": [3, 3], "layout": "torch.sparse_csc"},
    }  # fmt: skip
    expect(manifest, "sparse.pth", saved(value), expected)
    tensor = torch.quantize_per_tensor(torch.arange(4.0), 0.5, 1, torch.qint8)
    channel = torch.quantize_per_channel(
        torch.arange(4.0).reshape(2, 2), torch.tensor([0.5, 0.25]), torch.tensor([0, 1]), 0,
        torch.quint8)
    expected = {
        "tensor": {"int_repr": tensor.int_repr(), "scale": 0.5, "zero_point": 1,
                   "qscheme": "torch.per_tensor_affine"},
        "channel": {"int_repr": channel.int_repr(), "scales": channel.q_per_channel_scales(),
                    "zero_points": channel.q_per_channel_zero_points(), "axis": 0,
                    "qscheme": "torch.per_channel_affine"},
    }  # fmt: skip
    expect(manifest, "quantized.pth", saved({"tensor": tensor, "channel": channel}), expected)
