"""Checkpoints as torch.save writes them, and those that it cannot or should not write."""

from __future__ import annotations

import copy
import io
import os
import pickle
import re
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from .archives import unzip, zip_bytes
from .manifest import Manifest, flatten
from .torch_tensors import ELEMENT_TYPES, expectation

warnings.filterwarnings("ignore", category=UserWarning)


def make(manifest: Manifest) -> None:
    make_element_types(manifest)
    make_shapes(manifest)
    make_checkpoints(manifest)
    make_views(manifest)
    make_containers(manifest)
    make_pickle_protocols(manifest)
    make_refused_pickles(manifest)
    make_refused_archives(manifest)


# MARK: Writing


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def loaded(path: Path) -> Any:
    return torch.load(path, weights_only=True, map_location="cpu")


def add(manifest: Manifest, name: str, value: Any, **extra: Any) -> None:
    """Saves `value` with torch.save and expects what torch.load gives back."""
    path = manifest.path(f"torch/{name}")
    torch.save(value, path)
    add_written(manifest, name, **extra)


def add_written(
    manifest: Manifest, name: str, data: bytes | None = None, value: Any = None, **extra: Any
) -> None:
    """Expects what torch.load gives back for a file, or `value` where it refuses the file."""
    path = manifest.path(f"torch/{name}")
    if data is not None:
        path.write_bytes(data)
    if value is None:
        value = loaded(path)
    else:
        extra["rival"] = rival(path)
    manifest.add(f"torch/{name}", {**expectation(value), **extra})


def rival(path: Path) -> str:
    """What torch.load says to a file that condi-convert treats otherwise."""
    try:
        loaded(path)
    except Exception as error:  # noqa: BLE001: whatever it is, it is the answer.
        return f"refuses: {type(error).__name__}"
    return "loads"


def refuse(manifest: Manifest, name: str, data: bytes, reason: str, *, ask: bool = True) -> None:
    """Expects a refusal; `ask` says whether torch.load is safe to be asked as well."""
    manifest.refuse(f"torch/{name}", data, reason)
    if ask:
        manifest.files[f"torch/{name}"]["rival"] = rival(manifest.folder / f"torch/{name}")


# MARK: Tensors


def sample(dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor of any type whose bytes run through many patterns, NaN and negative zero included.

    The last dimension of float4_e2m1fn_x2 counts bytes, as in PyTorch.
    """
    count = torch.Size(shape).numel()
    if dtype is torch.bool:
        return (torch.arange(count) % 3 == 0).reshape(shape)
    width = torch.empty(0, dtype=dtype).element_size()
    pattern = (torch.arange(count * width, dtype=torch.int64) * 37 + 64) % 256
    return pattern.to(torch.uint8).view(dtype).reshape(shape)


def special_values() -> torch.Tensor:
    inf, nan = float("inf"), float("nan")
    return torch.tensor([0.0, -0.0, 1.0, -1.0, inf, -inf, nan, 2.0**-149, 3.4028234663852886e38])


def make_element_types(manifest: Manifest) -> None:
    for dtype, name in ELEMENT_TYPES.items():
        add(manifest, f"{name}.pth", OrderedDict(weight=sample(dtype, (3, 4))))
    add(manifest, "special_values.pth", {
        "float32": special_values(),
        "float64": special_values().double(),
        "float16": special_values().half(),
        "bfloat16": special_values().bfloat16(),
        "int64": torch.tensor([-(2**63), -1, 0, 2**63 - 1]),
        "uint64": torch.tensor([0, 2**64 - 1], dtype=torch.uint64),
    })  # fmt: skip


def make_shapes(manifest: Manifest) -> None:
    add(manifest, "shapes.pth", {
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0),
        "empty_3d": torch.zeros(2, 0, 3, dtype=torch.int16),
        "one": torch.ones(1, 1, 1, 1),
        "odd": torch.arange(3 * 5 * 7, dtype=torch.float32).reshape(3, 5, 7),
        "rank_9": torch.arange(2.0).reshape(1, 1, 1, 1, 2, 1, 1, 1, 1),
        "scalar_bool": torch.tensor(True),
    })  # fmt: skip
    add(manifest, "zero_length_storages.pth", [torch.zeros(0), torch.zeros(0, dtype=torch.bool)])


def make_views(manifest: Manifest) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tied = torch.arange(6.0).reshape(2, 3)
    add(manifest, "views.pth", {
        "transposed": base.t(),
        "step": base[1::2, ::3],
        "offset": base[2, 1:4],
        "expanded": torch.arange(3.0).reshape(3, 1).expand(3, 5),
        "expanded_scalar": torch.tensor(7, dtype=torch.int32).expand(2, 2),
        "permuted": torch.arange(24, dtype=torch.int16).reshape(2, 3, 4).permute(2, 0, 1),
        "channels_last": torch.arange(24.0).reshape(1, 2, 3, 4).to(
            memory_format=torch.channels_last),
        "overlapping": torch.arange(6.0).as_strided((4, 3), (1, 1)),
        "one_row_odd_stride": base[:1, :].as_strided((1, 6), (99, 1)),
        "empty_view": base[4:, :],
    })  # fmt: skip
    add(manifest, "tied.pth", {
        "embedding.weight": tied, "head.weight": tied, "head.row": tied[1],
    })  # fmt: skip
    add(manifest, "slice_of_large_storage.pth", {"row": torch.arange(512.0)[100:103]})
    complex_values = torch.tensor([1 + 2j, -3 - 4j, 0 + 5j])
    note = "the pickle carries {'conj': True} or {'neg': True}; a reader that ignores it is wrong"
    add(manifest, "conjugated.pth", {"z": complex_values.conj()}, note=note)
    add(manifest, "negated.pth", {"imag": complex_values.conj().imag}, note=note)


# MARK: Structures


class Block(torch.nn.Module):
    """A small module with weights, a buffer, a tied weight and a nested child."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(4)
        self.qkv = torch.nn.Linear(4, 12)
        self.conv = torch.nn.Conv2d(2, 3, 3)
        self.register_buffer("index", torch.arange(4).reshape(2, 2))
        with torch.no_grad():
            for order, parameter in enumerate(self.parameters()):
                count = parameter.numel()
                parameter.copy_((torch.arange(count) * 0.125 - order).reshape(parameter.shape))


def make_checkpoints(manifest: Manifest) -> None:
    module = torch.nn.Sequential(Block(), Block())
    state = module.state_dict()
    add(manifest, "state_dict.pth", state, note="an OrderedDict with _metadata as an attribute")
    add(manifest, "parameters.pth", {
        "parameter": torch.nn.Parameter(torch.arange(4.0)),
        "frozen": torch.nn.Parameter(torch.arange(2.0), requires_grad=False),
        "buffer": torch.nn.Buffer(torch.arange(3.0)),
    })  # fmt: skip

    optimizer = torch.optim.Adam(module.parameters(), lr=0.001)
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    optimizer.step()
    checkpoint = {
        "params": OrderedDict((key, value.clone()) for key, value in state.items()),
        "params_ema": OrderedDict((key, value * 0.5) for key, value in state.items()),
        "epoch": 12,
        "best": 38.25,
        "optimizer": optimizer.state_dict(),
        "history": [1, 2.5, "three", None, True, (4, [5, {"six": 6}])],
        "milestones": {1, 2, 3},
        "betas": (0.9, 0.999),
        "nothing": None,
        "text": "Grüße, 世界 \U0001f600",
        "control": "tab\there, newline\nthere",
        "empty_text": "",
        "large": 2**63,
        "larger": -(10**40),
        "smallest": -(2**63),
        "complex": 1.5 - 2j,
        "bytes": bytearray(b"\x00\xff"),
        "infinite": float("inf"),
        "not_a_number": float("nan"),
        "size": torch.Size([1, 2, 3]),
        "empty_dict": {},
        "empty_list": [],
    }
    add(manifest, "checkpoint.pth", checkpoint)
    add(manifest, "mixed_keys.pth", {
        1: torch.zeros(1), -2: torch.ones(1), None: torch.zeros(1),
        "dotted.name": {"a.b": torch.ones(2)}, "": torch.zeros(3), "ключ": torch.zeros(1),
    })  # fmt: skip


def make_containers(manifest: Manifest) -> None:
    add(manifest, "list.pth", [torch.arange(3.0), torch.arange(2), {"x": torch.zeros(1)}])
    add(manifest, "tuple.pth", (torch.arange(3.0), "label", (torch.arange(2),)))
    add(manifest, "bare_tensor.pth", torch.arange(6.0).reshape(2, 3))
    add(manifest, "bare_parameter.pth", torch.nn.Parameter(torch.arange(3.0)))
    add(manifest, "empty_dict.pth", {})
    add(manifest, "no_tensors.pth", {"epoch": 3, "name": "x"})
    shared_list = [torch.arange(2.0)]
    add(manifest, "shared_container.pth", {"a": shared_list, "b": shared_list})

    state = {"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.zeros(3).half()}
    entries = unzip(saved(state))
    add_written(manifest, "rezipped_deflated.pth", zip_bytes(entries, deflated=True),
                note="torch.load(mmap=True) gives garbage for this file")
    add_written(manifest, "rezipped_stored.pth", zip_bytes(entries), note="nothing is aligned")
    add_written(manifest, "rezipped_mixed.pth",
                zip_bytes(entries, deflated={"archive/data/0", "archive/data.pkl"}))
    add_written(manifest, "rezipped_reversed.pth", zip_bytes(entries[::-1]),
                note="the same entries in reverse order")
    add_written(manifest, "zip_comment.pth", zip_bytes(entries, comment=b"a comment PK\x05\x06"))
    required = ("archive/data.pkl", "archive/version")
    add_written(manifest, "minimal_records.pth", zip_bytes(
        [entry for entry in entries if entry[0] in required or "/data/" in entry[0]]),
        note="without byteorder, .format_version, .storage_alignment, serialization_id")
    deep = [(name.replace("archive/", "one/two/"), data) for name, data in entries]
    add_written(manifest, "nested_top_folder.pth", zip_bytes(deep), value=state, mayRefuse=True)
    add_written(manifest, "big_endian.pth", big_endian({
        "float32": torch.arange(5.0), "float64": torch.arange(3.0).double(),
        "bfloat16": torch.arange(5.0).bfloat16(), "int64": torch.tensor([-2, 2**40]),
        "int16": torch.tensor([-2, 258], dtype=torch.int16),
        "complex64": torch.tensor([1 + 2j, 3 - 4j]), "bool": torch.tensor([True, False]),
        "view": torch.arange(12, dtype=torch.int32).reshape(3, 4).t(),
    }))  # fmt: skip
    legacy = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(3, dtype=torch.uint8),
              "view": torch.arange(8.0)[::2], "epoch": 1, "empty": torch.zeros(0)}
    add_written(manifest, "legacy.pth", saved_legacy(legacy))
    tied = torch.arange(4.0)
    add_written(manifest, "legacy_tied.pth", saved_legacy(OrderedDict(x=tied, y=tied[1:3])))


def saved_legacy(value: Any) -> bytes:
    """The stream that PyTorch wrote before 1.6, its storage keys made constant.

    The keys are addresses, and the storages follow in the order of the keys as texts: copies are
    made until the allocator happens to place them in the order in which the pickle names them.
    """
    keys: dict[bytes, bytes] = {}
    attempts = [copy.deepcopy(value)]
    while not is_in_address_order(attempts[-1]):
        attempts.append(copy.deepcopy(value))
    value = attempts[-1]

    def renamed(match: re.Match[bytes]) -> bytes:
        if int.from_bytes(match[1], "little") != len(match[2]):
            return match[0]
        key = keys.setdefault(match[2], b"%d" % (94_000_000_000_000 + 64 * len(keys)))
        return b"X" + len(key).to_bytes(4, "little") + key

    data = saved(value, _use_new_zipfile_serialization=False)
    return re.sub(rb"X(.\0\0\0)(\d{8,})", renamed, data, flags=re.DOTALL)


def is_in_address_order(value: Any) -> bool:
    tensors = [leaf for _, leaf in flatten(value) if isinstance(leaf, torch.Tensor)]
    keys = list(dict.fromkeys(str(tensor.untyped_storage()._cdata) for tensor in tensors))
    return keys == sorted(keys)


def big_endian(value: dict[str, torch.Tensor]) -> bytes:
    """The archive that a big-endian machine writes for `value`."""
    data = saved(value)
    tensors = list(value.values())
    swapped = []
    for name, content in unzip(data):
        if name == "archive/byteorder":
            content = b"big"
        elif name.startswith("archive/data/"):
            tensor = tensors[int(name.rsplit("/", 1)[1])]
            width = tensor.element_size() // (2 if tensor.is_complex() else 1)
            content = b"".join(
                content[at : at + width][::-1] for at in range(0, len(content), width)
            )
        swapped.append((name, content))
    return zip_bytes(swapped)


def make_pickle_protocols(manifest: Manifest) -> None:
    value = {"weight": torch.arange(6.0).reshape(2, 3), "step": 70000, "long_name" * 40: None,
             "nested": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], "members": {1, 2, 3}}
    for protocol in (1, 3, 4, 5):
        add_written(manifest, f"protocol{protocol}.pth", saved(value, pickle_protocol=protocol),
                    value=value)


# MARK: Files to refuse


def pth(pickled: bytes, storages: list[bytes] = []) -> bytes:
    """A stored archive around a hand-made data.pkl."""
    entries = [("archive/data.pkl", pickled), ("archive/byteorder", b"little")]
    entries += [(f"archive/data/{index}", data) for index, data in enumerate(storages)]
    return zip_bytes([*entries, ("archive/version", b"3\n")], deflated=len(pickled) > 4096)


class Call:
    """Pickles as a call of any function; the fixtures are never unpickled with it allowed."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def make_refused_pickles(manifest: Manifest) -> None:
    tensor = torch.arange(4.0)
    refuse(manifest, "name_collision.pth", saved({"a.b": tensor, "a": {"b": tensor}}),
           "two leaves are named 'a.b'")
    refuse(manifest, "key_collision.pth", saved({1: tensor, "1": tensor}),
           "two leaves are named '1'")
    refuse(manifest, "value_collision.pth", saved({"a": [1], "a.0": tensor}),
           "a value and a tensor are named 'a.0'")
    call = pickle.dumps({"a": Call(os.system, "true")}, protocol=2)
    refuse(manifest, "calls_system.pth", pth(call), "global posix.system is not allowed", ask=False)
    call = pickle.dumps({"a": Call(eval, "1")}, protocol=2)
    refuse(manifest, "calls_eval.pth", pth(call), "global builtins.eval is not allowed", ask=False)
    refuse(manifest, "calls_eval_legacy.pth",
           saved([Call(eval, "1")], _use_new_zipfile_serialization=False),
           "global builtins.eval is not allowed", ask=False)
    bcomplex = tensor.view(torch.uint8).view(torch.bcomplex32)
    add_written(manifest, "bcomplex32.pth", saved({"b": bcomplex}), {}, unread=["b"])
    meta = torch.empty(4, device="meta")
    add_written(manifest, "meta_tensor.pth", saved({"m": meta}), {}, unread=["m"])

    depth = 200_000
    nested = b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."
    refuse(manifest, "deep_nesting.pth", pth(nested), "lists are nested 200,000 deep", ask=False)
    refuse(manifest, "cyclic.pth", pth(b"\x80\x02]q\x00h\x00a."), "a list contains itself",
           ask=False)
    laughs = b"\x80\x02]q\x00(" + b"K\x01" * 10 + b"e"
    for index in range(1, 13):
        laughs += b"]q" + bytes([index]) + b"(" + b"h" + bytes([index - 1])
        laughs += (b"h" + bytes([index - 1])) * 9 + b"e"
    refuse(manifest, "billion_laughs.pth", pth(laughs + b"."), "10^13 leaves by sharing",
           ask=False)
    memo = b"\x80\x02j\xff\xff\xff\xff."
    refuse(manifest, "unknown_memo.pth", pth(memo), "memo entry 4294967295 was never put")
    refuse(manifest, "huge_memo_index.pth", pth(b"\x80\x02Nr\xff\xff\xff\xff0N."),
           "allowed to be read, if memory does not grow with the index", ask=False)
    manifest.files["torch/huge_memo_index.pth"] = {
        "tensors": [], "values": {"": {"kind": "none", "value": None}}, "mayRefuse": True,
        "note": "memo index 4294967295: memory must not grow with it",
    }  # fmt: skip
    refuse(manifest, "stack_underflow.pth", pth(b"\x80\x02a."), "the stack is empty")
    refuse(manifest, "no_stop.pth", pth(b"\x80\x02}"), "the pickle ends before STOP")
    refuse(manifest, "unknown_opcode.pth", pth(b"\x80\x02\xff."), "opcode 0xff is unknown")
    refuse(manifest, "long_text.pth", pth(b"\x80\x02X\xff\xff\xff\x7fabc."),
           "a text of 2,147,483,647 bytes in a pickle of 12")
    refuse(manifest, "bad_utf8.pth", pth(b"\x80\x02X\x02\x00\x00\x00\xc3\x28."),
           "a text is not UTF-8")
    refuse(manifest, "after_stop.pth", pth(b"\x80\x02}.}."), "bytes follow STOP")
    manifest.files["torch/after_stop.pth"] = {
        "tensors": [], "values": {}, "mayRefuse": True, "rival": "loads",
        "note": "bytes follow STOP",
    }  # fmt: skip


def make_refused_archives(manifest: Manifest) -> None:
    tensor = torch.arange(4.0)
    data = saved({"a": tensor})
    entries = unzip(data)
    contents = dict(entries)
    storage = contents["archive/data/0"]

    def replaced(**changes: bytes) -> bytes:
        """The archive with `data.pkl` or `data/0` exchanged."""
        names = {"pickled": "archive/data.pkl", "storage": "archive/data/0"}
        new = {names[key]: value for key, value in changes.items()}
        return zip_bytes([(name, new.get(name, content)) for name, content in entries])

    def patched(old: bytes, new: bytes) -> bytes:
        pickled = contents["archive/data.pkl"]
        if pickled.count(old) != 1:
            raise ValueError(f"{old!r} occurs {pickled.count(old)} times")
        return replaced(pickled=pickled.replace(old, new))

    offset_size_stride = b"K\x00K\x04\x85q\x08K\x01\x85"
    refuse(manifest, "storage_short.pth", replaced(storage=storage[:-4]),
           "data/0 has 12 bytes where 16 are declared")
    refuse(manifest, "storage_long.pth", replaced(storage=storage + bytes(4)),
           "data/0 has 20 bytes where 16 are declared")
    refuse(manifest, "view_too_long.pth",
           patched(offset_size_stride, b"K\x00K\x05\x85q\x08K\x01\x85"),
           "the last element lies outside the storage")
    refuse(manifest, "view_offset_outside.pth",
           patched(offset_size_stride, b"K\x01K\x04\x85q\x08K\x01\x85"),
           "the last element lies outside the storage")
    refuse(manifest, "view_stride_outside.pth",
           patched(offset_size_stride, b"K\x00K\x04\x85q\x08K\x02\x85"),
           "the last element lies outside the storage")
    refuse(manifest, "view_negative_stride.pth",
           patched(offset_size_stride, b"K\x03K\x04\x85q\x06J\xff\xff\xff\xff\x85"),
           "a stride is negative")
    refuse(manifest, "view_negative_size.pth",
           patched(offset_size_stride, b"K\x00J\xff\xff\xff\xff\x85q\x08K\x01\x85"),
           "a dimension is negative")
    refuse(manifest, "view_rank_mismatch.pth",
           patched(offset_size_stride, b"K\x00K\x04\x85q\x08K\x01K\x01\x86"),
           "one dimension, two strides")
    refuse(manifest, "zero_stride_bomb.pth",
           patched(offset_size_stride, b"K\x00\x8a\x06\x00\x00\x00\x00\x00\x01\x85q\x08K\x00\x85"),
           "four elements claim to be 2^40", ask=False)
    refuse(manifest, "size_overflow.pth",
           patched(offset_size_stride,
                   b"K\x00(" + b"\x8a\x05\x00\x00\x00\x00\x01" * 3 + b"tq\x08(" + b"K\x00" * 3
                   + b"t"), "2^32 cubed elements overflow", ask=False)
    refuse(manifest, "path_in_key.pth",
           patched(b"X\x01\x00\x00\x000q", b"X\x06\x00\x00\x00../../q"),
           "there is no storage named '../../'")
    refuse(manifest, "no_storage.pth",
           zip_bytes([entry for entry in entries if entry[0] != "archive/data/0"]),
           "there is no data/0")
    refuse(manifest, "no_pickle.pth",
           zip_bytes([entry for entry in entries if entry[0] != "archive/data.pkl"]),
           "there is no data.pkl")
    refuse(manifest, "duplicate_pickle.pth",
           zip_bytes([("archive/data.pkl", b"\x80\x02}."), *entries]),
           "two entries are named archive/data.pkl")
    refuse(manifest, "unknown_byteorder.pth",
           zip_bytes([(n, b"middle" if n.endswith("byteorder") else c) for n, c in entries]),
           "byte order 'middle' is unknown")
    at = data.index(storage)
    refuse(manifest, "flipped_storage.pth", data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
           "CRC-32 of data/0 differs")
    deflated = zip_bytes(entries, deflated=True)
    at = deflated.index(b"archive/data.pkl") + len("archive/data.pkl") + 20
    refuse(manifest, "flipped_deflated.pth",
           deflated[:at] + bytes([deflated[at] ^ 0x10]) + deflated[at + 1 :],
           "the deflated data.pkl is corrupt",
           ask=False)  # torch.load unpickles what lay in memory: its answer varies.
    refuse(manifest, "truncated.pth", data[: len(data) * 2 // 3], "the central directory is cut")
