import Formats
import TestSupport
import Testing
import Transform

@testable import Imaging
@testable import Storage
@testable import SuperResolution

/// A network with packed layers and quantizers at all their activations.
struct PackedNetworkFixture {
  /// The packed weights, lazily read from a file in the folder that `init` was given.
  let archive: TensorArchive
  /// Quantizers from the least to the largest value that the full-precision network has on the
  /// fixture's input.
  let activations: [ActivationQuantizer]

  /// - Parameters:
  ///   - archive: The weights of a network.
  ///   - settings: The settings of all quantized layers.
  ///   - activationBits: 1 to 8.
  ///   - convolutions: Whether convolutions are quantized, not linear layers alone.
  init(
    _ archive: TensorArchive, settings: QuantizationSettings, activationBits: Int,
    convolutions: Bool = false, input: Image, folder: TemporaryFolder
  ) throws {
    let network = try SuperResolutionNetwork(archive, name: "full", threads: 1)
    let isObserved = { (site: ActivationSite) in convolutions || site.tapCount == nil }
    let sites = network.sites.filter(isObserved).compactMap(\.weightName)
    let recipe = Recipe(
      name: "layers with sites", defaults: settings,
      rules: [
        RecipeRule(match: try sites.map { try NameGlob($0) }, action: .quantize(.init())),
        RecipeRule(match: [try NameGlob("*")], action: .keep),
      ])
    let path = folder.appending("packed.condi")
    _ = try ModelPacker(archive, recipe: recipe, source: nil, threads: 1).write(to: path)
    self.archive = try FormatRegistry.standard.open(path)
    activations = try Self.ranges(network, input, isObserved).map { name, range in
      ActivationQuantizer(
        name: name, bitWidth: activationBits, lower: range.lowerBound, upper: range.upperBound)
    }
  }

  func network(threads: Int = 2, usesIntegers: Bool) throws -> SuperResolutionNetwork {
    try SuperResolutionNetwork(
      archive, name: "packed", threads: threads, activations: activations,
      usesIntegers: usesIntegers)
  }

  private static func ranges(
    _ network: SuperResolutionNetwork, _ input: Image,
    _ isObserved: (ActivationSite) -> Bool
  ) throws -> [String: ClosedRange<Float>] {
    let source = try NetworkActivations(
      network: network, images: [input], observing: isObserved)
    var ranges: [String: ClosedRange<Float>] = [:]
    try source.run(sample: 0) { site, values, _ in
      guard let least = values.min(), let largest = values.max() else { return }
      let name = source.sites[site].name
      let old = ranges[name] ?? least...largest
      ranges[name] = min(old.lowerBound, least)...max(old.upperBound, largest)
    }
    return ranges
  }
}

extension TensorArchive {
  /// Returns the same values as Float32, which the kernels multiply as integers.
  func widened() throws -> TensorArchive {
    var archive = self
    for (name, tensor) in tensors where tensor.elementType == .float16 {
      archive.tensors[name] = try Tensor(
        elementType: .float32, shape: tensor.shape,
        bytes: SharedBytes(elementsOf: tensor.floatValues()))
    }
    return archive
  }
}
