import Formats
import LinearAlgebra
import TestSupport
import Testing
import Transform

@testable import Imaging
@testable import Storage
@testable import SuperResolution

@Suite struct ChannelEqualizationTests {
  /// A small network with its calibration and a plan that quantizes every linear layer.
  private struct Subject {
    let archive: TensorArchive
    let network: SuperResolutionNetwork
    let plan: QuantizationPlan
    let input: Image
    let calibration: Calibration

    init(_ name: String, changing change: (inout TensorArchive) throws -> Void = { _ in }) throws {
      let fixture = try NetworkFixture(name)
      var archive = try fixture.weights.widened()
      try change(&archive)
      self.archive = archive
      network = try SuperResolutionNetwork(archive, name: name, threads: 2)
      input = try fixture.input()
      plan = try QuantizationPlan(archive, recipe: Self.recipe(network))
      calibration = try Self.calibration(of: network, input)
    }

    static func recipe(_ network: SuperResolutionNetwork) throws -> Recipe {
      let layers = try network.sites.filter { $0.tapCount == nil }.compactMap(\.weightName)
        .map { try NameGlob($0) }
      return Recipe(
        name: "linear layers", defaults: QuantizationSettings(bitWidth: 4),
        rules: [
          RecipeRule(match: layers, action: .quantize(.init())),
          RecipeRule(match: [try NameGlob("*")], action: .keep),
        ])
    }

    static func calibration(of network: SuperResolutionNetwork, _ input: Image) throws
      -> Calibration
    {
      try Calibrator(threads: 2).calibrate(
        NetworkActivations(network: network, images: [input]))
    }

    func equalization() throws -> ChannelEqualization {
      try ChannelEqualization(
        archive, plan: plan, sites: network.sites, calibration: calibration)
    }
  }

  @Test(arguments: ActivationSiteTests.fixtures)
  func equalizedModelGivesSameOutput(_ name: String) throws {
    let subject = try Subject(name)
    let equalization = try subject.equalization()
    let equalized = try SuperResolutionNetwork(
      equalization.applied(to: subject.archive), name: "equalized", threads: 2)
    let expected = try subject.network.upscale(subject.input, progress: nil)
    let found = try equalized.upscale(subject.input, progress: nil)
    #expect(largestDifference(found, expected) < 2e-5)
    #expect(!equalization.tensors.isEmpty)
  }

  /// Each channel varies by the square root of what it did, about a mean of zero where an offset
  /// can move.
  @Test(arguments: ActivationSiteTests.fixtures)
  func channelDeviationsGetCloser(_ name: String) throws {
    let subject = try Subject(name)
    let archive = try subject.equalization().applied(to: subject.archive)
    let calibration = try Subject.calibration(
      of: SuperResolutionNetwork(archive, name: "equalized", threads: 2), subject.input)
    var count = 0
    for site in subject.network.sites {
      guard let origin = site.origin else { continue }
      let before = try #require(subject.calibration.sites[site.name]?.moments)
      let after = try #require(calibration.sites[site.name]?.moments)
      let isCentered = origin.offsetName != nil
      let (old, new) = (
        deviations(before, isCentered: isCentered), deviations(after, isCentered: isCentered)
      )
      #expect(spread(new) < 1.01 * spread(old).squareRoot(), "\(site.name)")
      if isCentered {
        let size = after.second.diagonal.reduce(0, +).squareRoot()
        #expect(after.mean.allSatisfy { abs($0) < 1e-4 * size }, "\(site.name)")
      }
      count += 1
    }
    #expect(count > 0)
  }

  private func deviations(_ moments: SiteStatistics.Moments, isCentered: Bool) -> [Double] {
    moments.mean.indices.map { channel in
      let mean = isCentered ? moments.mean[channel] : 0
      return max(0, moments.second[channel, channel] - mean * mean).squareRoot()
    }
  }

  /// Returns the ratio of the largest to the smallest deviation of the channels that vary at all.
  private func spread(_ deviations: [Double]) -> Double {
    let varying = deviations.filter { $0 > 1e-6 }
    return (varying.max() ?? 1) / (varying.min() ?? 1)
  }

  /// Tensors that are not Float32 would be rounded, and tensors that other layers use as well must
  /// not change.
  @Test func roundedOrSharedTensorsAreNotEqualized() throws {
    let (norm, layer) = ("layers.0.residual_group.blocks.0.norm1", "attn.qkv")
    let module = "layers.0.residual_group.blocks.0.\(layer)"
    let whole = try Subject("swinir_direct_x2").equalization().tensors
    #expect(whole["\(norm).weight"] != nil && whole["\(module).weight"] != nil)
    let halved = try Subject("swinir_direct_x2") { archive in
      let tensor = try #require(archive.tensors["\(norm).weight"])
      archive.tensors["\(norm).weight"] = try Tensor(
        elementType: .float16, shape: tensor.shape,
        bytes: SharedBytes(elementsOf: tensor.floatValues().map { Float16($0) }))
    }.equalization().tensors
    for name in ["\(norm).weight", "\(norm).bias", "\(module).weight", "\(module).bias"] {
      #expect(halved[name] == nil, "\(name)")
    }
    #expect(halved.count == whole.count - 4)
    let subject = try Subject("swinir_direct_x2")
    var recipe = try Subject.recipe(subject.network)
    recipe.rules.insert(RecipeRule(match: [try NameGlob("\(module).weight")], action: .keep), at: 0)
    let kept = try ChannelEqualization(
      subject.archive, plan: QuantizationPlan(subject.archive, recipe: recipe),
      sites: subject.network.sites, calibration: subject.calibration
    ).tensors
    #expect(kept["\(norm).weight"] == nil && kept.count == whole.count - 4)
  }

  /// The packed file has the changed tensors, lists them, and computes what the quantized model
  /// does.
  @Test func packedFileHasEqualizedTensors() throws {
    let subject = try Subject("dat_direct_x2")
    let equalization = try subject.equalization()
    let equalized = equalization.applied(to: subject.archive)
    let calibration = try Subject.calibration(
      of: SuperResolutionNetwork(equalized, name: "equalized", threads: 2), subject.input)
    var recipe = subject.plan.recipe
    recipe.defaults = QuantizationSettings(bitWidth: 8)
    recipe.method = MethodSettings(.best)
    try withTemporaryFolder { folder in
      let path = folder.appending("a.condi")
      _ = try CompressionPlan(
        subject.archive, recipe: recipe, calibration: calibration, equalization: equalization,
        source: nil, threads: 2
      ).write(to: path)
      let packed = try FormatRegistry.standard.open(path)
      let header = try PackedModel(parsing: InputFile(path: path)).header
      for (name, tensor) in equalization.tensors
      where subject.plan.entries[name]?.quantization == nil {
        #expect(header.adjustedNames.contains(name), "\(name)")
        let layer = name.hasSuffix(".bias") ? "\(name.dropLast("bias".count))weight" : name
        // Biases of quantized layers are corrected as well.
        guard subject.plan.entries[layer]?.quantization == nil else { continue }
        #expect(try packed.tensors[name]?.floatValues() == tensor.floatValues(), "\(name)")
      }
      let result = try SuperResolutionNetwork(packed, name: "packed", threads: 2)
        .upscale(subject.input, progress: nil)
      let expected = try subject.network.upscale(subject.input, progress: nil)
      let error = zip(result.samples, expected.samples).map { abs($0 - $1) }.reduce(0, +)
      #expect(error / Float(expected.samples.count) < 0.01)
    }
  }
}
