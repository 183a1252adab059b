import CKernels
import Formats
import Storage
import Transform

/// The linear layers of a packed model that are multiplied as whole numbers: those whose weights are
/// stored as codes, and whose inputs have a quantizer.
///
/// The kernel holds codes with one lower bound and scale an output. Weights in groups along a row, those
/// whose values are rounded once more to a narrow type, and those whose inputs lie in groups that the
/// kernel does not take, are multiplied in floating point.
struct IntegerLayers: Sendable {
  /// One entry a site; empty for none.
  private let layers: [IntegerLinear?]

  /// No layers at all.
  init() {
    layers = []
  }

  /// - Parameter quantizers: one entry a site; empty when no site is quantized.
  /// - Throws: `ModelError` when codes or a bias cannot be read.
  init(_ archive: TensorArchive, sites: [ActivationSite], quantizers: [ck_quantizer?]) throws {
    let layers = try zip(sites, quantizers).map { site, quantizer in
      try quantizer.flatMap { try Self.layer(archive, site: site, quantizer: $0) }
    }
    self.layers = layers.contains { $0 != nil } ? layers : []
  }

  /// How many layers are multiplied as whole numbers.
  var count: Int { layers.count { $0 != nil } }

  /// The layer whose input the site is, if it is one of these.
  subscript(site: Int) -> IntegerLinear? { layers.isEmpty ? nil : layers[site] }

  private static func layer(
    _ archive: TensorArchive, site: ActivationSite, quantizer: ck_quantizer
  ) throws -> IntegerLinear? {
    guard let weightName = site.weightName, let quantized = archive.tensors[weightName]?.quantized
    else { return nil }
    let weight = try quantized()
    let (outputs, inputs) = (weight.layout.rows, weight.layout.columns)
    guard inputs == site.columnCount, ck_integer_linear_takes(inputs, quantizer.group_size),
      let rows = weight.rowParameters
    else { return nil }
    let biasName = String(weightName.dropLast("weight".count)) + "bias"
    let bias = try archive.tensors[biasName].map { tensor in
      try locatingErrors(tensor: biasName) { try tensor.floatValues() }
    }
    return try IntegerLinear(
      codes: weight.unpackedCodes(), bitWidth: weight.bitWidth, lower: rows.lower,
      scale: rows.scale, bias: bias, outputs: outputs, inputs: inputs, activations: quantizer)
  }
}

extension QuantizedTensor {
  /// The lower bound and the scale of each row; `nil` where parts of a row have their own, or where
  /// elements are not what `lower + scale · code` gives in Float32.
  fileprivate var rowParameters: (lower: [Float], scale: [Float])? {
    guard elementType == .float32 || elementType == .float64 else { return nil }
    if case .group = layout.granularity { return nil }
    let height = layout.rows / layout.cellCount
    func repeated(_ values: [Float]) -> [Float] {
      values.flatMap { [Float](repeating: $0, count: height) }
    }
    return (repeated(lower), repeated(scale))
  }
}
