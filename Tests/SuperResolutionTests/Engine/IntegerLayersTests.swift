import Formats
import Foundation
import TestSupport
import Testing
import Transform

@testable import Imaging
@testable import Storage
@testable import SuperResolution

@Suite struct IntegerLayersTests {
  static let fixtures = ["swinir_direct_x2", "dat_direct_x2"]
  static let settings = [
    QuantizationSettings(bitWidth: 2), QuantizationSettings(bitWidth: 8),
    QuantizationSettings(bitWidth: 4, granularity: .channel),
    QuantizationSettings(bitWidth: 3, parameterType: .float16, parts: 4),
  ]

  private func withPacked(
    _ name: String, _ settings: QuantizationSettings, activationBits: Int = 8,
    widening: Bool = true, _ body: (NetworkFixture, PackedNetworkFixture) throws -> Void
  ) throws {
    let fixture = try NetworkFixture(name)
    try withTemporaryFolder { folder in
      let weights = widening ? try fixture.weights.widened() : fixture.weights
      try body(
        fixture,
        PackedNetworkFixture(
          weights, settings: settings, activationBits: activationBits, input: fixture.input(),
          folder: folder))
    }
  }

  /// The outputs of a network in integers, in their simulation and in full precision.
  private struct Outputs {
    let found: Image
    let expected: Image
    let full: Image

    /// Returns the PSNR of two images, in dB.
    static func psnr(_ first: Image, _ second: Image) -> Double {
      let errors = zip(first.samples, second.samples).map { Double($0 - $1) * Double($0 - $1) }
      return -10 * log10(errors.reduce(0, +) / Double(errors.count))
    }
  }

  /// Compares whole networks in dB.
  ///
  /// Integer sums are exact and simulated ones are rounded, so a value on the edge between two
  /// codes may fall on either side, and attention carries that step over the whole image. It costs
  /// less than quantization does. Where few values lie on such edges, little more than the rounding of
  /// the last layers remains; at each level there are such networks.
  private func check(_ networks: [Outputs], closest: Double = 85) {
    var agreements: [Double] = []
    for outputs in networks {
      let agreement = Outputs.psnr(outputs.found, outputs.expected)
      let quality = Outputs.psnr(outputs.expected, outputs.full)
      #expect(agreement >= quality + 3)
      #expect(abs(Outputs.psnr(outputs.found, outputs.full) - quality) <= 1.5)
      #expect(quality <= 60, "quantization changes the image")
      agreements.append(agreement)
    }
    #expect(agreements.contains { $0 >= closest && $0.isFinite }, "\(agreements)")
  }

  @Test(arguments: fixtures)
  func integerNetworkMatchesSimulation(name: String) throws {
    var networks: [Outputs] = []
    for settings in Self.settings {
      try withPacked(name, settings) { fixture, packed in
        let integers = try packed.network(usesIntegers: true)
        let simulated = try packed.network(usesIntegers: false)
        #expect(
          integers.integerLayerCount
            == integers.sites.count { $0.weightName != nil && $0.tapCount == nil })
        #expect(integers.integerLayerCount == 16)
        #expect(simulated.integerLayerCount == 0)
        let input = try fixture.input()
        let outputs = try Outputs(
          found: integers.upscale(input, progress: nil),
          expected: simulated.upscale(input, progress: nil), full: fixture.output())
        #expect(outputs.found != outputs.expected, "another arithmetic rounds otherwise")
        networks.append(outputs)
      }
    }
    check(networks)
  }

  /// A single layer has no quantization step after its sums, so every value agrees.
  @Test(arguments: fixtures, settings.indices)
  func everyIntegerLayerMatchesSimulation(name: String, index: Int) throws {
    try withPacked(name, Self.settings[index], activationBits: 4) { _, packed in
      let network = try packed.network(usesIntegers: true)
      let layers = try IntegerLayers(
        packed.archive, sites: network.sites, quantizers: network.quantizers,
        biases: network.architecture.graph.siteBiases(packed.archive), excluding: [])
      var context = ForwardContext(threads: 1)
      context.quantizers = network.quantizers
      for (site, described) in network.sites.enumerated() {
        guard let weightName = described.weightName, described.tapCount == nil else { continue }
        let weight = try #require(packed.archive.tensors[weightName])
        let (outputs, inputs) = (weight.shape.dimensions[0], weight.shape.dimensions[1])
        let bias = try #require(packed.archive.tensors["\(weightName.dropLast(6))bias"])
        let layer = Linear(
          weight: try weight.floatValues(), bias: try bias.floatValues(), outputs: outputs,
          inputs: inputs)
        var random = SplitMix(seed: UInt64(site))
        let x = random.normals(17 * inputs)
        func results(_ layer: SiteLinear) throws -> [Float] {
          var x = x
          var y = [Float](repeating: 0, count: 17 * outputs)
          try x.withUnsafeMutableBufferPointer { x in
            try y.withUnsafeMutableBufferPointer { y in
              let (x, y) = (try #require(x.baseAddress), try #require(y.baseAddress))
              try context.apply(
                layer, at: site, rows: 17, x, stride: inputs, to: y, stride: outputs)
            }
          }
          return y
        }
        let found = try results(.codes(#require(layers.linear(at: site))))
        let expected = try results(.values(layer))
        #expect(largestDifference(found, expected) <= 1e-4, "\(weightName)")
        #expect(found != expected)
      }
    }
  }

  /// Short groups, and those that split the kernel's steps, are multiplied in floating point; a group as
  /// long as the row does not count as a group.
  @Test(arguments: fixtures)
  func groupedInputsMatchSimulation(name: String) throws {
    let groups = [
      (2, false, 8), (16, false, 8), (24, false, 8), (34, false, 8), (32, true, 8), (36, true, 7),
      (40, true, 6), (44, true, 5), (48, true, 4), (65536, true, 8),
    ]
    try withPacked(name, Self.settings[0]) { fixture, packed in
      let input = try fixture.input()
      let networks = try groups.map { size, isWhole, bitWidth in
        let activations = packed.activations.map { activation in
          guard activation.name.hasSuffix(".input") else { return activation }
          return ActivationQuantizer(
            name: activation.name, bitWidth: bitWidth, lower: -1, upper: 1, scaling: .group(size))
        }
        func network(usesIntegers: Bool) throws -> SuperResolutionNetwork {
          try SuperResolutionNetwork(
            packed.archive, name: name, threads: 1, activations: activations,
            usesIntegers: usesIntegers)
        }
        let integers = try network(usesIntegers: true)
        let inputs = integers.sites.filter { $0.weightName != nil && $0.tapCount == nil }
        let whole = inputs.count { isWhole || $0.columnCount <= size }
        #expect(integers.integerLayerCount == whole)
        return try Outputs(
          found: integers.upscale(input, progress: nil),
          expected: network(usesIntegers: false).upscale(input, progress: nil),
          full: fixture.output())
      }
      check(networks)
    }
  }

  /// Networks with layers whose biases are several tensors, or none. With one quantizer, no step comes
  /// after the sums of its layer that could magnify a difference.
  @Test(arguments: [
    "swin2sr_direct_x2", "hat_x2", "ngswin_x2", "omnisr_x4", "drct_x2", "hitsrf_x2",
  ])
  func singleIntegerLayersMatchSimulation(name: String) throws {
    try withPacked(name, Self.settings[0], activationBits: 4) { fixture, packed in
      let input = try fixture.input()
      let plain = try SuperResolutionNetwork(
        packed.archive, name: name, threads: 2, activations: [])
      let range = try plain.upscale(input, progress: nil).samples.reduce(1) { max($0, abs($1)) }
      let weights = Dictionary(uniqueKeysWithValues: plain.sites.map { ($0.name, $0.weightName) })
      var count = 0
      for quantizer in packed.activations where weights[quantizer.name] != nil {
        let networks = try [true, false].map {
          try SuperResolutionNetwork(
            packed.archive, name: name, threads: 2, activations: [quantizer], usesIntegers: $0)
        }
        guard networks[0].integerLayerCount == 1 else { continue }
        count += 1
        let outputs = try networks.map { try $0.upscale(input, progress: nil) }
        #expect(largestDifference(outputs[0], outputs[1]) <= 1e-4 * range, "\(quantizer.name)")
      }
      #expect(count >= 4)
    }
  }

  @Test func groupsOfProbabilitiesAreRefused() throws {
    let fixture = try NetworkFixture("swinir_direct_x2")
    let network = try fixture.network()
    let site = try #require(network.sites.first { $0.kind == .probabilities })
    let quantizer = ActivationQuantizer(
      name: site.name, bitWidth: 4, lower: -1, upper: 1, scaling: .group(4))
    let error = ModelError(
      "the activation '\(site.name)' has no rows to scale its bounds by")
    #expect(throws: error) {
      try SuperResolutionNetwork(
        fixture.weights, name: "a", threads: 1, activations: [quantizer])
    }
    #expect(throws: error) {
      try Distillation(
        teacher: fixture.weights, student: fixture.weights, weights: [], activations: [quantizer],
        .everything(threads: 1))
    }
  }

  @Test func exampleNetworkMatchesSimulation() throws {
    let weights = try ExampleNetwork.weights()
    let fixture = try NetworkFixture("swinir_example")
    let input = try fixture.input()
    let networks = try [(4, 4), (2, 2), (3, 8)].map { weightBits, activationBits in
      try withTemporaryFolder { folder in
        let packed = try PackedNetworkFixture(
          weights, settings: QuantizationSettings(bitWidth: weightBits),
          activationBits: activationBits, input: input, folder: folder)
        let integers = try packed.network(usesIntegers: true)
        #expect(integers.integerLayerCount == 96)
        return try Outputs(
          found: integers.upscale(input, progress: nil),
          expected: packed.network(usesIntegers: false).upscale(input, progress: nil),
          full: fixture.output())
      }
    }
    check(networks)
  }

  /// Layers, attention and what lies between them, all on codes.
  @Test(arguments: [
    "swinir_direct_x2", "dat_direct_x2", "swin2sr_direct_x2", "hat_x2", "drct_x2", "ngswin_x2",
  ])
  func codedRegionsMatchSimulation(name: String) throws {
    let networks = try [2, 3, 4].map { bits in
      var outputs: Outputs?
      try withPacked(name, QuantizationSettings(bitWidth: 4), activationBits: bits) {
        fixture, packed in
        let input = try fixture.input()
        outputs = try Outputs(
          found: packed.network(usesIntegers: true).upscale(input, progress: nil),
          expected: packed.network(usesIntegers: false).upscale(input, progress: nil),
          full: fixture.output())
      }
      return try #require(outputs)
    }
    check(networks)
  }

  /// With quantizers at the sites of one attention alone, and of a layer elsewhere, no step comes after them.
  @Test func attentionOnCodesMatchesSimulation() throws {
    let fixture = try NetworkFixture("swinir_direct_x2")
    let input = try fixture.input()
    try withTemporaryFolder { folder in
      let packed = try PackedNetworkFixture(
        fixture.weights.widened(), settings: QuantizationSettings(bitWidth: 4), activationBits: 4,
        input: input, folder: folder)
      let sites = try packed.network(usesIntegers: true).sites
      let last = try #require(sites.last { $0.kind == .probabilities }).name.dropLast(13)
      let first = try #require(sites.first { $0.weightName != nil && $0.tapCount == nil }).name
      let activations = packed.activations.filter {
        $0.name == first || ($0.name.hasPrefix(last) && !$0.name.hasSuffix(".input"))
      }
      #expect(activations.count == 5)
      let networks = try [true, false].map {
        try SuperResolutionNetwork(
          packed.archive, name: "a", threads: 2, activations: activations, usesIntegers: $0
        ).upscale(input, progress: nil)
      }
      #expect(networks[0] != networks[1])
      #expect(Outputs.psnr(networks[0], networks[1]) >= 70)
    }
  }

  @Test(arguments: fixtures)
  func resultsDoNotDependOnThreads(name: String) throws {
    try withPacked(name, QuantizationSettings(bitWidth: 4), activationBits: 4) { _, packed in
      let image = noise(height: 33, width: 38, seed: 5)
      let expected = try packed.network(threads: 1, usesIntegers: true)
        .upscale(image, progress: nil)
      for threads in [2, 5] {
        let network = try packed.network(threads: threads, usesIntegers: true)
        #expect(try network.upscale(image, progress: nil) == expected)
      }
    }
  }

  /// The kernel cannot hold the layout.
  @Test func groupsOfWeightsStayInFloatingPoint() throws {
    let settings = QuantizationSettings(bitWidth: 4, granularity: .group(4))
    try withPacked("swinir_direct_x2", settings) { fixture, packed in
      let network = try packed.network(usesIntegers: true)
      #expect(network.integerLayerCount == 0)
      let input = try fixture.input()
      let expected = try packed.network(usesIntegers: false).upscale(input, progress: nil)
      #expect(try network.upscale(input, progress: nil) == expected)
    }
  }

  /// Codes stand for the same values, whatever the type of the checkpoint's elements.
  @Test(arguments: fixtures)
  func typesOfElementsDoNotMatter(name: String) throws {
    let images = try [true, false].map { widening in
      var image: Image?
      try withPacked(
        name, QuantizationSettings(bitWidth: 4), activationBits: 4, widening: widening
      ) { fixture, packed in
        let network = try packed.network(usesIntegers: true)
        #expect(network.integerLayerCount == 16)
        image = try network.upscale(fixture.input(), progress: nil)
      }
      return try #require(image)
    }
    #expect(images[0] == images[1])
  }

  /// Results are quantized as they are made; with an observer, as inputs of convolutions.
  @Test(arguments: [
    "span_x2", "compact_x2", "rrdb_new_x4", "rlfn_x2", "edsr_x3", "realplksr_x4",
    "realplksr_dysample_x3", "realplksr_layer_norm_x2", "safmn_x2", "mosr_shuffle_x4", "rcan_x2",
  ])
  func resultsAreQuantizedAsInputsAre(name: String) throws {
    let fixture = try NetworkFixture(name)
    let plain = try SuperResolutionNetwork(fixture.weights, name: name, threads: 2)
    let input = try fixture.input()
    for scaling in [ActivationScaling.row, .group(4), .tensor] {
      let activations = plain.sites.filter { $0.weightName != nil }.map {
        ActivationQuantizer(
          name: $0.name, bitWidth: 4, lower: scaling == .tensor ? -0.5 : -1,
          upper: scaling == .tensor ? 0.7 : 1, scaling: scaling)
      }
      let network = try SuperResolutionNetwork(
        fixture.weights, name: name, threads: 2, activations: activations)
      var context = ForwardContext(threads: 2)
      context.quantizers = network.quantizers
      context.observer = { _, _, _ in }
      let expected = try network.run(input, context)
      #expect(try network.upscale(input, progress: nil) == expected)
      #expect(try plain.upscale(input, progress: nil) != expected)
    }
  }

  /// Only a layer whose input has a quantizer has codes to multiply.
  @Test func layersWithoutQuantizersStayInFloatingPoint() throws {
    try withPacked("swinir_direct_x2", QuantizationSettings()) { _, packed in
      let counts = try ["none", ".fc1.input", ".query"].map { suffix in
        try SuperResolutionNetwork(
          packed.archive, name: "packed", threads: 1,
          activations: packed.activations.filter { $0.name.hasSuffix(suffix) }
        ).integerLayerCount
      }
      #expect(counts == [0, 4, 0])
    }
  }

  /// Calibration sees the network in full precision, whatever its quantizers.
  @Test func observersSeeFloatingPointNetwork() throws {
    try withPacked("dat_direct_x2", QuantizationSettings(), activationBits: 2) { fixture, packed in
      func sums(_ network: SuperResolutionNetwork) throws -> [Int: Float] {
        var sums: [Int: Float] = [:]
        try NetworkActivations(network: network, images: [fixture.input()]).run(sample: 0) {
          site, values, _ in sums[site, default: 0] += values.reduce(0, +)
        }
        return sums
      }
      let plain = try SuperResolutionNetwork(
        packed.archive, name: "plain", threads: 1, activations: [])
      let found = try sums(packed.network(usesIntegers: true))
      let expected = try sums(plain)
      #expect(found == expected)
    }
  }

  @Test func unreadableCodesAreAnError() throws {
    try withPacked("swinir_direct_x2", QuantizationSettings()) { _, packed in
      struct Unreadable: Error, Equatable {}
      var archive = packed.archive
      let name = "layers.0.residual_group.blocks.0.attn.proj.weight"
      archive.tensors[name]?.quantized = { throw Unreadable() }
      #expect(throws: Unreadable()) {
        try SuperResolutionNetwork(
          archive, name: "packed", threads: 1, activations: packed.activations)
      }
    }
  }
}

/// The example network that the package includes.
enum ExampleNetwork {
  static func weights() throws -> TensorArchive {
    let archive = try FormatRegistry.standard.open(
      PackageFolder.root.appending(path: "Examples/swinir_light_x2.pth").path)
    return try archive.conventionalRoot.map { try archive.selecting(root: $0) } ?? archive
  }
}
