// swift-tools-version: 6.2
import PackageDescription

/// The fuzzer, a separate package so that building the tool does not build it.
///
/// It must be built with the flags that `make fuzz` passes; it does not link without them.
let package = Package(
  name: "condi-fuzz",
  dependencies: [.package(name: "condi-convert", path: "..")],
  targets: [
    .executableTarget(
      name: "condi-fuzz",
      dependencies: [
        .product(name: "Formats", package: "condi-convert"),
        .product(name: "FuzzTargets", package: "condi-convert"),
        .product(name: "Storage", package: "condi-convert"),
        .product(name: "Transform", package: "condi-convert"),
      ],
      // gold cannot link it.
      linkerSettings: [.unsafeFlags(["-sanitize=fuzzer", "-use-ld=lld"])])
  ],
  swiftLanguageModes: [.v6]
)
