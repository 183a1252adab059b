#!/usr/bin/env bash
# Builds the programs of Examples/SwiftPackage and runs each once on the example checkpoint. One of them is
# made of the examples in the documentation.
# Usage: examples.sh [OPTION OF 'swift build']...
set -euo pipefail
cd "$(dirname "$0")/.."

model=Examples/swinir_light_x2.pth
out=out/examples
rm -rf "$out"
mkdir -p "$out"

Scripts/doc-examples.py \
  Examples/SwiftPackage/Sources/DocumentationExamples/GeneratedExamples.swift
# The scratch folder of the package itself: what is built there already is not built again.
build=("${SWIFT:-swift}" build --package-path Examples/SwiftPackage
  --scratch-path "$PWD/.build" "$@")
"${build[@]}"
bin=$("${build[@]}" --show-bin-path)

run() {
  printf '$ %s\n' "$*"
  "$bin/$1" "${@:2}" | tail -n 5
}
run DocumentationExamples
run ListTensors "$model" "$out/model.safetensors"
run WorstConditioned "$model"
mkdir "$out/images"
cp Documentation/images/side_by_side.png "$out/images"
run PackModel "$model" "$out/images" "$out/model.condi"
run UpscaleImage "$out/model.condi" Tests/Fixtures/images/rgb8.png "$out/large.png"
ls -l "$out" | awk 'NF > 8 { printf "  %9d bytes  %s\n", $5, $9 }'
