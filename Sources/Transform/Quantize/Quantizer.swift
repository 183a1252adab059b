import Formats
import Storage

/// Quantizes the tensors of a plan, one call a tensor.
///
/// The result depends on the plan and the tensor's elements alone, so calls may run in any order
/// and on any number of threads.
struct Quantizer: Sendable {
  let plan: QuantizationPlan

  /// A quantized tensor and what that cost.
  struct Outcome: Sendable {
    let tensor: QuantizedTensor
    let summary: QuantizationSummary
  }

  /// The tensor of that name, quantized as planned.
  ///
  /// - Throws: `ModelError` when the plan keeps the tensor, is for another type or shape, or the
  ///   elements are not finite or cannot be read, or their bounds do not fit the type of the
  ///   parameters.
  func quantize(_ name: String, tensor: Tensor) throws -> QuantizedTensor {
    try outcome(name, tensor: tensor).tensor
  }

  /// The same with the statistics.
  ///
  /// - Throws: as `quantize(_:tensor:)`.
  func outcome(_ name: String, tensor: Tensor) throws -> Outcome {
    guard let entry = plan.entries[name], let planned = entry.quantization else {
      throw ModelError("the plan does not quantize it", tensor: name)
    }
    guard entry.elementType == tensor.elementType, entry.shape == tensor.shape else {
      throw ModelError(
        """
        the plan is for \(entry.elementType) \(entry.shape), found \(tensor.elementType) \
        \(tensor.shape)
        """, tensor: name)
    }
    return try locatingErrors(tensor: name) {
      let encoder = try TensorEncoder(
        tensor.bytes(), elementType: tensor.elementType, shape: tensor.shape,
        layout: planned.layout)
      let bounds = try bounds(name, planned, encoder)
      let (quantized, cost) = try encoder.encode(
        bitWidth: planned.bitWidth, parameterType: planned.parameterType,
        lower: bounds.map(\.lower), scale: bounds.map(\.scale))
      return Outcome(
        tensor: quantized,
        summary: QuantizationSummary(
          name: name, tensor: quantized, search: planned.search, cost: cost))
    }
  }

  /// The bounds of each cell.
  private func bounds(
    _ name: String, _ planned: QuantizationPlan.Quantization, _ encoder: TensorEncoder
  ) throws -> [BoundSearch.Bounds] {
    let search = BoundSearch(
      method: planned.search, bitWidth: planned.bitWidth, parameterType: planned.parameterType)
    switch encoder.extremes() {
    case .notFinite(let element, let value):
      throw WeightValues.notFinite(
        name, element: element, value: value, exact: encoder.exactValue(at: element))
    case .found(let cells):
      let largest = cells.reduce(0) { max($0, $1.least.magnitude, $1.largest.magnitude) }
      if largest == 0 {
        try WeightValues.checkUnderflow(
          name, count: planned.layout.elementCount, exact: encoder.exactValue(at:))
      }
      return try cells.enumerated().map { cell, extremes in
        let found: BoundSearch.Bounds
        if planned.search == .minimumMaximum || extremes.least == extremes.largest {
          found = search.bounds(minimum: extremes.least, maximum: extremes.largest) { _ in 0 }
        } else {
          found = encoder.withValues(planned.layout.elements(ofCell: cell)) { values in
            search.bounds(minimum: extremes.least, maximum: extremes.largest) {
              $0.squaredError(of: values)
            }
          }
        }
        try locatingErrors(tensor: name) {
          try BoundSearch.check(
            found, minimum: extremes.least, maximum: extremes.largest, largest: largest)
        }
        return found
      }
    }
  }
}
