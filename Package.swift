// swift-tools-version: 6.2
import PackageDescription

/// One program for all machines: it carries Swift's libraries, which no distribution packages.
///
/// Its modules are compiled as those of the tests are, which have no static libraries. What Foundation's
/// static modules would name for the linker is named here, each library before those that it needs.
/// Essentials alone: the rest of Foundation brings along 40 MB of ICU's tables.
let staticLinking =
  ["-static-stdlib"]
  + ["FoundationEssentials", "_FoundationCShims", "_FoundationCollections"].map { "-l\($0)" }

/// Tests are small beside what they test: optimizing them takes longer than running them as they are.
let testSettings: [SwiftSetting] = [.unsafeFlags(["-Onone"])]

/// Everything is built under the Swift 6 language mode, so data races are compile-time errors.
let package = Package(
  name: "condi-convert",
  products: [
    .executable(name: "condi-convert", targets: ["condi-convert"]),
    .library(name: "Storage", targets: ["Storage"]),
    .library(name: "Formats", targets: ["Formats"]),
    .library(name: "Reports", targets: ["Reports"]),
    .library(name: "Inspect", targets: ["Inspect"]),
    .library(name: "Transform", targets: ["Transform"]),
    .library(name: "Imaging", targets: ["Imaging"]),
    .library(name: "SuperResolution", targets: ["SuperResolution"]),
    .library(name: "LinearAlgebra", targets: ["LinearAlgebra"]),
    // For the package in `Fuzz`, which builds with flags that suit nothing else.
    .library(name: "FuzzTargets", targets: ["FuzzTargets"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-collections.git", from: "1.2.0"),
    .package(url: "https://github.com/apple/swift-system.git", from: "1.5.0"),
  ],
  targets: [
    // One module a C library; each is imported by exactly one Swift target.
    .systemLibrary(
      name: "CLibzip", pkgConfig: "libzip", providers: [.apt(["libzip-dev"])]),
    .systemLibrary(
      name: "CJSONC", pkgConfig: "json-c", providers: [.apt(["libjson-c-dev"])]),
    .systemLibrary(
      name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(
      name: "CDeflate", pkgConfig: "libdeflate", providers: [.apt(["libdeflate-dev"])]),
    .systemLibrary(
      name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(
      name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"])]),
    .systemLibrary(
      name: "CJPEG", pkgConfig: "libjpeg", providers: [.apt(["libjpeg-dev"])]),
    .systemLibrary(
      name: "CWebP", pkgConfig: "libwebpmux", providers: [.apt(["libwebp-dev"])]),

    // Own C, and all there is of it: what signal handlers do, calls that Swift's Glibc leaves out, what
    // reports errors by jumping, what is chosen by the processor's vector units, and what loads
    // libraries: OpenBLAS, and that which `make mpi` makes of CMPI/plugin.
    .target(name: "CSignals"),
    .target(name: "CFiles"),
    .target(name: "CLAPACKE"),
    .target(name: "CMPI", exclude: ["plugin"]),
    .target(name: "CImageCodecs", dependencies: ["CPNG", "CJPEG", "CWebP"]),
    .target(name: "CKernels"),

    .target(name: "LinearAlgebra", dependencies: ["CKernels", "CLAPACKE"]),
    // Files and the bytes in them, whatever they mean.
    .target(
      name: "Storage",
      dependencies: [
        "CLibzip", "CJSONC", "CZlib", "CDeflate", "CCrypto", "CSignals", "CFiles",
        .product(name: "OrderedCollections", package: "swift-collections"),
        .product(name: "SystemPackage", package: "swift-system"),
      ]),
    .target(
      name: "Formats",
      dependencies: [
        "Storage", "CKernels",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ]),
    // What commands found, as text, JSON, CSV, Markdown and HTML.
    .target(
      name: "Reports",
      dependencies: [
        "Storage", .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      resources: [
        .embedInCode("Resources/page.css"), .embedInCode("Resources/images.css"),
        .embedInCode("Resources/page.js"),
      ]),
    // Work that several processes share: one alone, or those of mpirun.
    .target(name: "Ranks", dependencies: ["Storage", "LinearAlgebra", "CMPI"]),
    // Images: files, colours, resampling and how alike two are.
    .target(name: "Imaging", dependencies: ["Storage", "CImageCodecs"]),
    .target(
      name: "SuperResolution",
      dependencies: ["Storage", "Formats", "Imaging", "LinearAlgebra", "CKernels"]),
    .target(
      name: "Transform",
      dependencies: [
        "Storage", "Formats", "Imaging", "LinearAlgebra", "SuperResolution", "CKernels",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ]),
    .target(
      name: "Inspect",
      dependencies: [
        "Storage", "Formats", "LinearAlgebra", "Ranks", "Reports", "SuperResolution", "Transform",
      ]),
    // Conversions that are interrupted and continued, or shared out to several machines.
    .target(
      name: "Jobs",
      dependencies: [
        "Storage", "Formats", "LinearAlgebra", "Ranks", "Transform",
        .product(name: "HeapModule", package: "swift-collections"),
        .product(name: "OrderedCollections", package: "swift-collections"),
      ]),
    .executableTarget(
      name: "condi-convert",
      dependencies: [
        "Storage", "Formats", "Imaging", "Inspect", "Jobs", "LinearAlgebra", "Ranks", "Reports",
        "SuperResolution", "Transform",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      linkerSettings: [.unsafeFlags(staticLinking)]),

    // The Swift side of `Benchmarks/training.py`.
    .executableTarget(
      name: "training-benchmark", dependencies: ["Formats", "Imaging", "SuperResolution"],
      path: "Benchmarks/Training"),
    .target(
      name: "FuzzTargets",
      dependencies: [
        "Storage", "Formats", "Imaging", "Inspect", "Reports",
        .product(name: "OrderedCollections", package: "swift-collections"),
      ],
      path: "Fuzz/Targets"),
    // Kernels for AVX-512 on processors without it, by Debian's libsimde-dev.
    .target(
      name: "CEmulatedKernels", dependencies: ["CKernels"], path: "Tests/CEmulatedKernels"),
    .target(
      name: "TestSupport",
      dependencies: ["CEmulatedKernels", "CKernels", "Storage", "Formats", "Imaging"],
      path: "Tests/TestSupport"),
    .testTarget(
      name: "LinearAlgebraTests", dependencies: ["Imaging", "LinearAlgebra", "TestSupport"],
      swiftSettings: testSettings),
    .testTarget(
      name: "StorageTests", dependencies: ["Storage", "TestSupport"], swiftSettings: testSettings),
    .testTarget(
      name: "ReportsTests", dependencies: ["Reports"], swiftSettings: testSettings),
    .testTarget(
      name: "ImagingTests", dependencies: ["Storage", "Imaging", "TestSupport"],
      swiftSettings: testSettings),
    .testTarget(
      name: "FormatsTests",
      dependencies: ["CKernels", "Storage", "Formats", "FuzzTargets", "Imaging", "TestSupport"],
      swiftSettings: testSettings),
    .testTarget(
      name: "InspectTests",
      dependencies: [
        "Storage", "Formats", "Inspect", "LinearAlgebra", "Reports", "TestSupport", "Transform",
      ], swiftSettings: testSettings),
    .testTarget(
      name: "TransformTests",
      dependencies: ["Storage", "Formats", "LinearAlgebra", "TestSupport", "Transform"],
      swiftSettings: testSettings),
    .testTarget(
      name: "JobsTests",
      dependencies: [
        "CKernels", "Storage", "Formats", "Jobs", "LinearAlgebra", "Ranks", "TestSupport",
        "Transform",
      ],
      swiftSettings: testSettings),
    .testTarget(
      name: "SuperResolutionTests",
      dependencies: [
        "CKernels", "Storage", "Formats", "Imaging", "LinearAlgebra", "SuperResolution",
        "TestSupport", "Transform",
      ],
      swiftSettings: testSettings),
    // These start the program that 'make build' made.
    .testTarget(
      name: "CommandTests",
      dependencies: [
        "Storage", "Formats", "Imaging", "SuperResolution", "TestSupport", "Transform",
      ],
      swiftSettings: testSettings),
  ],
  swiftLanguageModes: [.v6]
)
