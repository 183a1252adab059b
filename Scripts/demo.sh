#!/usr/bin/env bash
# The whole job on a real checkpoint: convert, inspect, diff, verify, unpack.
# Usage: demo.sh path/to/condi-convert
set -euo pipefail

tool=$1
model=Examples/swinir_light_x2.pth
out=out/demo
rm -rf "$out"
mkdir -p "$out"

bold='' faint='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then bold=$'\033[1m' faint=$'\033[2m' plain=$'\033[0m'; fi
step() { printf '\n%s── %s%s\n' "$bold" "$1" "$plain"; }
run() {
  printf '%s$ condi-convert %s%s\n' "$faint" "$*" "$plain"
  "$tool" "$@"
}

step 'Convert: quantize the linear weights of the body to 2 bits and pack'
run convert "$model" "$out/model.condi" --bits 2

step 'Inspect: the five worst-conditioned layers of the full-precision model'
run inspect "$model" --sort condition --split-qkv --limit 5

step 'Diff: what changed (exit code 1 means: something did)'
run diff "$model" "$out/model.condi" --limit 5 || [ $? -eq 1 ]

step 'Verify: is the packed file whole, and as small as promised?'
run verify "$out/model.condi" --reference "$model" --min-ratio paper=3.3

step 'Unpack: back to a checkpoint that PyTorch opens'
run unpack "$out/model.condi" "$out/restored.pth"
ls -l "$model" "$out" | awk 'NF > 8 { printf "  %9d bytes  %s\n", $5, $9 }'
