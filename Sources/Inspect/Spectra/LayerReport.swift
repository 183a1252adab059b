import LinearAlgebra

/// What a model report says about one tensor, or about one of q, k and v of a fused tensor.
///
/// Quantities that the tensor has not are `nil`, and then `note` says why.
public struct LayerReport: Codable, Hashable, Sendable {
  /// The tensor's name in the file.
  public var name: String
  /// The tensor's place among the file's tensors, from 0: the depth of the layer, in most files.
  public var position: Int
  /// `q`, `k` or `v` when the tensor is seen as three matrices.
  public var part: String?
  /// As `ElementType.rawValue`.
  public var elementType: String
  /// Dimensions of the whole tensor, outermost first, for a part, too.
  public var shape: [Int]
  /// `[rows, columns]` of the weight matrix: `[out, in]`, for a convolution `[out, in·kh·kw]`.
  public var matrix: [Int]?
  /// What the singular values are of, where that is not `matrix`: `circular convolution on 64x64`.
  public var view: String?
  /// What the tensor was put together from, or what it belongs to; `nil` for a tensor by itself.
  public var composition: String?
  /// Elements of the tensor, or of the part.
  public var elementCount: Int
  /// Bytes of those elements in their type, as the file's reader gives them.
  public var byteCount: Int

  /// The largest singular value; `nil` for what is no matrix, or not finite.
  public var sigmaMax: Double?
  /// The smallest of the `min(rows, columns)` singular values; `nil` likewise.
  public var sigmaMin: Double?
  /// σ_max / σ_min, infinite when the matrix is rank-deficient; see `Spectrum.conditionNumber`.
  public var conditionNumber: Double?
  /// ‖W‖_F² / σ_max²; see `Spectrum.stableRank`.
  public var stableRank: Double?
  /// exp of the spectral entropy; see `Spectrum.effectiveRank`. `nil` with the extremes alone.
  public var effectiveRank: Double?
  /// How many singular values are above `rankTolerance`; `nil` with the extremes alone.
  public var numericalRank: Int?
  /// The Frobenius norm, √Σσ².
  public var frobeniusNorm: Double?
  /// In nats; see `Spectrum.spectralEntropy`.
  public var spectralEntropy: Double?
  /// The nuclear norm, Σσ; `nil` with the extremes alone.
  public var nuclearNorm: Double?
  /// Singular values up to this one count as zero.
  public var rankTolerance: Double?
  /// The power law of the eigenvalues σ²; absent for fewer than 8 of them.
  public var powerLaw: PowerLawFit?
  /// Up to 32 of the singular values, evenly spread over their ranks, largest first.
  public var spectrumOutline: [Double]?
  /// What the elements say by themselves; absent when only the extremes were asked for.
  public var statistics: ElementStatistics?
  /// The same layer of the reference, when there is one.
  public var reference: ReferenceLayer?
  /// All singular values, largest first, when asked for.
  public var singularValues: [Double]?
  /// Why there are no singular values.
  public var note: String?

  package init(
    name: String, position: Int = 0, part: String? = nil, elementType: String, shape: [Int],
    matrix: [Int]? = nil,
    elementCount: Int, byteCount: Int
  ) {
    self.name = name
    self.position = position
    self.part = part
    self.elementType = elementType
    self.shape = shape
    self.matrix = matrix
    self.elementCount = elementCount
    self.byteCount = byteCount
  }

  /// The name with the part, as people read it.
  package var title: String { part.map { "\(name) [\($0)]" } ?? name }

  /// What tells the layer from all others of its model.
  var identity: [String] { [name] + (part.map { [$0] } ?? []) }

  mutating func set(_ spectrum: Spectrum, includesSingularValues: Bool) {
    sigmaMax = spectrum.sigmaMax
    sigmaMin = spectrum.sigmaMin
    conditionNumber = spectrum.conditionNumber
    stableRank = spectrum.stableRank
    effectiveRank = spectrum.effectiveRank
    numericalRank = spectrum.numericalRank
    frobeniusNorm = spectrum.frobeniusNorm
    spectralEntropy = spectrum.spectralEntropy
    nuclearNorm = spectrum.nuclearNorm
    rankTolerance = spectrum.rankTolerance
    powerLaw = spectrum.powerLaw
    spectrumOutline = spectrum.outline()
    if includesSingularValues { singularValues = spectrum.singularValues }
  }
}

/// The singular values of a layer's counterpart in the reference model.
public struct ReferenceLayer: Codable, Hashable, Sendable {
  /// The largest singular value.
  public var sigmaMax: Double?
  /// The smallest singular value.
  public var sigmaMin: Double?
  /// σ_max / σ_min; infinite when the matrix is rank-deficient.
  public var conditionNumber: Double?
  /// Why there are no singular values; `nil` where there are.
  public var note: String?
}

extension LayerReport {
  /// The ends of the spectrum alone.
  ///
  /// - Parameter frobeniusNorm: of the same matrix.
  mutating func set(_ extremes: ExtremeSingularValues, frobeniusNorm: Double) {
    let tolerance =
      Double(matrix?.max() ?? 0) * .ulpOfOne * extremes.largest
    sigmaMax = extremes.largest
    sigmaMin = extremes.smallest
    conditionNumber =
      extremes.smallest > tolerance ? extremes.largest / extremes.smallest : .infinity
    rankTolerance = tolerance
    self.frobeniusNorm = frobeniusNorm
    let ratio = extremes.largest > 0 ? frobeniusNorm / extremes.largest : 0
    stableRank = ratio * ratio
  }

  /// What another layer's report says of this one as its reference.
  var asReference: ReferenceLayer {
    ReferenceLayer(
      sigmaMax: sigmaMax, sigmaMin: sigmaMin, conditionNumber: conditionNumber, note: note)
  }
}
