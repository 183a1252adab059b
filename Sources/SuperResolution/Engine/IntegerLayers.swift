import CKernels
import Formats
import Storage

/// The layers of a packed model that run in integer arithmetic: their weights are stored as codes,
/// and their inputs have a quantizer.
///
/// The kernels hold codes with one lower bound and one scale per output. These layers run in
/// floating point instead: those whose weights have groups along a row, those whose inputs have groups
/// that the kernels do not support, and those that floating point multiplies faster.
struct IntegerLayers: Sendable {
  private enum Layer: Sendable {
    case linear(IntegerLinear)
    case convolution(IntegerConvolution)
  }

  /// One entry per site; empty if there are no such layers.
  private let layers: [Layer?]

  /// Creates an empty collection.
  init() {
    layers = []
  }

  /// - Parameters:
  ///   - quantizers: one entry per site; empty when no site is quantized.
  ///   - biases: those of the layers, by site; a network may make them of several tensors.
  ///   - excluded: sites whose layers multiply other weights than those of the file.
  /// - Throws: `ModelError` when codes or a bias cannot be read.
  init(
    _ archive: TensorArchive, sites: [ActivationSite], quantizers: [ck_quantizer?],
    biases: [Int: [Float]], excluding excluded: Set<Int>
  ) throws {
    let layers = try zip(sites, quantizers).enumerated().map { index, pair -> Layer? in
      guard !excluded.contains(index) else { return nil }
      return try pair.1.flatMap {
        try Self.layer(archive, site: pair.0, quantizer: $0, bias: biases[index])
      }
    }
    self.layers = layers.contains { $0 != nil } ? layers : []
  }

  /// Whether there are no such layers.
  var isEmpty: Bool { layers.isEmpty }

  /// The number of layers that run in integer arithmetic.
  var count: Int { layers.count { $0 != nil } }

  /// The bytes of all weights.
  var byteCount: Int {
    layers.reduce(0) { sum, layer in
      switch layer {
      case .linear(let layer): sum + layer.byteCount
      case .convolution(let layer): sum + layer.byteCount
      case nil: sum
      }
    }
  }

  /// The linear layer, or the convolution with one tap, whose input the site is, if it runs in integer
  /// arithmetic.
  func linear(at site: Int) -> IntegerLinear? {
    guard !layers.isEmpty, case .linear(let layer) = layers[site] else { return nil }
    return layer
  }

  /// The convolution with several taps whose input the site is, if it runs in integer arithmetic.
  func convolution(at site: Int) -> IntegerConvolution? {
    guard !layers.isEmpty, case .convolution(let layer) = layers[site] else { return nil }
    return layer
  }

  private static func layer(
    _ archive: TensorArchive, site: ActivationSite, quantizer: ck_quantizer, bias: [Float]?
  ) throws -> Layer? {
    guard let weightName = site.weightName, let quantized = archive.tensors[weightName]?.quantized
    else { return nil }
    let weight = try quantized()
    let (outputs, inputs) = (weight.layout.rows, weight.layout.columns)
    let taps = site.tapCount ?? 1
    guard inputs == site.columnCount * taps, let rows = weight.rowParameters,
      pays(quantizer, columns: site.columnCount, outputs: outputs, taps: taps)
    else { return nil }
    guard
      taps == 1
        ? ck_integer_linear_takes(inputs, quantizer.group_size)
        : ck_integer_convolution_takes(site.columnCount, taps, quantizer.group_size)
    else { return nil }
    guard taps > 1 else {
      return .linear(
        try IntegerLinear(
          codes: weight.unpackedCodes(), bitWidth: weight.bitWidth, lower: rows.lower,
          scale: rows.scale, bias: bias, outputs: outputs, inputs: inputs,
          activations: quantizer))
    }
    return .convolution(
      try IntegerConvolution(
        codes: weight.unpackedCodes(), bitWidth: weight.bitWidth, lower: rows.lower,
        scale: rows.scale, bias: bias, outputs: outputs, channels: site.columnCount, taps: taps,
        activations: quantizer))
  }
}

extension IntegerLayers {
  /// The shortest groups of a row's inputs that integers multiply faster.
  static let leastGroup = 32

  /// The outputs of a convolution from which Winograd's in floating point is faster, if it has no more inputs,
  /// where codes are not multiplied by one instruction.
  static let manyOutputs = 64

  /// Whether integers are faster than floating point, by the table of `Benchmarks/results/low-bits.md`: each
  /// group of a row has sums of its own, as has each pixel under a kernel where bounds follow the values.
  static func pays(_ quantizer: ck_quantizer, columns: Int, outputs: Int, taps: Int) -> Bool {
    if taps > 1 {
      return !quantizer.is_row_scaled && quantizer.group_size == 0
        && (outputs < max(columns, manyOutputs)
          || ck_current_vector_level() == CK_VECTOR_AVX512_VNNI)
    }
    return quantizer.group_size == 0 || quantizer.group_size >= min(columns, leastGroup)
  }
}

extension QuantizedTensor {
  /// The lower bound and the scale of each row; `nil` where parts of a row have their own.
  fileprivate var rowParameters: (lower: [Float], scale: [Float])? {
    if case .group = layout.granularity { return nil }
    let height = layout.rows / layout.cellCount
    func repeated(_ values: [Float]) -> [Float] {
      values.flatMap { [Float](repeating: $0, count: height) }
    }
    return (repeated(lower), repeated(scale))
  }
}
