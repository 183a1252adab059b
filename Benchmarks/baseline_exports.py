"""Runs an exported network with ONNX Runtime or ncnn, as a Python engineer would.

    python baseline_exports.py --timings FILE [--threads 2] [--runs 3] MODEL IMAGE [IMAGE …]

MODEL is an .onnx or a .param file. Writes the median seconds of a forward pass on the first image, after one that is
not measured, and the results for all of them beside the timings, as FILE.npz: `[height, width, 3]`, from 0 to 1.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from PIL import Image


def onnx_session(model: str, threads: int):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(["upscaled"], {"image": x[None]})[0][0]


def ncnn_session(model: str, threads: int):
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    if net.load_param(model) or net.load_model(str(Path(model).with_suffix(".bin"))):
        raise SystemExit(f"ncnn does not load {model}")

    def run(x: np.ndarray) -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input("data", ncnn.Mat(x).clone())
        return np.array(extractor.extract("output")[1], copy=True)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timings", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("model")
    parser.add_argument("images", nargs="+")
    arguments = parser.parse_args()
    make = ncnn_session if arguments.model.endswith(".param") else onnx_session
    run = make(arguments.model, arguments.threads)
    images = [
        np.ascontiguousarray(np.asarray(Image.open(path).convert("RGB"), np.float32).transpose(2, 0, 1) / 255)
        for path in arguments.images
    ]
    results = [run(image) for image in images]
    seconds = []
    for _ in range(arguments.runs):
        started = time.perf_counter()
        run(images[0])
        seconds.append(time.perf_counter() - started)
    np.savez(f"{arguments.timings}.npz", *(np.clip(result, 0, 1).transpose(1, 2, 0) for result in results))
    Path(arguments.timings).write_text(json.dumps({"run": statistics.median(seconds)}))


if __name__ == "__main__":
    main()
