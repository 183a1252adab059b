// swift-tools-version: 6.2
import PackageDescription

/// A program for each library of condi-convert. In a package of your own, name the repository's
/// address in place of the path.
let package = Package(
  name: "Examples",
  dependencies: [
    .package(name: "condi-convert", path: "../..")
  ],
  targets: [
    .executableTarget(
      name: "ListTensors",
      dependencies: [.product(name: "Formats", package: "condi-convert")]),
    .executableTarget(
      name: "WorstConditioned",
      dependencies: [
        .product(name: "Formats", package: "condi-convert"),
        .product(name: "Inspect", package: "condi-convert"),
      ]),
    .executableTarget(
      name: "PackModel",
      dependencies: [
        .product(name: "Formats", package: "condi-convert"),
        .product(name: "Transform", package: "condi-convert"),
      ]),
    .executableTarget(
      name: "UpscaleImage",
      dependencies: [
        .product(name: "Formats", package: "condi-convert"),
        .product(name: "Imaging", package: "condi-convert"),
        .product(name: "Storage", package: "condi-convert"),
        .product(name: "SuperResolution", package: "condi-convert"),
      ]),
    .executableTarget(
      name: "DocumentationExamples",
      dependencies: [
        "Formats", "Imaging", "Inspect", "LinearAlgebra", "Reports", "Storage", "SuperResolution",
        "Transform",
      ].map { .product(name: $0, package: "condi-convert") },
      // An example may name a value and leave it at that.
      swiftSettings: [.unsafeFlags(["-suppress-warnings"])]),
  ],
  swiftLanguageModes: [.v6]
)
