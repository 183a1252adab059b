#!/usr/bin/env python3
"""Print digests of all that condi-convert writes, to check that a refactoring changes nothing.

Usage: output-digests.py PROGRAM [--compare OTHER] [--threads N]

Runs COMMANDS, one after another, in a temporary folder with the project's fixtures. Prints one line
for the standard output, standard error and exit code of each command, and one for each file that it
wrote or removed: SHA-256, number of the command, name. With --compare, runs both programs and prints
a unified diff of what differs; the exit code is 1 if anything does.

Results may depend on the processor and on versions of libraries: compare digests from one machine
only. Commands that read ../shared/data are skipped where it is missing. Needs Python 3.9 or later.
"""

import argparse
import difflib
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# One command per line, without the program's name. `< FILE` redirects standard input. `damage` is
# done by this script, which copies a file and changes the byte at an offset.
COMMANDS = r"""
--experimental-dump-help
convert example.pth example.npz
convert example.npz example.safetensors --root params
convert f/safetensors/all_types.safetensors types.pth
convert f/npz/deflated.npz deflated.pth
convert f/npy/fortran_3d_big_endian.npy fortran.npy
convert f/npz/ml_dtypes.npz narrow.safetensors --void-type bfloat16 --void-type float8_e4m3fn
convert f/sharded/torch shards.pth
convert f/gguf/quantized.gguf gguf.bin --to safetensors
convert f/onnx/external/model.onnx onnx.npz
convert - stdin.npz < f/safetensors/shapes.safetensors
# Packing
convert example.pth packed.condi --bits 2
convert example.pth 3.condi --bits 3 --granularity group:20 --format json
convert example.pth 4.condi --bits 4 --granularity channel --method minmax --format csv
convert example.pth conv.condi --recipe body-linear-and-conv --bits 2 --format markdown --limit 3
convert example.pth best.condi --method best --bits 2 --penalty 1e-4 --format html
convert example.pth budget.condi --target-bpw 3 --dry-run
convert shared/weights/RLFN_x4_NTIRE2024_team00.pth rlfn.condi --bits 2
convert f/logical/fp8/model.safetensors fp8.condi --recipe all-linear
convert consumed consumed.condi --recipe recipe.json --consume-input
convert swinir.safetensors journal.safetensors --journal
plan example.pth jobs.condi --bits 2
run jobs.condi.plan.json --job 2/2 --threads 1
finish jobs.condi.plan.json
run jobs.condi.plan.json --job 1/2 --threads 1
finish jobs.condi.plan.json --format json
# Calibration and methods
calibrate swinir.safetensors s.calib.npz --images set/HR --patches 3 --patch-size 16 --bits 2
calibrate dat.safetensors d.calib.npz --images set/HR --patches 2 --patch-size 16 --format json
convert example.pth 2dquant.condi --method 2dquant $distill
convert swinir.safetensors row.condi --method condiquant --activation-scaling row $distill
convert swinir.safetensors tuned.condi --checkpoint state --format markdown $distill
convert swinir.safetensors tuned.condi --checkpoint state --force $distill
convert dat.safetensors dat.condi --bits 4 --format json $distill
condition example.pth clipped.npz --target-condition 10 --format csv
condition swinir.safetensors s.pth --recipe recipe.json --calibration s.calib.npz
quantize s.pth q.condi --recipe recipe.json --calibration s.calib.npz --method dobi
# Inspecting
inspect example.pth --split-qkv --sort condition --limit 5
inspect example.pth --extremes --format csv
inspect swinir.safetensors --singular-values --format json
inspect packed.condi --reference example.pth --format html
inspect example.pth packed.condi --format markdown
inspect swinir.safetensors --layers 'conv*' --conv-operator 16x16
inspect f/torch/checkpoint.pth --tree
inspect f/npz/objects.npz --tree --depth 2 --format json
inspect f/export/sample.condi --raw-header
inspect example.pth --fail-if 'condition > 50 on *.qkv.weight' --junit rules.xml
# Comparing, verifying, repairing
diff example.pth packed.condi --condition --limit 5
diff swinir.safetensors s.pth --tolerance '*.qkv.*=1e-3' --ignore '*.norm*' --format csv
diff f/torch/state_dict.pth f/torch/module.pth --format json
diff f/logical/fp8/model.safetensors f/logical/fp8/values.safetensors --any-type --format markdown
git-diff a.pth f/torch/float32.pth 0 100644 f/torch/float16.pth 1 100644
git-diff --textconv f/torch/checkpoint.pth
verify packed.condi --reference example.pth --min-ratio paper=3.3 --min-sqnr 5
verify packed.condi --max-bytes 1kB --max-condition 10 --format json
verify tuned.condi --reference swinir.safetensors --reproduce --calibration-images set/HR
damage packed.condi damaged.condi 500000
verify damaged.condi --reference example.pth --repairable --format html
repair damaged.condi example.pth repaired.condi
damage packed.condi headless.condi -400
repair headless.condi example.pth header.condi --bits 2
# Other formats, images
unpack packed.condi unpacked.pth
unpack f/export/sample.condi unpacked.safetensors
export f/export/sample.condi model.onnx
export f/export/sample.condi matmul.onnx --to onnx-matmulnbits --pad --dequantize --format json
export f/export/sample.condi mlx --to mlx --pad --dequantize --format markdown
export f/export/sample.condi model.gguf --pad --dequantize --format csv
export f/export/sample.condi codes.safetensors --format html
import f/import/mlx mlx.condi --from mlx
import f/import/gptq-4 gptq.condi --from gptq --format json
upscale swinir.safetensors f/images/rgb8.png swinir.png
upscale dat.condi f/images/metric_3.png dat.png --tile 16
upscale tuned.condi f/images/described.jpg tuned.jpg --quality 80 --format json
evaluate 2dquant.condi swinir.safetensors --dataset set
evaluate tuned.condi --against swinir.safetensors --dataset set --max-loss 0.001 --format json
evaluate swinir.safetensors dat.condi --dataset set --format csv
evaluate swinir.safetensors tuned.condi --dataset set --format html
evaluate swinir.safetensors --dataset set --format markdown
evaluate --dataset shared/testsets/Set5 --scale 4 --format json
# Auditing, errors
audit f/torch/checkpoint.pth
audit f/torch/tar_calls_system.pth --format json
audit f/containers/chat_template.gguf --format csv
audit f/containers/package.pt --format markdown
audit f/torch/two_pickles.pkl --format html
inspect missing.pth
inspect f/images/rgb8.png
inspect f/torch/truncated.pth
convert example.pth packed.condi --bits 2
convert example.pth nine.condi --bits 9
import f/import/mlx wrong.condi --from gptq
"""
DISTILL = "--recipe recipe.json --calibration-images set/HR --patches 3 --patch-size 16 --steps 3"
RECIPE = '{"bits": 2, "rules": [{"match": "*.weight", "where": {"rank": 2}, "action": "quantize"}]}'

# Values that change from run to run, each after the first group of its pattern: measured times, and
# digests of plans, which contain the folder's path. Times that reports of `evaluate` do not name
# follow an SSIM or the number of exact images, or are the only numbers of at most ten decimals.
HIDDEN = [
    rb'(econds" : )[\d.e-]+', rb"(distillation s(?:: | +|</dt><dd>))[\d.e-]+",
    rb'("plan":")[0-9a-f]{64}',
]
HIDDEN_IN_EVALUATE = HIDDEN + [
    rb"(\d\d\.\d\d[ |]+0\.\d+) [ |]*\d\.\d+(?:e-\d)?(?=[ \n])",
    rb"([ |]\d) [ |]*\d\.\d+(?:e-\d)?(?=[ \n])",
    rb"(,)\d\.\d{1,10}(?:e-\d+)?(?=[,\r\n])",
    rb'( data-value=")(\d\.\d{1,10}(?:e-\d+)?)" title="\2">[^<]+',
    rb'(>\d</td><td class="number" data-value=")\d\.\d{3,}[^<]+',
]


def copy_network(name: str, folder: pathlib.Path) -> None:
    """Copies the fixture of a network without its expected outputs."""
    data = (folder / f"f/superresolution/{name}_direct_x2.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header, body = {}, b""
    for tensor, entry in json.loads(data[8:start]).items():
        if not tensor.startswith(("golden.", "__metadata__")):
            begin, end = entry["data_offsets"]
            header[tensor] = entry | {"data_offsets": [len(body), len(body) + end - begin]}
            body += data[start + begin:start + end]
    text = json.dumps(header).encode()
    (folder / f"{name}.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + body)


def prepare(folder: pathlib.Path) -> None:
    """Fills the folder with inputs."""
    (folder / "f").symlink_to(ROOT / "Tests/Fixtures")
    (folder / "shared").symlink_to(ROOT.parent / "shared/data")
    shutil.copyfile(ROOT / "Examples/swinir_light_x2.pth", folder / "example.pth")
    os.utime(folder / "example.pth", (0, 0))  # A plan records this.
    shutil.copytree(folder / "f/safetensors/sharded", folder / "consumed")
    (folder / "set/HR").mkdir(parents=True)
    for name in ["metric_1.png", "metric_3.png"]:
        shutil.copyfile(folder / "f/images" / name, folder / "set/HR" / name)
    for name in ["swinir", "dat"]:
        copy_network(name, folder)
    (folder / "recipe.json").write_text(RECIPE)


def files(folder: pathlib.Path) -> dict[str, tuple]:
    """Returns the names of all files, with values that change when a file is written."""
    found = {str(path.relative_to(folder)): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {name: (each.st_ino, each.st_size, each.st_mtime_ns) for name, each in found.items()}


def run(program: str, folder: pathlib.Path, line: str, threads: list[str]) -> dict[str, bytes]:
    """Runs a command and returns its outputs by name, without what differs from run to run."""
    command, _, source = line.replace("$distill", DISTILL).partition(" < ")
    words = shlex.split(command)
    if words[0] == "damage":
        data = bytearray((folder / words[1]).read_bytes())
        data[int(words[3])] ^= 0x10
        (folder / words[2]).write_bytes(data)
        return {}
    # A job's threads write its journal in any order, so `run` has one thread.
    words += [] if words[0] in ["audit", "run", "--experimental-dump-help"] else threads
    before = files(folder)
    data = (folder / source).read_bytes() if source else b""
    done = subprocess.run([program, *words], cwd=folder, input=data, capture_output=True)
    after = files(folder)
    outputs = {"standard output": done.stdout, "standard error": done.stderr}
    outputs[f"exit code {done.returncode} of '{line}'"] = b"%d\n" % done.returncode
    for name in sorted(before | after):
        if before.get(name) != after.get(name):
            outputs[name] = (folder / name).read_bytes() if name in after else b"removed\n"
    for name, data in outputs.items():
        # The checkpoint of a distillation contains the time it has taken.
        data = b"%d bytes\n" % len(data) if name == "state" else data.replace(bytes(folder), b"(folder)")
        for pattern in HIDDEN_IN_EVALUATE if words[0] == "evaluate" else HIDDEN:
            data = data if b"\0" in data else re.sub(pattern, rb"\1(hidden)", data)
        outputs[name] = data
    return outputs


def run_all(program: str, threads: list[str]) -> dict[tuple[int, str], bytes]:
    """Returns the outputs of all commands, by number and name."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name).resolve()
        prepare(folder)
        lines = [line for line in COMMANDS.splitlines() if line and line[0] != "#"]
        return {
            (number, output): data for number, line in enumerate(lines, 1)
            if "shared/" not in line or (folder / "shared").exists()
            for output, data in run(program, folder, line, threads).items()
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", metavar="PROGRAM", type=os.path.realpath)
    parser.add_argument("--compare", metavar="OTHER", type=os.path.realpath, help="print what differs")
    parser.add_argument("--threads", metavar="N", help="worker threads of every command")
    chosen = parser.parse_args()
    threads = ["--threads", chosen.threads] if chosen.threads else []
    first = run_all(chosen.program, threads)
    if not chosen.compare:
        for (number, name), data in first.items():
            print(hashlib.sha256(data).hexdigest(), number, name)
        return 0
    second = run_all(chosen.compare, threads)
    different = [key for key in first | second if first.get(key) != second.get(key)]
    for key in different:
        pair = [each.get(key, b"missing") for each in (first, second)]
        if b"\0" in b"".join(pair):
            pair = [hashlib.sha256(data).hexdigest().encode() for data in pair]
        texts = (data.decode(errors="backslashreplace").split("\n") for data in pair)
        label = f"{key[0]} {key[1]}"
        print(*difflib.unified_diff(*texts, label, label, lineterm=""), sep="\n")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
