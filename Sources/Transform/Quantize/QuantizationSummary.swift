import Formats

/// What quantizing one tensor cost: of the values as they are read back, in the element type.
public struct QuantizationSummary: Hashable, Sendable, Codable {
  /// The tensor's full name.
  public var name: String
  /// As `ElementType.rawValue`, in full precision.
  public var elementType: String
  /// Dimensions, outermost first.
  public var shape: [Int]
  /// Bits of a code, 1 to 8.
  public var bitWidth: Int
  /// `tensor`, `channel` or `group:N`.
  public var granularity: String
  /// Matrices stacked along the rows that have bounds of their own.
  public var parts: Int
  /// How bounds were found.
  public var search: BoundSearchMethod
  /// Bytes of codes and quantizer parameters.
  public var payloadByteCount: Int
  /// 10·log₁₀(Σ w² / Σ (w − Q(w))²) in decibels; `nil` when there is no error or no signal.
  public var signalToQuantizationNoise: Double?
  /// The root mean square error, √(mean (w − Q(w))²).
  public var rootMeanSquareError: Double
  /// The largest error, max |w − Q(w)|.
  public var maximumError: Double
  /// The share, 0 to 1, of elements whose nearest code lies outside the range of codes.
  public var clippedShare: Double
  /// `E‖Wx − Ŵx̂‖² / E‖Wx‖²`, the bias as stored taken into account; `nil` without calibration.
  public var relativeOutputError: Double?
  /// `σ_max / σ_min` of the worst part before conditioning; `nil` where the weight was not
  /// conditioned.
  public var conditionNumberBefore: Double?
  /// `σ_max / σ_min` of the worst part of what was rounded; `nil` where the weight was not
  /// conditioned.
  public var conditionNumberAfter: Double?

  /// Compares `values` in Float32 with what `tensor` makes of them.
  ///
  /// - Throws: `FormatError` when the tensor cannot be decoded.
  init(
    name: String, values: [Float], tensor: QuantizedTensor, search: BoundSearchMethod
  ) throws {
    self.init(
      name: name, tensor: tensor, search: search,
      cost: QuantizationCost(try QuantizationError(of: tensor, from: values)))
  }

  /// - Parameter cost: of rounding the tensor of that name to `tensor`.
  init(
    name: String, tensor: QuantizedTensor, search: BoundSearchMethod, cost: QuantizationCost
  ) {
    self.name = name
    elementType = tensor.elementType.rawValue
    shape = tensor.shape.dimensions
    bitWidth = tensor.bitWidth
    granularity = "\(tensor.layout.granularity)"
    parts = tensor.layout.parts
    self.search = search
    payloadByteCount =
      tensor.codes.count
      + QuantizedTensor.parameterByteCount(tensor.layout, tensor.parameterType)

    signalToQuantizationNoise = cost.signal > 0 && cost.noise > 0 ? cost.signalToNoise : nil
    rootMeanSquareError = cost.rootMeanSquare
    maximumError = cost.maximum
    clippedShare = cost.clippedShare
  }
}
