import Formats
import TestSupport
import Testing
import Transform

@testable import SuperResolution

@Suite struct ActivationSiteTests {
  static let fixtures = ["swinir_direct_x2", "dat_direct_x2"]

  @Test(arguments: fixtures)
  func sitesAreThoseOfThePyTorchRecorder(name: String) throws {
    let fixture = try NetworkFixture(name)
    let sites = try fixture.network().sites
    #expect(Set(sites.map(\.name)).count == sites.count)
    #expect(Set(sites.map(\.name)) == Set(try fixture.ranges().keys))
    for site in sites where site.kind == .input {
      let name = try #require(site.weightName)
      let weight = try #require(fixture.weights.tensors[name])
      #expect(weight.shape.dimensions[1] == site.columnCount)
    }
    for site in sites where site.kind != .input { #expect(site.weightName == nil) }
  }

  @Test func sitesAreInTheOrderOfTheForwardPass() throws {
    let names = try NetworkFixture("dat_direct_x2").network().sites.prefix(20).map {
      String($0.name.dropFirst("layers.0.blocks.".count))
    }
    #expect(
      names == [
        "0.attn.qkv.input",
        "0.attn.attns.0.query", "0.attn.attns.0.key", "0.attn.attns.0.value",
        "0.attn.attns.0.probabilities",
        "0.attn.attns.1.query", "0.attn.attns.1.key", "0.attn.attns.1.value",
        "0.attn.attns.1.probabilities",
        "0.attn.proj.input", "0.ffn.fc1.input", "0.ffn.fc2.input",
        "1.attn.qkv.input", "1.attn.query", "1.attn.key", "1.attn.value",
        "1.attn.probabilities", "1.attn.proj.input", "1.ffn.fc1.input", "1.ffn.fc2.input",
      ])
  }

  @Test(arguments: fixtures)
  func whatIsObservedHasTheRangesOfPyTorch(name: String) throws {
    let fixture = try NetworkFixture(name)
    let network = try fixture.network()
    let source = try NetworkActivations(network: network, pictures: [fixture.input()])
    #expect(source.sampleCount == 1)
    #expect(source.sites == network.sites)
    var found: [String: ClosedRange<Float>] = [:]
    try source.run(sample: 0) { site, values, columns in
      let site = source.sites[site]
      #expect(!values.isEmpty && values.count % columns == 0 && columns % site.columnCount == 0)
      for value in values {
        let old = found[site.name] ?? value...value
        found[site.name] = min(old.lowerBound, value)...max(old.upperBound, value)
      }
    }
    let expected = try fixture.ranges()
    #expect(found.count == expected.count)
    for (site, range) in expected {
      let ends = [range.lowerBound, range.upperBound]
      let observed = try #require(found[site])
      #expect(
        largestDifference([observed.lowerBound, observed.upperBound], ends) <= 1e-4, "\(site)")
    }
  }

  @Test func observingChangesNothing() throws {
    let network = try NetworkFixture("swinir_direct_x2").network()
    let picture = noise(height: 9, width: 9, seed: 3)
    var context = ForwardContext(threads: 1)
    context.observer = { _, _, _ in }
    let difference = largestDifference(
      try network.run(picture, context), try network.upscale(picture, progress: nil))
    #expect(difference <= 1e-5)
  }

  @Test func whatTheObserverThrowsEndsTheRun() throws {
    struct Stop: Error, Equatable {}
    let fixture = try NetworkFixture("dat_direct_x2")
    let source = try NetworkActivations(
      network: try fixture.network(), pictures: [fixture.input()])
    var calls = 0
    #expect(throws: Stop()) {
      try source.run(sample: 0) { _, _, _ in
        calls += 1
        if calls == 7 { throw Stop() }
      }
    }
    #expect(calls == 7)
  }

  /// A value on the edge between two steps may fall on either side, so single pixels may differ.
  @Test(arguments: fixtures)
  func quantizedActivationsAgreeWithPyTorch(name: String) throws {
    let fixture = try NetworkFixture(name)
    let activations = try fixture.ranges().map { name, range in
      ActivationQuantizer(
        name: name, bitWidth: 6, lower: range.lowerBound, upper: range.upperBound)
    }
    let network = try SuperResolutionNetwork(
      fixture.weights, name: name, threads: 2, activations: activations)
    let found = try network.upscale(fixture.input(), progress: nil)
    let expected = try fixture.quantizedOutput()
    let full = try fixture.output()
    #expect(meanDifference(found, expected) <= 1e-4)
    #expect(meanDifference(full, expected) >= 1e-2, "quantization changes the result visibly")
  }

  @Test(arguments: fixtures)
  func rowsRoundedByTheirMagnitudeAgreeWithPyTorch(name: String) throws {
    let fixture = try NetworkFixture(name)
    let sites = try fixture.network().sites
    let ranges = try fixture.ranges()
    let activations = try sites.map { site in
      guard site.kind.hasRowScales else {
        let range = try #require(ranges[site.name])
        return ActivationQuantizer(
          name: site.name, bitWidth: 6, lower: range.lowerBound, upper: range.upperBound)
      }
      return ActivationQuantizer(
        name: site.name, bitWidth: 6, lower: site.kind == .probabilities ? 0 : -0.95, upper: 0.95,
        scaling: .row)
    }
    let network = try SuperResolutionNetwork(
      fixture.weights, name: name, threads: 2, activations: activations)
    let found = try network.upscale(fixture.input(), progress: nil)
    let expected = try fixture.quantizedOutput(byRows: true)
    #expect(meanDifference(found, expected) <= 1e-4)
    let byRanges = try fixture.quantizedOutput()
    #expect(meanDifference(byRanges, expected) >= 1e-3, "rows change the result visibly")
  }

  private func meanDifference(_ first: Picture, _ second: Picture) -> Double {
    let sum = zip(first.samples, second.samples).reduce(0.0) { $0 + Double(abs($1.0 - $1.1)) }
    return sum / Double(first.samples.count)
  }

  @Test func aPackedFileBringsItsQuantizers() throws {
    let fixture = try NetworkFixture("swinir_direct_x2")
    let site = "layers.0.residual_group.blocks.0.mlp.fc1.input"
    var archive = fixture.weights
    archive.activations = [
      ActivationQuantizer(name: site, bitWidth: 2, lower: -1, upper: 1)
    ]
    let packed = try withTemporaryFolder { folder in
      let path = folder.appending("model.condi")
      try FormatRegistry.standard.write(archive, as: PackedFormat(), to: path)
      var packed = try FormatRegistry.standard.open(path)
      // The folder goes, so the tensors are read now.
      for (name, tensor) in packed.tensors {
        packed.tensors[name] = try Tensor(
          elementType: tensor.elementType, shape: tensor.shape, bytes: tensor.bytes())
      }
      return packed
    }
    #expect(packed.activations == archive.activations)
    let input = try fixture.input()
    let found = try SuperResolutionNetwork(packed, name: "packed", threads: 1)
      .upscale(input, progress: nil)
    let expected = try SuperResolutionNetwork(
      fixture.weights, name: "given", threads: 1, activations: archive.activations
    ).upscale(input, progress: nil)
    #expect(found == expected)
    #expect(largestDifference(found, try fixture.output()) > 1e-3)
  }

  @Test func quantizersFollowTheirRoot() throws {
    var archive = TensorArchive()
    archive.tensors["net.a.weight"] = try Tensor(
      elementType: .uint8, shape: [1], bytes: SharedBytes([0]))
    archive.activations = ["net.a.input", "b.input"].map {
      ActivationQuantizer(name: $0, bitWidth: 4, lower: 0, upper: 1)
    }
    // One outside the root keeps its name, so that it is refused later and not forgotten.
    #expect(
      try archive.selecting(root: "net").activations.map(\.name) == ["a.input", "b.input"])
  }

  @Test func quantizersThatFitNoSiteAreRefused() throws {
    let weights = try NetworkFixture("swinir_direct_x2").weights
    let site = "layers.0.residual_group.blocks.0.attn.query"
    func load(_ activations: ActivationQuantizer...) throws -> SuperResolutionNetwork {
      try SuperResolutionNetwork(weights, name: "test", threads: 1, activations: activations)
    }
    func quantizer(
      _ name: String, bits: Int = 4, _ lower: Float = 0, _ upper: Float = 1
    ) -> ActivationQuantizer {
      ActivationQuantizer(name: name, bitWidth: bits, lower: lower, upper: upper)
    }
    #expect(
      throws: SuperResolutionError("the network has no activation 'nowhere' to quantize")
    ) { try load(quantizer("nowhere")) }
    #expect(throws: SuperResolutionError("the activation '\(site)' has two quantizers")) {
      try load(quantizer(site), quantizer(site))
    }
    #expect(
      throws: SuperResolutionError(
        "the activation '\(site)' cannot be quantized to 4 bits from 1.0 to 0.5")
    ) { try load(quantizer(site, 1, 0.5)) }
    var scaled = quantizer(site)
    scaled.scaling = .row
    #expect(
      throws: SuperResolutionError("the activation '\(site)' has no rows to scale its bounds by")
    ) { try load(scaled) }
    #expect(
      throws: SuperResolutionError(
        "the activation '\(site)' cannot be quantized to 9 bits from 0.0 to 1.0")
    ) { try load(quantizer(site, bits: 9)) }
    #expect(
      throws: SuperResolutionError(
        "the activation '\(site)' cannot be quantized to 4 bits from 0.0 to nan")
    ) { try load(quantizer(site, 0, .nan)) }
  }
}
