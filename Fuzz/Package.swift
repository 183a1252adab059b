// swift-tools-version: 6.2
import PackageDescription

/// The fuzzer: a package of its own, so that nobody builds it by building the tool.
///
/// It has to be built with the flags in `Fuzz/run.sh`; without them it does not link.
let package = Package(
  name: "condi-fuzz",
  dependencies: [.package(name: "condi-convert", path: "..")],
  targets: [
    .executableTarget(
      name: "condi-fuzz",
      dependencies: [
        .product(name: "Formats", package: "condi-convert"),
        .product(name: "FuzzTargets", package: "condi-convert"),
        .product(name: "Transform", package: "condi-convert"),
      ])
  ],
  swiftLanguageModes: [.v6]
)
