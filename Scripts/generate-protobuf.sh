#!/bin/sh
# Makes Sources/Formats/ONNX/ONNXDescriptions.pb.swift anew. Needs protoc (Debian: protobuf-compiler);
# builds the Swift plugin of the swift-protobuf version that the package uses.
set -eu
cd "$(dirname "$0")/.."
swift package resolve
checkout=.build/checkouts/swift-protobuf
swift build --package-path "$checkout" --scratch-path .build/protoc-gen-swift \
  --product protoc-gen-swift
protoc --plugin=".build/protoc-gen-swift/debug/protoc-gen-swift" \
  --swift_out=Sources/Formats/ONNX --proto_path=Sources/Formats/ONNX ONNXDescriptions.proto
