"""Packed models in PyTorch; importing this module needs the `torch` package.

A tensor is dequantized when it is taken, one at a time, so that memory holds the packed file's
pages, one tensor, and the module's own parameters.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from .errors import PackedError
from .packed_file import PackedFile
from .packed_file import open as open_packed
from .progress import Progress, stepwise

# Types that NumPy has no name for: their bits in a NumPy type that torch takes, and torch's type.
_BITS: dict[str, tuple[str, torch.dtype]] = {
    "bfloat16": ("<i2", torch.bfloat16),
    "complex32": ("<i4", torch.complex32),
    "float8_e4m3fn": ("u1", torch.float8_e4m3fn),
    "float8_e4m3fnuz": ("u1", torch.float8_e4m3fnuz),
    "float8_e5m2": ("u1", torch.float8_e5m2),
    "float8_e5m2fnuz": ("u1", torch.float8_e5m2fnuz),
}
_OTHERS = frozenset({
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16",
    "float32", "float64", "complex64", "complex128",
})  # fmt: skip


def tensor(file: PackedFile, name: str, *, rounded: bool = True) -> torch.Tensor:
    """The tensor `name`, dequantized, in memory of its own; `rounded` as for `PackedFile.tensor`.

    Raises `KeyError` for an unknown name, `TypeError` for element types that torch lacks, and
    `condi.PackedError` for a damaged record.
    """
    type_name = file.element_type(name)
    if type_name not in _OTHERS and type_name not in _BITS:
        raise TypeError(f"tensor '{name}': torch has no type for {type_name} elements")
    # A copy, because arrays may be read-only views of the file.
    array = np.array(file.tensor(name, rounded=rounded), order="C", copy=True)
    if type_name in _OTHERS or array.dtype == np.float32:
        return torch.from_numpy(array)
    stored, dtype = _BITS[type_name]
    return torch.from_numpy(array.view(np.dtype(stored))).view(dtype)


def tensors(file: PackedFile) -> Iterator[tuple[str, torch.Tensor]]:
    """Every name with its tensor, in the file's order, each made when it is asked for."""
    for name in file.names:
        yield name, tensor(file, name)


class ActivationsNotQuantized(UserWarning):
    """A packed model quantizes inputs of layers, which a module that takes its weights does not."""


def state_dict(
    source: PackedFile | str | os.PathLike[str],
    *,
    prefix: str = "",
    rounded: bool = True,
    progress: Progress | None = None,
) -> dict[str, torch.Tensor]:
    """All tensors by name, dequantized, for loaders that find out the network from its tensors.

    With a `prefix`, such as `params_ema.`, only the names that begin so, without it; no such name
    is a `PackedError`. `rounded` is as for `PackedFile.tensor`. Warns `ActivationsNotQuantized` if the
    file has quantizers of activations, which `PackedFile.activations` lists. `progress` is called with
    bytes of the file.

        model = spandrel.ModelLoader().load_from_state_dict(condi.torch.state_dict("model.condi"))
    """
    with _opened(source) as file:
        names = [name for name in file.names if name.startswith(prefix)]
        if prefix and not names:
            raise PackedError(f"no tensor's name begins with '{prefix}'")
        _warn_of_activations(file)
        return {
            name.removeprefix(prefix): tensor(file, name, rounded=rounded)
            for name in stepwise(names, file.stored_byte_count, progress)
        }


@contextmanager
def _opened(source: PackedFile | str | os.PathLike[str]) -> Iterator[PackedFile]:
    """A file that is closed at the end only if it was not open before."""
    if isinstance(source, PackedFile):
        yield source
    else:
        with open_packed(source) as file:
            yield file


def _warn_of_activations(file: PackedFile) -> None:
    if count := len(file.activations):
        warnings.warn(
            f"activation quantizers ({count}) are not applied: the module computes with the packed "
            "weights and inputs in full precision; 'activations' of the file lists them",
            ActivationsNotQuantized,
            stacklevel=3,
        )


def load_into(
    module: torch.nn.Module,
    source: PackedFile | str | os.PathLike[str],
    *,
    strict: bool = True,
    progress: Progress | None = None,
) -> tuple[list[str], list[str]]:
    """Copies a packed model's tensors into a module's parameters and buffers of the same names.

    Elements are converted to the module's types and devices, those of codes without being rounded to the
    file's types first, as a network that runs from the file multiplies them. Names and shapes are compared before
    anything is copied; the records' own checks come tensor by tensor.

    Returns the names that only the module has and those that only the file has. With `strict`,
    either is a `PackedError`; shapes that differ always are. Warns `ActivationsNotQuantized` if the
    file has quantizers of activations, which the module does not apply. `progress` is called with bytes of
    the file.
    """
    with _opened(source) as file:
        targets = module.state_dict()
        missing = [name for name in targets if name not in set(file.names)]
        unexpected = [name for name in file.names if name not in targets]
        if strict and (missing or unexpected):
            raise PackedError(
                f"the module has {len(missing)} tensors that the file has not ({missing[:3]}), and the "
                f"file {len(unexpected)} that the module has not ({unexpected[:3]})"
            )
        shared = [name for name in file.names if name in targets]
        for name in shared:
            if tuple(targets[name].shape) != file.shape(name):
                raise PackedError(
                    f"tensor '{name}': expected {tuple(targets[name].shape)}, "
                    f"found {file.shape(name)}"
                )
        _warn_of_activations(file)
        with torch.no_grad():
            for name in stepwise(shared, file.stored_byte_count, progress):
                # state_dict's tensors share the module's memory.
                targets[name].copy_(tensor(file, name, rounded=False))
        return missing, unexpected
