#!/usr/bin/env bash
# The whole job on a real checkpoint and real images: inspect, quantize, verify, diff, evaluate, unpack.
# Usage: demo.sh path/to/condi-convert
set -euo pipefail

tool=$1
model=Examples/swinir_light_x2.pth
images=Examples/images
out=out/demo
packed=$out/2bit.condi
rm -rf "$out"
mkdir -p "$out"

bold='' faint='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then bold=$'\033[1m' faint=$'\033[2m' plain=$'\033[0m'; fi
# Commands are shown past the filters and files that their reports go to.
exec 3>&1
step() { printf '\n%s── %s%s\n' "$bold" "$1" "$plain"; }
run() {
  printf '%s$ condi-convert %s%s\n' "$faint" "$*" "$plain" >&3
  "$tool" "$@"
}
# Passes on the paragraphs of a report that the expression selects, which knows each one's number.
paragraphs() { awk -v RS= -v ORS='\n\n' "$1"; }

step 'Inspect: the three worst-conditioned layers'
run inspect "$model" --sort condition --split-qkv --limit 3 | paragraphs 'NR == 1 || NR == 3 || NR == 4'

step 'Convert: condition, calibrate on three images, quantize weights and activations to 2 bits'
run convert "$model" "$packed" --bits 2 --calibration-images $images/calibration --patches 4 \
  --steps 0 --quiet | paragraphs 'NR <= 3'

step 'Verify: is the packed file whole, and as small as promised?'
run verify "$packed" --reference "$model" --min-ratio paper=3.3 --limit 1 \
  | paragraphs '/^verdict/ || /^Requirements/'

step 'Diff: what changed (exit code 1 means: something did)'
run diff "$model" "$packed" --limit 3 --quiet | paragraphs 'NR == 1 || NR == 3 || NR == 4' || [ $? -eq 1 ]

step 'Evaluate: what it costs on three other images, and how fast it runs'
run evaluate "$model" "$packed" --dataset $images/evaluation --comparison $out/side-by-side.png \
  --quiet | tee $out/evaluation.txt | paragraphs '!/^Regions/'
run evaluate "$model" "$packed" --dataset $images/evaluation --format html --quiet \
  >$out/evaluation.html

step 'Unpack: back to a checkpoint that PyTorch opens'
run unpack "$packed" "$out/restored.pth"

step 'Result'
size() { stat -c %s "$1"; }
# Rows of the means end in seconds per image and two sizes, each a number and a unit.
awk -v RS= -v before="$(size $model)" -v after="$(size "$packed")" -v out=$out '
  /^Means/ {
    count = split($0, lines, "\n")
    for (i = 2; i <= count; i++) {
      n = split(lines[i], cells, " ")
      psnr[cells[1]] = cells[2]
      seconds[cells[1]] = cells[n - 4]
    }
  }
  END {
    full = "swinir_light_x2"
    if (!("2bit" in psnr) || !(full in psnr) || seconds["2bit"] + 0 == 0) {
      print "demo.sh: the means are missing in " out "/evaluation.txt" >"/dev/stderr"
      exit 2
    }
    printf "2 bits: %s dB (full precision %s, bicubic %s), %.1f times smaller, %.2f times as fast; ",
      psnr["2bit"], psnr[full], psnr["bicubic"], before / after, seconds[full] / seconds["2bit"]
    printf "%s/evaluation.html, %s/side-by-side.png\n", out, out
  }' $out/evaluation.txt
