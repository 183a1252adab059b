"""Distributed checkpoints of PyTorch: folders of one process, and of four that share tensors."""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as processes
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from .manifest import Manifest
from .torch_tensors import expectation


def make(manifest: Manifest) -> None:
    whole = {
        "model": {"w": torch.arange(12.0).reshape(3, 4), "b": torch.ones(3).bfloat16(),
                  "turned": torch.arange(6).reshape(2, 3).t(), "scalar": torch.tensor(2.5)},
        "step": 7, "rates": [0.5, {"name": "x"}], "floats8": torch.arange(4.0).to(torch.float8_e5m2),
    }  # fmt: skip
    folder = manifest.path("dcp/whole/x").parent
    save(whole, folder)
    flat = {f"model.{key}": value for key, value in whole["model"].items()}
    flat |= {"floats8": whole["floats8"], "step": 7, "rates.0": 0.5, "rates.1.name": "x"}
    manifest.add("dcp/whole/.metadata", sorted_entry(expectation(flat), folder))
    folder = manifest.path("dcp/shards/x").parent
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes.spawn(save_shards, (str(folder), port), nprocs=4)
    manifest.add("dcp/shards/.metadata", sorted_entry(expectation(sharded()), folder))


def sorted_entry(entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The expectation with tensors and values in the order of the index."""
    with (folder / ".metadata").open("rb") as file:
        order = list(pickle.load(file).state_dict_metadata)
    entry["tensors"].sort(key=lambda tensor: order.index(tensor["name"]))
    entry["values"] = {name: entry["values"][name] for name in order if name in entry["values"]}
    return entry


def sharded() -> dict[str, Any]:
    return {"rows": torch.arange(35.0).reshape(7, 5), "grid": torch.arange(60).reshape(6, 2, 5).int(),
            "copied": torch.arange(3.0), "short": torch.arange(2.0).half(), "step": 12}  # fmt: skip


def save(state: dict[str, Any], folder: Path) -> None:
    """Saves without the path and the random identifier that the index would have."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        with mock.patch.object(dcp.filesystem, "_generate_uuid", lambda: "a random identifier"):
            dcp.save(state, storage_writer=dcp.FileSystemWriter("."))
    finally:
        os.chdir(before)


def save_shards(rank: int, folder: str, port: int) -> None:
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=4)
    mesh = init_device_mesh("cpu", (2, 2))
    places = {"rows": (Shard(0), Replicate()), "grid": (Shard(0), Shard(2)),
              "copied": (Replicate(), Replicate()), "short": (Shard(0), Replicate())}  # fmt: skip
    state = {name: distribute_tensor(value, mesh, places[name]) if name in places else value
             for name, value in sharded().items()}  # fmt: skip
    save(state, Path(folder))
    dist.destroy_process_group()
