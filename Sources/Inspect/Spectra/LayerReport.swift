import LinearAlgebra
import Transform

/// The report on one tensor, or on one of q, k and v of a fused tensor.
///
/// Quantities that do not apply to the tensor are `nil`, and `note` gives the reason.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// for layer in try ModelReport(archive: archive, file: "model.pth").layers {
///   if let number = layer.conditionNumber { print(layer.name, number, layer.stableRank ?? 0) }
/// }
/// ```
public struct LayerReport: Codable, Hashable, Sendable {
  /// The tensor's name in the file.
  public var name: String
  /// The tensor's position in the file, from 0; in most files, the depth of the layer.
  public var position: Int
  /// `q`, `k` or `v` if the tensor is treated as three matrices.
  public var part: String?
  /// The element type as `ElementType.rawValue`.
  public var elementType: String
  /// The dimensions of the whole tensor, outermost first, even for a part.
  public var shape: [Int]
  /// `[rows, columns]` of the weight matrix: `[out, in]`, or `[out, in·kh·kw]` for a convolution.
  public var matrix: [Int]?
  /// The operator that the singular values belong to, if it is not `matrix`:
  /// `circular convolution on 64x64`.
  public var view: String?
  /// The tensors this one was assembled from or belongs to; `nil` for an independent tensor.
  public var composition: String?
  /// The number of elements of the tensor or part.
  public var elementCount: Int
  /// The bytes of those elements in their type, as the file's reader provides them.
  public var byteCount: Int

  /// The largest singular value; `nil` if the tensor is not a matrix or not finite.
  public var sigmaMax: Double?
  /// The smallest of the `min(rows, columns)` singular values; `nil` in the same cases.
  public var sigmaMin: Double?
  /// σ_max / σ_min, infinite if the matrix is rank-deficient; see `Spectrum.conditionNumber`.
  public var conditionNumber: Double?
  /// ‖W‖_F² / σ_max²; see `Spectrum.stableRank`.
  public var stableRank: Double?
  /// exp of the spectral entropy; see `Spectrum.effectiveRank`. `nil` if only extremes were
  /// computed.
  public var effectiveRank: Double?
  /// The number of singular values above `rankTolerance`; `nil` if only extremes were computed.
  public var numericalRank: Int?
  /// The Frobenius norm, √Σσ².
  public var frobeniusNorm: Double?
  /// The spectral entropy in nats; see `Spectrum.spectralEntropy`.
  public var spectralEntropy: Double?
  /// The nuclear norm, Σσ; `nil` if only extremes were computed.
  public var nuclearNorm: Double?
  /// The largest singular value that counts as zero.
  public var rankTolerance: Double?
  /// The power law of the eigenvalues σ²; `nil` for fewer than 8 of them.
  package var powerLaw: PowerLawFit?
  /// Up to 32 of the singular values, evenly spaced by rank, largest first.
  public var spectrumOutline: [Double]?
  /// Statistics of the elements; `nil` if only extremes were requested.
  package var statistics: ElementStatistics?
  /// What quantization will cost the layer's output; `nil` without calibrated inputs.
  package var outputOutlook: OutputOutlook?
  /// The output channels (rows) whose weights are much larger than others', the largest first; at
  /// most `OutlierChannel.mostListed`. `nil` if there are none.
  package var outlierOutputs: [OutlierChannel]?
  /// The number of such channels; `nil` if there are none.
  package var outlierOutputCount: Int?
  /// The same layer of the reference, if there is one.
  package var reference: ReferenceLayer?
  /// `Σ r² / Σ (w − r)²` of the elements w and those r of the reference, in dB; infinite if all are
  /// equal, `nil` without a reference of the same shape.
  package var referenceSQNR: Double?
  /// All singular values, largest first, if requested.
  public var singularValues: [Double]?
  /// The reason there are no singular values.
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

  /// The name with the part, formatted for people.
  package var title: String { part.map { "\(name) [\($0)]" } ?? name }

  /// The key that distinguishes the layer from all others of its model.
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
package struct ReferenceLayer: Codable, Hashable, Sendable {
  /// The largest singular value.
  package var sigmaMax: Double?
  /// The smallest singular value.
  package var sigmaMin: Double?
  /// σ_max / σ_min; infinite if the matrix is rank-deficient.
  package var conditionNumber: Double?
  /// The reason there are no singular values; `nil` if there are.
  package var note: String?
}

extension LayerReport {
  /// Sets the quantities that follow from the ends of the spectrum alone.
  ///
  /// - Parameter frobeniusNorm: The norm of the same matrix.
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

  /// The report in the form used when this layer is another layer's reference.
  var asReference: ReferenceLayer {
    ReferenceLayer(
      sigmaMax: sigmaMax, sigmaMin: sigmaMin, conditionNumber: conditionNumber, note: note)
  }
}
