import Formats
import Storage

/// The quantized parameters of a store, with the parameters that quantize them.
struct QuantizationParameters: Sendable {
  private struct Weight {
    let quantization: WeightQuantization
    let rounder: WeightRounder
  }
  private struct Activation {
    let quantizer: ActivationQuantizer
    let site: Int
    let lower: ParameterReference
    let upper: ParameterReference
  }
  private let weights: [Weight]
  private let activations: [Activation]
  private let siteCount: Int

  /// Adds the bounds to `store`, and moves quantized weights to their group.
  ///
  /// - Throws: `ModelError` when a weight or a site is unknown, occurs twice or does not match its
  ///   quantizer.
  init(
    _ weights: [WeightQuantization], _ activations: [ActivationQuantizer],
    sites: [ActivationSite], _ store: inout ParameterStore
  ) throws {
    var known: Set<String> = []
    self.weights = try weights.map { quantization in
      guard let reference = store[quantization.name] else {
        throw ModelError("the network has no weight '\(quantization.name)' to quantize")
      }
      guard known.insert(quantization.name).inserted else {
        throw ModelError("the weight '\(quantization.name)' has two quantizers")
      }
      try quantization.check(elementCount: reference.count)
      return Weight(
        quantization: quantization, rounder: Self.add(quantization, reference, to: &store))
    }
    let places = Dictionary(uniqueKeysWithValues: sites.enumerated().map { ($1.name, $0) })
    self.activations = try activations.map { quantizer in
      guard let site = places[quantizer.name] else {
        throw ModelError(
          "the network has no activation '\(quantizer.name)' to quantize")
      }
      guard known.insert(quantizer.name).inserted else {
        throw ModelError("the activation '\(quantizer.name)' has two quantizers")
      }
      try quantizer.check(at: sites[site])
      let width = quantizer.upper - quantizer.lower
      // Equal bounds, from values that are all the same, have no step and are not learned.
      let step = width / Float((1 << quantizer.bitWidth) - 1)
      return Activation(
        quantizer: quantizer, site: site,
        lower: store.add(
          "\(quantizer.name).lower", [quantizer.lower], group: .activationBounds, unit: step),
        upper: store.add(
          "\(quantizer.name).upper", [quantizer.upper], group: .activationBounds, unit: step))
    }
    siteCount = sites.count
  }

  private static func add(
    _ quantization: WeightQuantization, _ weight: ParameterReference,
    to store: inout ParameterStore
  ) -> WeightRounder {
    let mean = quantization.scale.reduce(0, +) / Float(quantization.scale.count)
    let step = mean > 0 && mean.isFinite ? mean : 1
    store.move(weight, to: .latentWeights, unit: step)
    let levels = Float((1 << quantization.bitWidth) - 1)
    var codes: [UInt8]?
    if case .fixed(let fixed) = quantization.rounding { codes = fixed }
    return WeightRounder(
      weight: weight,
      lower: store.add(
        "\(quantization.name).lower", quantization.lower, group: .weightBounds,
        unit: step),
      scale: store.add(
        "\(quantization.name).scale", quantization.scale, group: .weightBounds,
        // With this unit the upper bound moves as fast as the lower one.
        unit: step / levels),
      layout: quantization.layout, bitWidth: quantization.bitWidth, codes: codes)
  }

  // MARK: Steps

  /// Returns all parameters, with the quantized weights rounded.
  func rounded(_ parameters: [Float]) -> [Float] {
    var rounded = parameters
    parameters.withUnsafeBufferPointer { parameters in
      rounded.withUnsafeMutableBufferPointer { rounded in
        for weight in weights { weight.rounder.round(parameters, to: rounded) }
      }
    }
    return rounded
  }

  /// Returns one entry per site; the result is empty when no activation is quantized.
  func quantizers(_ store: ParameterStore) -> [SiteQuantizer?] {
    guard !activations.isEmpty else { return [] }
    var quantizers = [SiteQuantizer?](repeating: nil, count: siteCount)
    for activation in activations {
      quantizers[activation.site] = SiteQuantizer(
        lower: store.values[activation.lower.offset],
        upper: store.values[activation.upper.offset],
        levels: Float((1 << activation.quantizer.bitWidth) - 1),
        scaling: activation.quantizer.scaling,
        isNormalized: activation.quantizer.isNormalized, lowerReference: activation.lower,
        upperReference: activation.upper)
    }
    return quantizers
  }

  /// Returns whether passes must compute each parameter's gradient, by the parameter's index.
  func isWanted(_ store: ParameterStore, _ optimizer: Adam) -> [Bool] {
    var isWanted = store.entries.map { optimizer.isLearning($0.group) }
    if optimizer.isLearning(.weightBounds) {
      for weight in weights { isWanted[weight.rounder.weight.index] = true }
    }
    return isWanted
  }

  /// Turns gradients of rounded weights into gradients of weights and their bounds.
  func differentiate(_ store: inout ParameterStore) {
    store.values.withUnsafeBufferPointer { values in
      store.gradients.withUnsafeMutableBufferPointer { gradients in
        for weight in weights { weight.rounder.differentiate(values, gradients) }
      }
    }
  }

  /// Keeps ranges from closing: activation ranges keep at least a thousandth of their initial
  /// width, and nonzero weight scales at least a thousandth of their initial mean.
  func keepApart(_ store: inout ParameterStore) {
    for activation in activations {
      let quantizer = activation.quantizer
      let least = 1e-3 * (quantizer.upper - quantizer.lower)
      let (lower, upper) = (
        store.values[activation.lower.offset], store.values[activation.upper.offset]
      )
      if upper - lower < least {
        let middle = (lower + upper) / 2
        store.values[activation.lower.offset] = middle - least / 2
        store.values[activation.upper.offset] = middle + least / 2
      }
    }
    for weight in weights {
      let least = 1e-3 * store.entries[weight.rounder.lower.index].unit
      for index in weight.rounder.scale.range where store.values[index] != 0 {
        store.values[index] = max(store.values[index], least)
      }
    }
  }

  // MARK: Results

  func weights(_ store: ParameterStore) -> [WeightQuantization] {
    weights.map { weight in
      var quantization = weight.quantization
      quantization.lower = store.values(weight.rounder.lower)
      quantization.scale = store.values(weight.rounder.scale)
      quantization.rounding = .fixed(weight.rounder.codes(store.values))
      return quantization
    }
  }

  func activations(_ store: ParameterStore) -> [ActivationQuantizer] {
    activations.map { activation in
      var quantizer = activation.quantizer
      quantizer.lower = store.values[activation.lower.offset]
      quantizer.upper = store.values[activation.upper.offset]
      return quantizer
    }
  }
}
