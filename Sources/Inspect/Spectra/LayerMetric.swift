import Reports

/// A number in a layer report, by which layers can be sorted and which rules can compare.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// for layer in try ModelReport(archive: archive, file: "model.pth").layers {
///   if let kurtosis = LayerMetric.kurtosis.value(of: layer) { print(layer.name, kurtosis) }
/// }
/// ```
public enum LayerMetric: String, Codable, Sendable, CaseIterable {
  case bytes, elements, condition
  case sigmaMax = "sigma-max"
  case sigmaMin = "sigma-min"
  case rank
  case stableRank = "stable-rank"
  case effectiveRank = "effective-rank"
  case entropy
  case frobenius, nuclear, alpha
  case channelSpread = "channel-spread"
  case kurtosis, zeros, nan, infinities, sqnr2, sqnr3, sqnr4
  case referenceCondition = "reference-condition"
  case referenceSQNR = "reference-sqnr"
  case alignment, concentration
  case outputSQNR2 = "output-sqnr2"
  case outputSQNR3 = "output-sqnr3"
  case outputSQNR4 = "output-sqnr4"

  /// Returns the layer's number, or `nil` if it has none.
  public func value(of layer: LayerReport) -> Double? {
    switch self {
    case .bytes: Double(layer.byteCount)
    case .elements: Double(layer.elementCount)
    case .condition: layer.conditionNumber
    case .sigmaMax: layer.sigmaMax
    case .sigmaMin: layer.sigmaMin
    case .rank: layer.numericalRank.map(Double.init)
    case .stableRank: layer.stableRank
    case .effectiveRank: layer.effectiveRank
    case .entropy: layer.spectralEntropy
    case .frobenius: layer.frobeniusNorm
    case .nuclear: layer.nuclearNorm
    case .alpha: layer.powerLaw?.alpha
    case .channelSpread: layer.statistics?.channelNormSpread
    case .kurtosis: layer.statistics?.kurtosis
    case .zeros: layer.statistics?.zeroShare
    case .nan: (layer.statistics?.nanCount).map(Double.init)
    case .infinities: (layer.statistics?.infinityCount).map(Double.init)
    case .sqnr2: layer.statistics?.quantization?.bits2
    case .sqnr3: layer.statistics?.quantization?.bits3
    case .sqnr4: layer.statistics?.quantization?.bits4
    case .referenceCondition: layer.reference?.conditionNumber
    case .referenceSQNR: layer.referenceSQNR
    case .alignment: layer.outputOutlook?.alignment
    case .concentration: layer.outputOutlook?.concentration
    case .outputSQNR2: layer.outputOutlook?.bits2
    case .outputSQNR3: layer.outputOutlook?.bits3
    case .outputSQNR4: layer.outputOutlook?.bits4
    }
  }

  /// Returns why a layer lacks a number that it should have, so that it fails; `nil` if the number
  /// is present or not applicable, as the condition number of a vector.
  func obstacle(in layer: LayerReport) -> String? {
    if let value = value(of: layer) { return value.isNaN ? "its \(rawValue) is not a number" : nil }
    switch self {
    case .condition, .sigmaMax, .sigmaMin, .rank, .stableRank, .effectiveRank, .entropy, .frobenius,
      .nuclear, .alpha, .referenceCondition:
      return layer.matrix == nil ? nil : layer.note
    case .referenceSQNR:
      return layer.matrix == nil ? nil : "the reference has no tensor of its name and shape"
    case .alignment, .concentration, .outputSQNR2, .outputSQNR3, .outputSQNR4:
      return layer.matrix == nil ? nil : layer.note ?? "no moments of its inputs were recorded"
    case .channelSpread, .kurtosis, .sqnr2, .sqnr3, .sqnr4:
      guard let statistics = layer.statistics else { return nil }
      let count = statistics.nanCount + statistics.infinityCount
      if count > 0 { return "\(count) of its elements are not finite" }
      guard let minimum = statistics.minimum, let maximum = statistics.maximum, isQuantizationNoise,
        minimum != 0 || maximum != 0
      else { return nil }
      return "Float32 cannot hold its values from \(minimum) to \(maximum)"
    default: return nil
    }
  }

  private var isQuantizationNoise: Bool { [.sqnr2, .sqnr3, .sqnr4].contains(self) }

  /// The key in JSON and CSV.
  var key: String {
    switch self {
    case .bytes: "byteCount"
    case .elements: "elementCount"
    case .condition: "conditionNumber"
    case .sigmaMax: "sigmaMax"
    case .sigmaMin: "sigmaMin"
    case .rank: "numericalRank"
    case .stableRank: "stableRank"
    case .effectiveRank: "effectiveRank"
    case .entropy: "spectralEntropy"
    case .frobenius: "frobeniusNorm"
    case .nuclear: "nuclearNorm"
    case .alpha: "alpha"
    case .channelSpread: "channelNormSpread"
    case .kurtosis: "kurtosis"
    case .zeros: "zeroShare"
    case .nan: "nanCount"
    case .infinities: "infinityCount"
    case .sqnr2, .sqnr3, .sqnr4: rawValue
    case .referenceCondition: "referenceConditionNumber"
    case .referenceSQNR: "referenceSQNR"
    case .alignment, .concentration: rawValue
    case .outputSQNR2: "outputSQNR2"
    case .outputSQNR3: "outputSQNR3"
    case .outputSQNR4: "outputSQNR4"
    }
  }

  /// The heading for people.
  var heading: String {
    switch self {
    case .bytes: "size"
    case .sigmaMax: "σ max"
    case .sigmaMin: "σ min"
    case .stableRank: "stable rank"
    case .effectiveRank: "effective rank"
    case .frobenius: "Frobenius norm"
    case .nuclear: "nuclear norm"
    case .channelSpread: "channel spread"
    case .nan: "NaN"
    case .infinities: "infinite"
    case .sqnr2: "SQNR 2"
    case .sqnr3: "SQNR 3"
    case .sqnr4: "SQNR 4"
    case .referenceCondition: "before"
    case .referenceSQNR: "SQNR to reference"
    case .alignment: "alignment dB"
    case .concentration: "concentration dB"
    case .outputSQNR2: "output SQNR 2"
    case .outputSQNR3: "output SQNR 3"
    case .outputSQNR4: "output SQNR 4"
    default: rawValue
    }
  }

  var kind: ReportTable.Column.Kind {
    switch self {
    case .bytes: .bytes
    case .elements, .rank, .nan, .infinities: .integer
    case .zeros: .share
    default: .real
    }
  }

  /// What the number says, in a sentence or two.
  var explanation: String {
    switch self {
    case .bytes: "The bytes of the elements, as the file's reader provides them."
    case .elements: "The number of elements."
    case .condition:
      "The condition number κ = σ max / σ min: by how much the weight can amplify a relative error "
        + "of its input. Infinite where the matrix is rank-deficient in double precision."
    case .sigmaMax: "The largest singular value: the most by which the weight stretches an input."
    case .sigmaMin: "The smallest of the min(rows, columns) singular values."
    case .rank: "The number of singular values above max(rows, columns) · 2⁻⁵² · σ max."
    case .stableRank:
      "The squared Frobenius norm over σ max²: how many directions carry the weight's energy, "
        + "between 1 and the rank."
    case .effectiveRank:
      "exp of the entropy of σ / Σσ: the number of equal singular values that would be as spread out."
    case .entropy: "The entropy of σ / Σσ in nats."
    case .frobenius: "The Frobenius norm: the root of the sum of squared elements."
    case .nuclear: "The nuclear norm: the sum of singular values."
    case .alpha:
      "The exponent of the power law fitted to the tail of σ². Trained layers often have 2 to 6; "
        + "larger values suggest that there is little structure."
    case .channelSpread:
      "The largest norm of an output channel over the smallest. A large spread wants bounds for each "
        + "channel."
    case .kurtosis:
      "The fourth central moment over the squared variance: 3 for a normal distribution, more with "
        + "outliers, which cost precision."
    case .zeros: "The share of elements that are zero."
    case .nan: "The number of elements that are not a number."
    case .infinities: "The number of infinite elements."
    case .sqnr2, .sqnr3, .sqnr4:
      "Signal-to-quantization-noise ratio of the weight in dB, rounded between its smallest and "
        + "largest element. 6 dB more halve the error; searched bounds do better."
    case .referenceCondition: "The condition number of the same layer in the reference."
    case .referenceSQNR:
      "The energy of the reference's weight over that of the difference to it, in dB. Infinite where "
        + "they are equal; 20 dB are a relative error of a tenth."
    case .alignment:
      "E‖Wx‖² / (‖W‖² · E‖x‖²) in dB over the calibrated inputs: how much of the inputs' energy the "
        + "weight lets through. Low where inputs lie in directions in which the weight is small; "
        + "errors do not, and weigh the more."
    case .concentration:
      "The mean square of the calibrated inputs over their squared range, in dB: how well they use "
        + "the range that a quantizer has to cover. −10.8 dB for a uniform distribution; outliers "
        + "lower it."
    case .outputSQNR2, .outputSQNR3, .outputSQNR4:
      "Predicted signal-to-quantization-noise ratio of the layer's output in dB, if weight and inputs "
        + "are rounded between their smallest and largest values. Below 0 dB nothing is left of the "
        + "output."
    }
  }

  /// Returns the number as formatted in reports.
  func formatted(_ value: Double) -> String {
    cell(value).formatted(as: kind)
  }

  /// Returns the number as a report cell.
  func cell(_ value: Double?) -> ReportCell {
    guard let value else { return .empty }
    switch kind {
    case .integer, .bytes: return Int(exactly: value).map(ReportCell.integer) ?? .real(value)
    default: return .real(value)
    }
  }

  /// The units that may follow a number in a rule, with their factors.
  var units: [String: Double] {
    switch self {
    case .bytes: ByteUnit.factors
    case .zeros: ["%": 0.01]
    case .sqnr2, .sqnr3, .sqnr4, .referenceSQNR, .alignment, .concentration, .outputSQNR2,
      .outputSQNR3, .outputSQNR4:
      ["dB": 1]
    default: [:]
    }
  }
}
