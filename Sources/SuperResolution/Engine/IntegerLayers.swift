import CKernels
import Formats
import Storage

/// The linear layers of a packed model that run in integer arithmetic: their weights are stored as
/// codes, and their inputs have a quantizer.
///
/// The kernel holds codes with one lower bound and one scale per output. These layers run in
/// floating point instead: those whose weights have groups along a row, those whose values are
/// rounded again to a narrow type, and those whose inputs have groups that the kernel does not
/// support.
struct IntegerLayers: Sendable {
  /// One entry per site; empty if there are no such layers.
  private let layers: [IntegerLinear?]

  /// Creates an empty collection.
  init() {
    layers = []
  }

  /// - Parameter quantizers: one entry per site; empty when no site is quantized.
  /// - Throws: `ModelError` when codes or a bias cannot be read.
  init(_ archive: TensorArchive, sites: [ActivationSite], quantizers: [ck_quantizer?]) throws {
    let layers = try zip(sites, quantizers).map { site, quantizer in
      try quantizer.flatMap { try Self.layer(archive, site: site, quantizer: $0) }
    }
    self.layers = layers.contains { $0 != nil } ? layers : []
  }

  /// The number of layers that run in integer arithmetic.
  var count: Int { layers.count { $0 != nil } }

  /// The layer whose input the site is, if that layer runs in integer arithmetic.
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
  /// elements differ from `lower + scale · code` in Float32.
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
