import Formats
import OrderedCollections
import Storage
import SuperResolution

/// Converts a quantized model to the form that distillation needs, and back.
struct QuantizedStudent {
  /// The full-precision model with latent weights and corrected biases.
  let archive: TensorArchive
  let weights: [WeightQuantization]
  private let quantized: QuantizedModel
  private let original: TensorArchive

  /// - Parameter isLearned: whether latent weights are learned. They then start as close to the
  ///   layers' targets as the codes of the model allow.
  init(_ model: QuantizedModel, original: TensorArchive, isLearned: Bool) throws {
    quantized = model
    self.original = original
    var archive = original
    var weights: [WeightQuantization] = []
    for (name, layer) in model.layers {
      let latent = try isLearned ? Self.latent(layer) : layer.target
      archive.tensors[name] = try Self.tensor(latent, layer.tensor.shape)
      if let values = layer.bias, let bias = Self.biasName(name),
        let shape = original.tensors[bias]?.shape
      {
        archive.tensors[bias] = try Self.tensor(values.map { Float($0) }, shape)
      }
      weights.append(
        WeightQuantization(
          name: name, layout: layer.tensor.layout, bitWidth: layer.tensor.bitWidth,
          lower: layer.tensor.lower, scale: layer.tensor.scale,
          // Codes that were not rounded to nearest stay fixed if their latent weights are not
          // learned.
          rounding: try !isLearned && !Self.isNearest(layer)
            ? .fixed(layer.tensor.unpackedCodes()) : .nearest))
    }
    self.archive = archive
    self.weights = weights
  }

  /// Returns the learning rates of the model. If everything is learned, finer codes need less
  /// correction in smaller steps: rates of activation bounds are lowered by the activations' bit
  /// widths, all others by the weights'.
  func rates(_ settings: DistillationSettings) -> [ParameterGroup: Float] {
    guard settings.learnsEverything else { return settings.rates }
    let activations = Self.rateFactor(bitWidths: quantized.activations.values.map(\.bitWidth))
    let others = Self.rateFactor(bitWidths: weights.map(\.bitWidth))
    var rates = settings.rates.mapValues { $0 * others }
    rates[.activationBounds] = settings.rates[.activationBounds].map { $0 * activations }
    return rates
  }

  /// Returns the mean step between codes, as a share of the range, relative to 2 bits; at most 1.
  private static func rateFactor(bitWidths: [Int]) -> Float {
    guard !bitWidths.isEmpty else { return 1 }
    let shares = bitWidths.map { min(1, 3 / Float((1 << $0) - 1)) }
    return shares.reduce(0, +) / Float(shares.count)
  }

  /// Returns the values closest to the target that round to the codes, within the range of the
  /// codes, outside which derivatives are zero.
  private static func latent(_ layer: QuantizedLayer) throws -> [Float] {
    var latent = try layer.tensor.floatValues()
    for cell in 0..<layer.tensor.layout.cellCount {
      let code = layer.tensor.code(ofCell: cell)
      let margin = 0.45 * code.scale
      for element in layer.tensor.layout.elements(ofCell: cell) {
        let shift = max(-margin, min(margin, layer.target[element] - latent[element]))
        latent[element] = max(code.lower, min(code.upper, latent[element] + shift))
      }
    }
    return latent
  }

  private static func isNearest(_ layer: QuantizedLayer) throws -> Bool {
    let codes = try layer.tensor.unpackedCodes()
    for cell in 0..<layer.tensor.layout.cellCount {
      let code = layer.tensor.code(ofCell: cell)
      for element in layer.tensor.layout.elements(ofCell: cell)
      where UInt8(code.encode(layer.target[element])) != codes[element] { return false }
    }
    return true
  }

  // MARK: Back

  /// Returns the model with the learned values.
  ///
  /// - Throws: `ModelError` when bounds cannot be stored.
  func model(learned distillation: Distillation) throws -> QuantizedModel {
    let tensors = distillation.tensors
    var result = quantized
    for learned in distillation.weights {
      guard let layer = quantized.layers[learned.name], case .fixed(let codes) = learned.rounding,
        let original = original.tensors[learned.name]
      else { continue }
      result.layers[learned.name] = try locatingErrors(tensor: learned.name) {
        try layer.refined(
          lower: learned.lower, scale: learned.scale, codes: codes,
          target: tensors[learned.name] ?? layer.target, original: original.floatValues())
      }
    }
    for (name, values) in tensors where quantized.layers[name] == nil {
      guard let before = archive.tensors[name], try before.floatValues() != values else { continue }
      result.tensors[name] = values
    }
    for quantizer in distillation.activations { result.activations[quantizer.name] = quantizer }
    return result
  }

  private static func biasName(_ weight: String) -> String? {
    weight.hasSuffix(".weight") ? "\(weight.dropLast("weight".count))bias" : nil
  }

  private static func tensor(_ values: [Float], _ shape: Shape) throws -> Tensor {
    try Tensor(elementType: .float32, shape: shape, bytes: SharedBytes(elementsOf: values))
  }
}
