"""Upscales an image with PyTorch or ONNX Runtime, as a Python engineer would.

    python baseline_networks.py [--timings FILE] [--threads 2] torch|onnx NETWORK MODEL IMAGE [--runs 3]
    python baseline_networks.py make NETWORK MODEL ONNX

NETWORK is one of `NETWORKS`: those of spandrel, and those that the fixtures' makers write out in PyTorch.
`make` writes a checkpoint with random weights and, where PyTorch can, the same network for ONNX Runtime. The
others print the median seconds of a forward pass after one that is not measured; `torch` also writes its result,
`[1, 3, height, width]`, beside the timings.
"""

import argparse
import importlib
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

MAKERS = Path(__file__).resolve().parent.parent / "Tests" / "Fixtures" / "makers"


@dataclass
class Network:
    """A network of a published size."""

    # A module, and the name of a class or a function there.
    module: str
    name: str
    arguments: dict
    scale: int = 4
    # The side of the image in pixels.
    side: int = 128

    def make(self):
        import torch

        torch.manual_seed(1)
        if "." not in self.module:
            sys.path.insert(0, str(MAKERS))
        found = getattr(importlib.import_module(self.module), self.name)(**self.arguments)
        # Modules start with normalizations and biases that do nothing.
        state = found.state_dict()
        for name, tensor in state.items():
            if tensor.is_floating_point() and tensor.dim() == 1 and not name.endswith("_mean.bias"):
                tensor += 0.02 * torch.rand_like(tensor)
        return found.eval()


def spandrel(name: str, package: str | None = None) -> tuple[str, str]:
    return f"spandrel.architectures.{package or name}", name


SWIN = dict(img_size=64, in_chans=3, num_heads=[6] * 4, depths=[6] * 4, embed_dim=60, window_size=8, mlp_ratio=2)
NETWORKS = {
    "RRDBNet ×4": Network(
        *spandrel("ESRGAN"), dict(in_nc=3, out_nc=3, num_filters=64, num_blocks=23, scale=4)),
    "SRVGGNetCompact ×4": Network(
        *spandrel("Compact"), dict(num_in_ch=3, num_out_ch=3, num_feat=64, num_conv=32, upscale=4)),
    "SPAN ×4": Network(*spandrel("SPAN"), dict(num_in_ch=3, num_out_ch=3, feature_channels=48, upscale=4)),
    "EDSR-baseline ×4": Network("spandrel_networks", "EDSR", dict(width=64, blocks=16, scale=4, sample_range=255)),
    "RCAN ×4": Network(*spandrel("RCAN"), dict(scale=4), side=64),
    "RLFN ×4": Network("spandrel_networks", "RLFN", dict(width=52, middle=52, inner=16, blocks=6, scale=4)),
    "RealPLKSR ×4": Network(*spandrel("RealPLKSR", "PLKSR"), dict(upscaling_factor=4)),
    "SAFMN ×4": Network(*spandrel("SAFMN"), dict(dim=36, n_blocks=8, upscaling_factor=4)),
    "MoSR ×4": Network(*spandrel("MoSR"), dict(upscale=4, upsampler="ps")),
    "OmniSR ×4": Network(
        *spandrel("OmniSR"), dict(num_feat=64, res_num=5, block_num=1, up_scale=4, pe=True, bias=True), side=64),
    "HAT-S ×4": Network(
        *spandrel("HAT"), dict(
            img_size=64, in_chans=3, embed_dim=144, depths=[6] * 6, num_heads=[6] * 6, window_size=16,
            compress_ratio=24, squeeze_factor=24, overlap_ratio=0.5, mlp_ratio=2, upscale=4, upsampler="pixelshuffle",
        ), side=64),
    "SwinIR-light ×2": Network(
        *spandrel("SwinIR"), dict(SWIN, upscale=2, upsampler="pixelshuffledirect"), scale=2),
    "Swin2SR-light ×2": Network(
        *spandrel("Swin2SR"), dict(SWIN, upscale=2, upsampler="pixelshuffledirect"), scale=2),
    "DAT-light ×2": Network(
        *spandrel("DAT"), dict(
            img_size=64, in_chans=3, embed_dim=60, split_size=[8, 32], depth=[18], num_heads=[6], expansion_factor=2,
            resi_connection="3conv", upscale=2, upsampler="pixelshuffledirect",
        ), scale=2),
    "HiT-SRF ×4": Network(
        "window_networks", "HiTSR", dict(
            width=60, depths=[6] * 4, heads=6, ratio=2, scale=4), side=64),
    "NGswin ×2": Network(
        "window_networks", "NGswin", dict(
            width=64, depths=(6, 4, 4, 6), heads=(6, 4, 4, 6), window=8, ratio=2, scale=2), scale=2, side=64),
}


def make(arguments: argparse.Namespace) -> None:
    import torch

    network = NETWORKS[arguments.network]
    model = network.make()
    torch.save(model.state_dict(), arguments.model)
    try:
        torch.onnx.export(
            model, (torch.rand(1, 3, network.side, network.side),), arguments.image, dynamo=False,
            input_names=["image"], output_names=["upscaled"], opset_version=17,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        print(f"{arguments.network} cannot be exported: {error.args[0].splitlines()[0]}", file=sys.stderr)


def samples(path: str) -> np.ndarray:
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def forward(arguments: argparse.Namespace):
    x = samples(arguments.image)
    if arguments.tool == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        session = onnxruntime.InferenceSession(
            arguments.model, options, providers=["CPUExecutionProvider"]
        )
        return lambda: session.run(None, {"image": x})[0]
    import torch

    torch.set_num_threads(arguments.threads)
    model = NETWORKS[arguments.network].make()
    model.load_state_dict(torch.load(arguments.model, weights_only=True))
    model.eval()

    def run() -> np.ndarray:
        with torch.inference_mode():
            # Some networks change their input.
            return model(torch.from_numpy(x.copy())).numpy()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timings")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("tool", choices=["torch", "onnx", "make"])
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("model")
    parser.add_argument("image", help="of 'make', the path of the ONNX file")
    arguments = parser.parse_args()
    if arguments.tool == "make":
        return make(arguments)
    run = forward(arguments)
    result = run()
    seconds = []
    for _ in range(arguments.runs):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    if arguments.timings:
        with open(arguments.timings, "w") as file:
            json.dump({"run": statistics.median(seconds)}, file)
        if arguments.tool == "torch":
            np.save(f"{arguments.timings}.npy", result)


if __name__ == "__main__":
    main()
