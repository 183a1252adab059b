"""Upscales an image with PyTorch or ONNX Runtime, as a Python engineer would.

    python baseline_convolutions.py [--timings FILE] [--threads 2] torch|onnx NETWORK MODEL IMAGE [--runs 3]
    python baseline_convolutions.py make NETWORK MODEL ONNX

NETWORK is one of those of spandrel. `make` writes a checkpoint with random weights and the same network
for ONNX Runtime. The others print the median seconds of a forward pass after one that is not measured.
"""

import argparse
import json
import statistics
import time

import numpy as np
from PIL import Image

NETWORKS = ["RRDBNet ×4", "SRVGGNetCompact ×4", "SPAN ×4"]


def network(name: str):
    import torch
    from spandrel.architectures.Compact import Compact
    from spandrel.architectures.ESRGAN import ESRGAN
    from spandrel.architectures.SPAN import SPAN

    torch.manual_seed(1)
    if name == "RRDBNet ×4":
        return ESRGAN(in_nc=3, out_nc=3, num_filters=64, num_blocks=23, scale=4)
    if name == "SRVGGNetCompact ×4":
        return Compact(num_in_ch=3, num_out_ch=3, num_feat=64, num_conv=32, upscale=4)
    return SPAN(num_in_ch=3, num_out_ch=3, feature_channels=48, upscale=4)


def make(arguments: argparse.Namespace) -> None:
    import torch

    model = network(arguments.network).eval()
    torch.save(model.state_dict(), arguments.model)
    torch.onnx.export(
        model, (torch.rand(1, 3, 128, 128),), arguments.image, dynamo=False, input_names=["x"],
        output_names=["y"], opset_version=17,
    )


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
        return lambda: session.run(None, {"x": x})
    import torch

    torch.set_num_threads(arguments.threads)
    model = network(arguments.network)
    model.load_state_dict(torch.load(arguments.model, weights_only=True))
    model.eval()
    tensor = torch.from_numpy(x)

    def run() -> None:
        with torch.inference_mode():
            model(tensor)

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
    run()
    seconds = []
    for _ in range(arguments.runs):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    if arguments.timings:
        with open(arguments.timings, "w") as file:
            json.dump({"run": statistics.median(seconds)}, file)


if __name__ == "__main__":
    main()
