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
    case .sqnr2, .sqnr3, .sqnr4: ["dB": 1]
    default: [:]
    }
  }
}
