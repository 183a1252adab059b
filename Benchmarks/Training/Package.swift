// swift-tools-version: 6.2
import PackageDescription

/// The Swift side of `Benchmarks/training.py`.
let package = Package(
  name: "training-benchmark",
  dependencies: [.package(name: "condi-convert", path: "../..")],
  targets: [
    .executableTarget(
      name: "training-benchmark",
      dependencies: [
        .product(name: "Formats", package: "condi-convert"),
        .product(name: "SuperResolution", package: "condi-convert"),
        .product(name: "Transform", package: "condi-convert"),
      ], path: "Sources")
  ],
  swiftLanguageModes: [.v6]
)
