import CKernels
import Formats
import TestSupport
import Testing
import Transform

@testable import Imaging
@testable import Storage
@testable import SuperResolution

/// Networks of convolutions whose weights and inputs are codes.
@Suite struct IntegerConvolutionLayersTests {
  static let fixtures = [
    "compact_x4", "rrdb_x2_unshuffle", "rlfn_x2", "edsr_x3", "span_merged_x4", "safmn_x4",
    "realplksr_x4", "omnisr_x4",
  ]

  private func withPacked(
    _ name: String, bits: Int = 4, _ body: (PackedNetworkFixture, Image) throws -> Void
  ) throws {
    let fixture = try NetworkFixture(name)
    let input = try fixture.input()
    try withTemporaryFolder { folder in
      try body(
        PackedNetworkFixture(
          fixture.weights.widened(), settings: QuantizationSettings(bitWidth: bits),
          activationBits: bits, convolutions: true, input: input, folder: folder), input)
    }
  }

  private static func quantizers(
    _ activations: [ActivationQuantizer], _ scaling: ActivationScaling
  ) -> [ActivationQuantizer] {
    guard scaling != .tensor else { return activations }
    return activations.map {
      ActivationQuantizer(
        name: $0.name, bitWidth: $0.bitWidth, lower: -0.95, upper: 1, scaling: scaling)
    }
  }

  /// With one quantizer, no step comes after the sums of its layer that could magnify a difference.
  @Test(arguments: fixtures, [ActivationScaling.tensor, .row, .group(4)])
  func everyConvolutionMatchesSimulation(name: String, scaling: ActivationScaling) throws {
    try withPacked(name) { packed, input in
      let full = try SuperResolutionNetwork(
        packed.archive, name: name, threads: 1, activations: [])
      let sites = full.sites.filter { $0.tapCount != nil }
      #expect(sites.count >= 4)
      let plain = try full.upscale(input, progress: nil)
      var changedCount = 0
      let quantizers = Self.quantizers(packed.activations, scaling)
      for quantizer in quantizers {
        guard let site = sites.first(where: { $0.name == quantizer.name }) else { continue }
        let weight = try #require(site.weightName.flatMap { packed.archive.tensors[$0] })
        let rows = weight.shape.dimensions[0]
        // Where each pixel under a kernel has bounds of its own, floating point is faster, and so it is
        // for many outputs without an instruction that sums products of codes.
        let isWide = rows >= 64 && rows >= site.columnCount
        let hasSums = ck_current_vector_level() == CK_VECTOR_AVX512_VNNI
        let pays =
          if site.tapCount == 1 {
            scaling == .tensor || scaling == .row || site.columnCount <= 4
          } else {
            scaling == .tensor && (hasSums || !isWide)
          }
        let networks = try [true, false].map {
          try SuperResolutionNetwork(
            packed.archive, name: name, threads: 2, activations: [quantizer], usesIntegers: $0)
        }
        #expect(networks.map(\.integerLayerCount) == [pays ? 1 : 0, 0])
        let outputs = try networks.map { try $0.upscale(input, progress: nil) }
        let range = plain.samples.reduce(1) { max($0, abs($1)) }
        #expect(largestDifference(outputs[0], outputs[1]) <= 2e-5 * range, "\(quantizer.name)")
        if largestDifference(outputs[1], plain) > 1e-4 { changedCount += 1 }
      }
      #expect(changedCount > sites.count / 2)
    }
  }

  @Test(arguments: ["compact_x4", "rlfn_x2", "rrdb_new_x4"])
  func resultsDoNotDependOnThreadsOrBands(name: String) throws {
    try withPacked(name, bits: 8) { packed, _ in
      let image = noise(height: 21, width: 150, seed: 5)
      for usesIntegers in [true, false] {
        let expected = try packed.network(threads: 1, usesIntegers: usesIntegers)
          .upscale(image, progress: nil)
        let found = try packed.network(threads: 3, usesIntegers: usesIntegers)
          .upscale(image, progress: nil)
        #expect(found == expected)
      }
    }
  }

  /// What is observed is what the layer takes, once per pixel, however the network divides its work.
  @Test(arguments: ["compact_x4", "rrdb_new_x4", "edsr_x3"])
  func observersSeeEveryPixelOnce(name: String) throws {
    let network = try NetworkFixture(name).network()
    let image = noise(height: 9, width: 300, seed: 5)
    var counts: [String: Int] = [:]
    let source = try NetworkActivations(network: network, images: [image])
    try source.run(sample: 0) { site, values, columns in
      guard columns == source.sites[site].columnCount else { return }
      counts[source.sites[site].name, default: 0] += values.count / columns
    }
    #expect(counts.count == network.sites.count)
    let sizes = Set(counts.values)
    // As many as the image has, and those of upscaled features.
    #expect(sizes.contains(image.height * image.width))
    #expect(sizes.allSatisfy { $0 % (image.height * image.width) == 0 })
  }

  /// Patches are pixels of the same image, in the order of the kernel's taps.
  @Test func patchesAreThoseOfImage() throws {
    let network = try NetworkFixture("compact_x4").network()
    let source = try NetworkActivations(
      network: network, images: [noise(height: 7, width: 6, seed: 3)])
    let site = try #require(source.sites.firstIndex { $0.name == "body.2.input" })
    var (pixels, patches): ([Float], [Float]) = ([], [])
    try source.run(sample: 0) { found, values, columns in
      guard found == site else { return }
      if columns == source.sites[site].columnCount {
        pixels += values
      } else {
        patches += values
      }
    }
    let channels = source.sites[site].columnCount
    var expected: [Float] = []
    for row in 1..<6 {
      for column in 1..<5 {
        for tap in 0..<9 {
          let pixel = (row + tap / 3 - 1) * 6 + column + tap % 3 - 1
          expected += pixels[pixel * channels..<(pixel + 1) * channels]
        }
      }
    }
    #expect(patches == expected && pixels.count == 42 * channels)
  }

  @Test func unobservedConvolutionsAreNotShown() throws {
    let fixture = try NetworkFixture("hat_x2")
    let source = try NetworkActivations(
      network: fixture.network(), images: [fixture.input()], observing: { $0.tapCount == nil })
    var seen: Set<Int> = []
    try source.run(sample: 0) { site, _, _ in seen.insert(site) }
    #expect(seen == Set(source.sites.indices))
    #expect(source.sites.count < source.network.sites.count)
  }

  @Test func groupedConvolutionsHaveNoSites() throws {
    let names = try NetworkFixture("safmn_x4").network().sites.map(\.name)
    #expect(names.contains("feats.0.safm.aggr.input"))
    #expect(!names.contains { $0.contains(".mfr.") })
  }

  /// The weight of a convolution of training is several tensors.
  @Test func mergedConvolutionsHaveNoSites() throws {
    #expect(
      try NetworkFixture("span_x4").network().sites.map(\.name)
        == ["conv_cat.input", "upsampler.0.input"])
  }
}
