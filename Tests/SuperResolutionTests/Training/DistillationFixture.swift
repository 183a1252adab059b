import Formats
import TestSupport
import Testing

@testable import Imaging
@testable import SuperResolution

/// The results of PyTorch's autograd for a network of `NetworkFixture`, quantized to 2 bits
/// (`Tests/Fixtures/makers/training.py`).
struct DistillationFixture {
  let network: NetworkFixture
  private let archive: TensorArchive
  private let scaling: ActivationScaling

  /// - Parameter name: The network's name. With the suffix `_rows`, layers' inputs and
  ///   probabilities are rounded row by row; with `_groups`, inputs are rounded in groups of a row.
  init(_ name: String) throws {
    scaling = name.hasSuffix("_rows") ? .row : name.hasSuffix("_groups") ? .group(5) : .tensor
    network = try NetworkFixture(name.replacing(/_(rows|groups)$/, with: ""))
    archive = try FormatRegistry.standard.open(
      PackageFolder.fixture("training/\(name).safetensors"))
  }

  func images() throws -> [Image] { try split("input") }
  func output() throws -> [Image] { try split("output") }

  /// Returns the total loss, the pixels' loss and the features' loss.
  func loss() throws -> [Float] { try #require(archive.tensors["loss"]).floatValues() }

  private func split(_ name: String) throws -> [Image] {
    let tensor = try #require(archive.tensors[name])
    let (shape, values) = (tensor.shape.dimensions, try tensor.floatValues())
    let count = shape[1] * shape[2] * shape[3]
    return (0..<shape[0]).map {
      Image(
        channelCount: shape[1], height: shape[2], width: shape[3],
        samples: Array(values[$0 * count..<($0 + 1) * count]))
    }
  }

  func activations() throws -> [ActivationQuantizer] {
    try bounds { !$0.hasSuffix(".weight") }.map { name, values in
      let rows: ActivationScaling = scaling == .tensor ? .tensor : .row
      return ActivationQuantizer(
        name: name, bitWidth: 2, lower: values[0], upper: values[1],
        scaling: name.hasSuffix(".input")
          ? scaling : name.hasSuffix(".probabilities") ? rows : .tensor)
    }
  }

  func weights() throws -> [WeightQuantization] {
    try bounds { $0.hasSuffix(".weight") }.map { name, values in
      let shape = try #require(network.weights.tensors[name]).shape
      let granularity: QuantizationGranularity =
        name.contains(".proj.") ? .channel : name.contains(".fc1.") ? .group(5) : .tensor
      return WeightQuantization(
        name: name,
        layout: try AffineLayout(
          shape: shape, granularity: granularity, parts: name.contains(".qkv.") ? 3 : 1),
        bitWidth: 2, lower: stride(from: 0, to: values.count, by: 2).map { values[$0] },
        scale: stride(from: 1, to: values.count, by: 2).map { values[$0] })
    }
  }

  private func bounds(_ isWanted: (String) -> Bool) throws -> [(String, [Float])] {
    try archive.tensors.filter { $0.key.hasPrefix("bound.") }.map {
      (String($0.key.dropFirst("bound.".count)), try $0.value.floatValues())
    }.filter { isWanted($0.0) }
  }

  /// Returns each gradient by name, divided by its largest magnitude, and that magnitude.
  func gradients() throws -> [(name: String, values: [Float], magnitude: Float)] {
    try archive.tensors.filter { $0.key.hasPrefix("gradient.") }.map { key, tensor in
      let name = String(key.dropFirst("gradient.".count))
      let magnitude = try #require(archive.tensors["magnitude.\(name)"]).floatValues()
      return (name, try tensor.floatValues(), try #require(magnitude.first))
    }
  }

  func distillation(
    _ options: Distillation.Options = .everything(threads: 2)
  ) throws -> Distillation {
    try Distillation(
      teacher: network.weights, student: network.weights, weights: weights(),
      activations: activations(), options)
  }
}

extension Distillation.Options {
  /// Returns options that learn every parameter group, with features that count.
  static func everything(threads: Int, rate: Float = 1e-3) -> Self {
    let rates = Dictionary(uniqueKeysWithValues: ParameterGroup.allCases.map { ($0, rate) })
    var options = Distillation.Options(optimizer: Adam(rates: rates), threads: threads)
    options.loss.norm = .rootMeanSquare
    return options
  }
}
