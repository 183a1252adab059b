"""Linear layers of 4,096 rows: the float kernel, low-bit codes, OpenBLAS and PyTorch.

    python Benchmarks/kernels.py [--level scalar|128|avx2|avx512|avx512-vnni] [--two-threads] > kernels.md

Needs clang, OpenBLAS, torch, and the kernels that 'make build' compiled. With one thread the processor time of that thread counts, so that
other programs on the machine matter little; with two it is wall time, which says nothing unless the
machine is idle. Either is the least of many calls.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from compare import processor

ROOT = Path(__file__).resolve().parent.parent
LEVELS = ["scalar", "128", "avx2", "avx512", "avx512-vnni"]


def measure_kernels(level, most_threads):
    objects = sorted((ROOT / ".build/release/CKernels.build").rglob("*.o"))
    if not objects:
        raise SystemExit("kernels.py: 'make build' comes first")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "linear_layers"
        flags = subprocess.run(
            ["pkg-config", "--cflags", "--libs", "openblas"], check=True, capture_output=True, text=True
        ).stdout.split()
        subprocess.run(
            ["clang", "-std=gnu17", "-O2", f"-I{ROOT / 'Sources/CKernels/include'}",
             ROOT / "Benchmarks/kernels/linear_layers.c", *objects, *flags, "-lm", "-lpthread", "-o", program],
            check=True)
        environment = dict(os.environ, **({"CONDI_VECTOR_LEVEL": level} if level else {}))
        lines = subprocess.run(
            [program, str(most_threads)], check=True, capture_output=True, text=True, env=environment).stdout
    return [json.loads(line) for line in lines.splitlines()]


def measure_torch(inputs, outputs, threads):
    torch.set_num_threads(threads)
    x, weight, bias = torch.randn(4096, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    clock = time.thread_time if threads == 1 else time.perf_counter
    least, begin, count = 1e9, clock(), 0
    with torch.inference_mode():
        while count < 20 or clock() - begin < 0.4:
            start = clock()
            torch.nn.functional.linear(x, weight, bias)
            least, count = min(least, clock() - start), count + 1
    return least


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--level", choices=LEVELS)
    parser.add_argument("--two-threads", action="store_true")
    arguments = parser.parse_args()
    most_threads = 2 if arguments.two_threads else 1
    rows = measure_kernels(arguments.level, most_threads)
    level = rows[0]["level"]
    print("# Linear layers: kernels beside OpenBLAS and PyTorch\n")
    print(f"{processor()}, {os.cpu_count()} cores; vector level {level}; torch {torch.__version__}; "
          "4,096 rows with a bias.")
    print(f"Command: `{' '.join(['python', 'Benchmarks/kernels.py', *sys.argv[1:]])}`."
          " Ratios are times of the other one divided by times of the float kernel: above 1, the"
          " kernel is faster. Low-bit columns are the float kernel's time divided by that of codes"
          " for weights and inputs alike, with the coding of the inputs included; in groups, inputs have"
          " bounds in the range of each 16, and the other one is the float kernel with its inputs quantized"
          " so.\n")
    for threads in range(1, most_threads + 1):
        kind = "one thread, processor time" if threads == 1 else "two threads, wall time"
        print(f"## {kind.capitalize()}\n")
        print("| layer | float | GFLOP/s | OpenBLAS / float | torch / float | float / 4 bits "
              "| float / 3 bits | float / 2 bits | 4 bits in groups | 2 bits in groups |")
        print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
        for row in rows:
            inputs, outputs, base = row["inputs"], row["outputs"], row[f"float_{threads}"]
            reference = measure_torch(inputs, outputs, threads)
            simulated = row[f"simulated_{threads}"]
            kinds = [("codes4", base), ("codes3", base), ("codes2", base)]
            kinds += [("groups4", simulated), ("groups2", simulated)]
            low = " | ".join(f"{other / row[f'{kind}_{threads}']:.2f}" for kind, other in kinds)
            print(f"| {inputs} → {outputs} | {base * 1e3:.3f} ms "
                  f"| {2 * 4096 * inputs * outputs / base * 1e-9:.0f} "
                  f"| {row[f'openblas_{threads}'] / base:.2f} | {reference / base:.2f} | {low} |")
            sys.stdout.flush()
        print()


if __name__ == "__main__":
    main()
