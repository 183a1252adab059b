import Formats
import Ranks
import Storage

/// A comparison of a packed model with the full-precision model it was made from.
package struct FidelityReport: Codable, Hashable, Sendable {
  /// The reference's path.
  package let reference: String
  /// Stored tensors of the reference that belong together; `nil` if there are none.
  package let groups: [TensorGroup]?
  /// The number of unquantized tensors whose bits equal the reference's.
  package let identicalTensorCount: Int
  /// Unquantized tensors whose bits, type or shape differ from the reference's.
  package let alteredTensors: [String]
  /// Quantized tensors with a value more than one step from its expected position, in files whose
  /// recipe rounds each weight on its own. A recipe with a method may move weights further.
  package let strayTensors: [String]
  /// Unquantized tensors that the quantization method changed, according to the file's header.
  package let adjustedTensors: [String]
  /// Names in the reference that the packed file lacks.
  package let missingTensors: [String]
  /// Names in the packed file that the reference lacks.
  package let extraTensors: [String]
  /// Every quantized tensor that the reference has with the same shape, in the file's order.
  package let layers: [Layer]
  /// The signal-to-quantization-noise ratio over all quantized weights, in dB.
  package let signalToQuantizationNoise: Double

  /// Whether every tensor that must be unchanged is unchanged, quantized tensors are within one
  /// step, and none are missing or added.
  var isTrue: Bool {
    alteredTensors.isEmpty && missingTensors.isEmpty && extraTensors.isEmpty
      && strayTensors.isEmpty
  }

  /// A quantized tensor compared with its reference.
  package struct Layer: Codable, Hashable, Sendable {
    /// The tensor's name in the packed file.
    package let name: String
    /// The bit width of a code, 1 to 8.
    package let bitWidth: Int
    /// 10·log10(Σw² / Σ(w − ŵ)²) in dB; infinite if nothing was lost.
    package let signalToQuantizationNoise: Double
    /// The largest error of a weight, max |w − ŵ|.
    package let maximumError: Double
    /// The largest error of an unclipped weight, in units of its cell's scale.
    package let maximumErrorInSteps: Double
    /// The share of weights whose error exceeds half a step because there is no nearer code, 0…1.
    package let clippedShare: Double
    /// Whether every code is within one step of the reference's number, or of the nearer clipping
    /// bound if that number lies outside. Subsequent rounding to the element type is ignored.
    package let isWithinStep: Bool
  }

  private struct Comparison: Codable, Sendable {
    var layer: Layer?
    var error: QuantizationError?
    /// Whether type and shape equal the reference's.
    var isComparable = false
    var isIdentical = false
  }

  init(
    model: PackedModel, reference: TensorArchive, file: String, sharedAmong workers: Workers,
    progress: (@Sendable (Int) -> Void)?
  ) throws {
    let names = Array(model.header.names.keys)
    let shared = names.filter { reference.tensors[$0] != nil }
    let comparisons = try workers.mapMatrices(
      ofElementCounts: shared.map { reference.tensors[$0]?.shape.elementCount ?? 0 },
      progress: { progress?(reference.tensors[shared[$0]]?.byteCount ?? 0) },
      { index in
        let name = shared[index]
        guard let tensor = reference.tensors[name] else { return Comparison() }
        return try locatingErrors(tensor: name) {
          try Self.compare(model, name: name, reference: tensor)
        }
      })
    let adjusted = Set(model.header.adjustedNames)
    func isAdjusted(_ name: String, _ comparison: Comparison) -> Bool {
      adjusted.contains(name) && comparison.isComparable && !comparison.isIdentical
    }
    self.reference = file
    groups = reference.groups.nilIfEmpty
    missingTensors = reference.tensors.keys.filter { model.header.names[$0] == nil }
    extraTensors = names.filter { reference.tensors[$0] == nil }
    layers = comparisons.compactMap(\.layer)
    strayTensors =
      Self.roundsEachWeight(model.header)
      ? layers.filter { !$0.isWithinStep }.map(\.name) : []
    identicalTensorCount = comparisons.count(where: \.isIdentical)
    alteredTensors = zip(shared, comparisons).compactMap { name, comparison in
      comparison.layer == nil && !comparison.isIdentical && !isAdjusted(name, comparison)
        ? name : nil
    }
    adjustedTensors = zip(shared, comparisons).compactMap { name, comparison in
      isAdjusted(name, comparison) ? name : nil
    }
    let costs = comparisons.compactMap(\.error?.cost)
    signalToQuantizationNoise = RoundingCost.decibels(
      signal: costs.reduce(0) { $0 + $1.signal }, noise: costs.reduce(0) { $0 + $1.noise })
  }

  private static func roundsEachWeight(_ header: PackedHeader) -> Bool {
    guard case .object(let recipe) = header.recipe else { return true }
    return recipe["method"] == nil
  }

  private static func compare(_ model: PackedModel, name: String, reference: Tensor) throws
    -> Comparison
  {
    guard let entry = model.entry(named: name), entry.shape == reference.shape,
      entry.elementType == reference.elementType
    else { return Comparison() }
    if let quantized = try model.quantizedTensor(named: name) {
      let error = try QuantizationError(of: quantized, from: reference.floatValues())
      let layer = Layer(
        name: name, bitWidth: quantized.bitWidth,
        signalToQuantizationNoise: error.cost.signalToNoise,
        maximumError: error.cost.maximum, maximumErrorInSteps: error.maximumInSteps,
        clippedShare: error.cost.clippedShare, isWithinStep: error.maximumStrayInSteps <= 1)
      return Comparison(layer: layer, error: error)
    }
    guard let packed = try model.tensor(named: name)?.bytes() else { return Comparison() }
    return Comparison(isComparable: true, isIdentical: try packed.elementsEqual(reference.bytes()))
  }
}
