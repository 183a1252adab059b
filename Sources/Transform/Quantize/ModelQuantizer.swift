import Formats
import LinearAlgebra
import OrderedCollections
import Storage

/// Quantizes the layers and activations of a model by a method.
///
/// The whole result is in memory: codes, and each target in Float32. It depends only on the plan,
/// the archive and the calibration, not on the number of threads.
package struct ModelQuantizer: Sendable {
  package let plan: QuantizationPlan
  package let settings: MethodSettings
  package let calibration: Calibration?
  private let archive: TensorArchive

  /// - Throws: `ModelError` when the calibration does not fit the archive or lacks rows that the
  ///   settings need.
  package init(
    _ archive: TensorArchive, plan: QuantizationPlan, settings: MethodSettings,
    calibration: Calibration?
  ) throws {
    try calibration?.check(against: archive)
    if let scaling = settings.activationScaling, settings.quantizesActivations,
      let name = calibration?.sitesWithoutRows(for: scaling).first
    {
      let rows = scaling.groupSize.map { "groups of \($0)" } ?? "rows"
      throw ModelError("bounds relative to \(rows) need a 'row_histogram' of them", tensor: name)
    }
    self.archive = archive
    self.plan = plan
    self.settings = settings
    self.calibration = calibration
  }

  /// Quantizes the model.
  ///
  /// - Parameters:
  ///   - threads: at least 1.
  ///   - progress: called with the bytes of each finished tensor, from any thread.
  /// - Throws: `ModelError` with the tensor that failed.
  package func quantized(threads: Int, progress: WriteProgress? = nil) throws -> QuantizedModel {
    let activations = activationQuantizers()
    let names = plan.quantizedNames
    let byteCounts = names.map { plan.entries[$0]?.sourceByteCount ?? 0 }
    // The largest come first, so that no thread is left with one at the end.
    let order = names.indices.sorted { (byteCounts[$0], $1) > (byteCounts[$1], $0) }
    let layers = try parallelMap(count: order.count, threads: threads) { position in
      let name = names[order[position]]
      let layer = try layer(name, activations: activations)
      progress?(name, byteCounts[order[position]])
      return layer
    }
    var found: [String: QuantizedLayer] = [:]
    for (position, index) in order.enumerated() { found[names[index]] = layers[position] }
    return QuantizedModel(
      layers: OrderedDictionary(
        uniqueKeysWithValues: names.compactMap { name in found[name].map { (name, $0) } }),
      activations: activations)
  }

  /// Returns the quantizers of quantized weights' inputs, at the weights' bit widths, and of values
  /// inside attentions, at the recipe's bit width.
  func activationQuantizers() -> OrderedDictionary<String, ActivationQuantizer> {
    guard settings.quantizesActivations, let calibration else { return [:] }
    var bitWidths: [String: Int] = [:]
    for (name, entry) in plan.entries {
      guard let quantization = entry.quantization, let site = Calibration.inputSite(ofWeight: name)
      else { continue }
      bitWidths[site] = quantization.bitWidth
    }
    var found: OrderedDictionary<String, ActivationQuantizer> = [:]
    for (name, site) in calibration.sites {
      let isInput = name.hasSuffix(".\(ActivationSite.Kind.input)")
      guard let bitWidth = isInput ? bitWidths[name] : plan.recipe.defaults.bitWidth else {
        continue
      }
      let bits = settings.activationBitWidth ?? bitWidth
      let bounds = ActivationBounds(
        method: settings.method.search, bitWidth: bits, scaling: settings.scaling)
      // The moments of a second run hold only for the bounds with which it was made.
      if settings.method.isErrorAware, let images = site.quantized[bits],
        images.scaling == site.scaling(for: bounds.scaling)
      {
        found[name] = ActivationQuantizer(
          name: name, bitWidth: bits, lower: images.lower, upper: images.upper,
          scaling: images.scaling)
      } else {
        found[name] = bounds.bounds(of: site, siteName: name)
      }
    }
    return found
  }

  /// Quantizes one weight by the method, given the quantizers of its inputs.
  func layer(
    _ name: String, activations: OrderedDictionary<String, ActivationQuantizer>
  ) throws -> QuantizedLayer {
    guard let tensor = archive.tensors[name] else {
      throw ModelError("the plan does not quantize it", tensor: name)
    }
    let bias = try bias(of: name, rows: tensor.shape.matrix?.rows ?? 1)
    let outcome = try WeightQuantizer(plan: plan, settings: settings).quantize(
      name, tensor,
      of: .init(
        site: calibration?.input(ofWeight: name),
        activation: Calibration.inputSite(ofWeight: name).flatMap { activations[$0] },
        hasBias: bias != nil))
    return QuantizedLayer(
      tensor: outcome.tensor,
      target: try outcome.target ?? locatingErrors(tensor: name) { try tensor.floatValues() },
      bias: outcome.biasShift.flatMap { shift in bias.map { zip($0, shift).map(+) } },
      summary: QuantizationSummary(name: name, plan: plan, outcome))
  }

  /// Returns the name of a weight's bias: `layers.0.fc1.weight` → `layers.0.fc1.bias`.
  static func biasName(ofWeight name: String) -> String? {
    name.hasSuffix(".weight") ? "\(name.dropLast("weight".count))bias" : nil
  }

  /// Returns the layer's bias if no other layer shares it and it is kept in full precision.
  private func bias(of name: String, rows: Int) throws -> [Double]? {
    guard let biasName = Self.biasName(ofWeight: name), let entry = plan.entries[biasName],
      let tensor = archive.tensors[biasName], entry.shape == Shape([rows]),
      QuantizedTensor.supportedElementTypes.contains(entry.elementType),
      entry.quantization == nil, !plan.isShared(biasName), !plan.isShared(name)
    else { return nil }
    let values = try locatingErrors(tensor: biasName) { try tensor.doubleValues() }
    return values.allSatisfy(\.isFinite) ? values : nil
  }
}
