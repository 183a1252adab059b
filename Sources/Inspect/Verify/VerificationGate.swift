import Formats
import LinearAlgebra
import Ranks
import Reports
import Storage

/// A requirement that a packed file must meet.
///
/// ```swift
/// let report = try VerificationReport(
///   file: "model.condi", PackedExamination(InputFile(path: "model.condi")),
///   gates: [.ratio(.paper, minimum: 3.3), .fileByteCount(maximum: 1_000_000)], threads: 4)
/// for gate in report.gates where !gate.isMet { print(gate.requirement, gate.found ?? .nan) }
/// ```
public enum VerificationGate: Hashable, Sendable {
  /// A compression ratio of at least `minimum`.
  case ratio(RatioName, minimum: Double)
  /// A file of at most this many bytes.
  case fileByteCount(maximum: Int)
  /// A signal-to-quantization-noise ratio of at least `minimum` dB for every quantized layer; needs
  /// a reference.
  case signalToQuantizationNoise(minimum: Double)
  /// A condition number of at most `maximum` for every weight matrix, as dequantized.
  case conditionNumber(maximum: Double)

  /// The ratios of `PackedSummary`, by the names that reports and options use.
  public enum RatioName: String, CaseIterable, Sendable {
    case paper, parameters, file, tensors
  }

  /// A requirement and its result.
  public struct Outcome: Codable, Hashable, Sendable {
    /// The requirement in words.
    public let requirement: String
    /// The measured value; `nil` if it could not be measured, which fails the requirement.
    public let found: Double?
    /// The reason it could not be measured; `nil` if it was.
    public let obstacle: String?
    /// The layer that determined the result, if there is one.
    public let layer: String?
    /// Whether `found` meets the requirement.
    public let isMet: Bool

    init(
      _ requirement: String, found: Double?, orElse obstacle: String, layer: String? = nil,
      _ isMet: (Double) -> Bool
    ) {
      self.requirement = requirement
      // NaN counts as not measured.
      let measured = found.flatMap { $0.isNaN ? nil : $0 }
      self.found = measured
      self.obstacle = measured == nil ? obstacle : nil
      self.layer = layer
      self.isMet = measured.map(isMet) ?? false
    }
  }

  /// Evaluates the gate.
  ///
  /// - Parameter condition: The worst layer, for the condition number gate.
  func outcome(
    summary: PackedSummary?, fidelity: FidelityReport?, condition: WorstCondition?
  ) -> Outcome {
    switch self {
    case .ratio(let name, let minimum):
      return Outcome(
        "ratio \(name.rawValue) of at least \(minimum)", found: summary?.ratio(name),
        orElse: Self.obstacle(to: name, summary)
      ) { $0 >= minimum }
    case .fileByteCount(let maximum):
      return Outcome(
        "at most \(maximum) bytes", found: summary.map { Double($0.fileByteCount) },
        orElse: Self.damage
      ) { $0 <= Double(maximum) }
    case .signalToQuantizationNoise(let minimum):
      let worst = fidelity?.layers.min {
        $0.signalToQuantizationNoise < $1.signalToQuantizationNoise
      }
      return Outcome(
        "SQNR of every layer of at least \(minimum) dB", found: worst?.signalToQuantizationNoise,
        orElse: fidelity == nil
          ? Self.damage : "the reference has no quantized tensor of the file in the same shape",
        layer: worst?.name
      ) { $0 >= minimum }
    case .conditionNumber(let maximum):
      return Outcome(
        "condition number of every layer of at most \(ReportNumber.real(maximum))",
        found: condition?.conditionNumber,
        orElse: summary == nil ? Self.damage : "the file has no weight matrix",
        layer: condition?.layer
      ) { $0 <= maximum }
    }
  }

  private static let damage = "the file is damaged"

  private static func obstacle(to name: RatioName, _ summary: PackedSummary?) -> String {
    guard summary != nil else { return damage }
    return name == .file
      ? "the file does not say how large its source was" : "the file holds no quantized tensor"
  }
}

extension PackedSummary {
  /// Returns the ratio by name.
  ///
  /// - Returns: `nil` if it cannot be measured, such as the savings of quantization when nothing is
  ///   quantized.
  fileprivate func ratio(_ name: VerificationGate.RatioName) -> Double? {
    switch name {
    case .paper: quantizedTensorCount > 0 ? ratios.paper : nil
    case .parameters: quantizedTensorCount > 0 ? ratios.parameters : nil
    case .file: ratios.file
    case .tensors: ratios.tensors
    }
  }
}

/// The weight matrix of a packed file with the largest condition number, as dequantized.
struct WorstCondition {
  let layer: String
  /// σ_max/σ_min; infinite for a rank-deficient matrix.
  let conditionNumber: Double

  /// Finds the matrix by computing the spectra of all weight matrices.
  ///
  /// - Returns: `nil` if the file has no weight matrices.
  /// - Throws: `ModelError` if a tensor cannot be read; `LAPACKError` if one is not finite.
  init?(of model: PackedModel, sharedAmong workers: Workers) throws {
    let weights = model.header.entries.filter {
      $0.role == .weight && $0.elementType.isFloatingPoint && $0.shape.matrix != nil
    }.sorted { $0.shape.elementCount > $1.shape.elementCount }
    let numbers = try workers.mapMatrices(
      ofElementCounts: weights.map(\.shape.elementCount)
    ) { index -> Double in
      let entry = weights[index]
      guard let tensor = try model.tensor(named: entry.name),
        let (rows, columns) = entry.shape.matrix
      else { return 0 }
      return try locatingErrors(tensor: entry.name) {
        try Spectrum(of: Matrix(rows: rows, columns: columns, values: tensor.doubleValues()))
          .conditionNumber
      }
    }
    guard let worst = numbers.indices.max(by: { numbers[$0] < numbers[$1] }) else { return nil }
    layer = weights[worst].name
    conditionNumber = numbers[worst]
  }
}
