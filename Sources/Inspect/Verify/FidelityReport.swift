import Foundation
import Formats
import LinearAlgebra

/// A packed model beside the full-precision model it was made from.
public struct FidelityReport: Codable, Hashable, Sendable {
  public let reference: String
  /// How many unquantized tensors have the reference's bits.
  public let identicalTensorCount: Int
  /// Unquantized tensors whose bits, type or shape are not the reference's.
  public let alteredTensors: [String]
  /// Names of the reference that the packed file lacks.
  public let missingTensors: [String]
  /// Names of the packed file that the reference lacks.
  public let extraTensors: [String]
  public let layers: [Layer]
  /// The signal over all quantized weights to their quantization noise, in dB.
  public let signalToQuantizationNoise: Double

  /// Everything that was to stay is as it was, and nothing is missing or added.
  public var isTrue: Bool {
    alteredTensors.isEmpty && missingTensors.isEmpty && extraTensors.isEmpty
  }

  /// One quantized tensor beside its reference.
  public struct Layer: Codable, Hashable, Sendable {
    public let name: String
    public let bitWidth: Int
    /// 10·log10(Σw² / Σ(w − ŵ)²) in dB; infinite where nothing was lost.
    public let signalToQuantizationNoise: Double
    public let maximumError: Double
    /// The largest error, in units of the cell's scale, of weights inside the clipping bounds.
    public let maximumErrorInSteps: Double
    /// The share of weights outside the clipping bounds, 0…1.
    public let clippedShare: Double
  }

  private struct Comparison: Sendable {
    var layer: Layer?
    var isIdentical = false
    var signal = 0.0
    var noise = 0.0
  }

  init(
    model: PackedModel, reference: TensorArchive, file: String, threads: Int,
    progress: (@Sendable (Int) -> Void)?
  ) throws {
    let names = Array(model.header.names.keys)
    let shared = names.filter { reference.tensors[$0] != nil }
    let comparisons = try parallelMap(count: shared.count, threads: threads) { index in
      let name = shared[index]
      guard let tensor = reference.tensors[name] else { return Comparison() }
      defer { progress?(tensor.byteCount) }
      return try locatingErrors(tensor: name) {
        try Self.compare(model, name: name, reference: tensor)
      }
    }
    self.reference = file
    missingTensors = reference.tensors.keys.filter { model.header.names[$0] == nil }
    extraTensors = names.filter { reference.tensors[$0] == nil }
    layers = comparisons.compactMap(\.layer)
    identicalTensorCount = comparisons.count(where: \.isIdentical)
    alteredTensors = zip(shared, comparisons).compactMap { name, comparison in
      comparison.layer == nil && !comparison.isIdentical ? name : nil
    }
    signalToQuantizationNoise = Self.decibels(
      signal: comparisons.reduce(0) { $0 + $1.signal },
      noise: comparisons.reduce(0) { $0 + $1.noise })
  }

  private static func compare(_ model: PackedModel, name: String, reference: Tensor) throws
    -> Comparison
  {
    guard let entry = model.entry(named: name), entry.shape == reference.shape,
      entry.elementType == reference.elementType
    else { return Comparison() }
    if let quantized = try model.quantizedTensor(named: name) {
      return try compare(quantized, name: name, reference: reference.floatValues())
    }
    let packed = try model.tensor(named: name)?.bytes() ?? SharedBytes()
    return Comparison(isIdentical: try packed.elementsEqual(reference.bytes()))
  }

  private static func compare(
    _ quantized: QuantizedTensor, name: String, reference: [Float]
  ) throws -> Comparison {
    let values = try quantized.floatValues()
    var comparison = Comparison()
    var maximumError = 0.0
    var maximumErrorInSteps = 0.0
    var clippedCount = 0
    for index in 0..<quantized.layout.cellCount {
      let code = quantized.code(ofCell: index)
      for element in quantized.layout.elements(ofCell: index) {
        let weight = reference[element]
        let error = abs(Double(weight) - Double(values[element]))
        comparison.signal += Double(weight) * Double(weight)
        comparison.noise += error * error
        maximumError = max(maximumError, error)
        if weight < code.lower || weight > code.upper {
          clippedCount += 1
        } else if code.scale > 0 {
          maximumErrorInSteps = max(maximumErrorInSteps, error / Double(code.scale))
        }
      }
    }
    comparison.layer = Layer(
      name: name, bitWidth: quantized.bitWidth,
      signalToQuantizationNoise: decibels(signal: comparison.signal, noise: comparison.noise),
      maximumError: maximumError, maximumErrorInSteps: maximumErrorInSteps,
      clippedShare: Double(clippedCount) / Double(max(1, reference.count)))
    return comparison
  }

  private static func decibels(signal: Double, noise: Double) -> Double {
    noise > 0 ? 10 * log10(signal / noise) : .infinity
  }
}
