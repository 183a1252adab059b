import Formats

/// A requirement that a packed file must meet.
public enum VerificationGate: Hashable, Sendable {
  /// A compression ratio of at least `minimum`.
  case ratio(RatioName, minimum: Double)
  /// A file of at most so many bytes.
  case fileByteCount(maximum: Int)
  /// Every quantized layer's signal-to-quantization-noise of at least `minimum` dB; needs a
  /// reference.
  case signalToQuantizationNoise(minimum: Double)
  /// Every weight matrix's condition number, as dequantized, of at most `maximum`.
  case conditionNumber(maximum: Double)

  /// The ratios of `PackedSummary`, by the names that reports and options use.
  public enum RatioName: String, CaseIterable, Sendable {
    case paper, parameters, file, tensors
  }

  /// A requirement beside what was found.
  public struct Outcome: Codable, Hashable, Sendable {
    /// What was asked for, in words.
    public let requirement: String
    /// `nil` when it could not be measured, which does not meet the requirement.
    public let found: Double?
    /// The layer that decided, where there is one.
    public let layer: String?
    /// Whether `found` meets it.
    public let isMet: Bool
  }

  /// - Parameter condition: the worst of all layers, for the gate that asks for it.
  func outcome(
    summary: PackedSummary?, fidelity: FidelityReport?, condition: WorstCondition?
  ) -> Outcome {
    switch self {
    case .ratio(let name, let minimum):
      let found = summary?.ratios.value(name)
      return Outcome(
        requirement: "ratio \(name.rawValue) of at least \(minimum)", found: found, layer: nil,
        isMet: found.map { $0 >= minimum } ?? false)
    case .fileByteCount(let maximum):
      return Outcome(
        requirement: "at most \(maximum) bytes", found: summary.map { Double($0.fileByteCount) },
        layer: nil, isMet: summary.map { $0.fileByteCount <= maximum } ?? false)
    case .signalToQuantizationNoise(let minimum):
      let worst = fidelity?.layers.min {
        $0.signalToQuantizationNoise < $1.signalToQuantizationNoise
      }
      return Outcome(
        requirement: "SQNR of every layer of at least \(minimum) dB",
        found: worst?.signalToQuantizationNoise, layer: worst?.name,
        isMet: worst.map { $0.signalToQuantizationNoise >= minimum } ?? false)
    case .conditionNumber(let maximum):
      return Outcome(
        requirement: "condition number of every layer of at most \(ReportNumber.real(maximum))",
        found: condition?.conditionNumber, layer: condition?.layer,
        isMet: condition.map { $0.conditionNumber <= maximum } ?? false)
    }
  }
}

extension PackedSummary.Ratios {
  func value(_ name: VerificationGate.RatioName) -> Double? {
    switch name {
    case .paper: paper
    case .parameters: parameters
    case .file: file
    case .tensors: tensors
    }
  }
}
