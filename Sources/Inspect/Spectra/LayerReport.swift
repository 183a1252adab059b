/// What a model report says about one tensor, or about one of q, k and v of a fused tensor.
///
/// Quantities that the tensor has not are `nil`, and then `note` says why.
public struct LayerReport: Codable, Hashable, Sendable {
  /// The tensor's name in the file.
  public var name: String
  /// `q`, `k` or `v` when the tensor is seen as three matrices.
  public var part: String?
  /// As `ElementType.rawValue`.
  public var elementType: String
  public var shape: [Int]
  /// `[rows, columns]` of the weight matrix: `[out, in]`, for a convolution `[out, in·kh·kw]`.
  public var matrix: [Int]?
  public var elementCount: Int
  /// Bytes in the file.
  public var byteCount: Int

  public var sigmaMax: Double?
  public var sigmaMin: Double?
  /// σ_max / σ_min, infinite when the matrix is rank-deficient; see `Spectrum.conditionNumber`.
  public var conditionNumber: Double?
  public var stableRank: Double?
  public var effectiveRank: Double?
  public var numericalRank: Int?
  public var frobeniusNorm: Double?
  /// All singular values, largest first, when asked for.
  public var singularValues: [Double]?
  /// Why there are no singular values.
  public var note: String?

  public init(
    name: String, part: String? = nil, elementType: String, shape: [Int], matrix: [Int]? = nil,
    elementCount: Int, byteCount: Int
  ) {
    self.name = name
    self.part = part
    self.elementType = elementType
    self.shape = shape
    self.matrix = matrix
    self.elementCount = elementCount
    self.byteCount = byteCount
  }

  /// The name with the part, as people read it.
  public var title: String { part.map { "\(name) [\($0)]" } ?? name }

  mutating func set(_ spectrum: Spectrum, includesSingularValues: Bool) {
    sigmaMax = spectrum.sigmaMax
    sigmaMin = spectrum.sigmaMin
    conditionNumber = spectrum.conditionNumber
    stableRank = spectrum.stableRank
    effectiveRank = spectrum.effectiveRank
    numericalRank = spectrum.numericalRank
    frobeniusNorm = spectrum.frobeniusNorm
    if includesSingularValues { singularValues = spectrum.singularValues }
  }
}
