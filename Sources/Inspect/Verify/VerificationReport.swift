import Formats
import LinearAlgebra

/// Whether a packed file is whole, how small it is, and how true to a reference.
public struct VerificationReport: Codable, Hashable, Sendable {
  public static let currentSchemaVersion = 1

  public let schemaVersion: Int
  public let file: String
  /// Every byte is accounted for and has the content its checksums say.
  public let isWhole: Bool
  public let faults: [Fault]
  public let summary: PackedSummary
  /// The comparison with a full-precision reference; `nil` when none was given.
  public let fidelity: FidelityReport?
  /// The requirements that were asked for, met or not.
  public let gates: [VerificationGate.Outcome]
  /// The file is whole, is true to its reference, and every requirement is met.
  public let isPassed: Bool

  /// Something wrong with the file, with its place.
  public struct Fault: Codable, Hashable, Sendable {
    public let tensor: String?
    public let offset: Int?
    public let message: String
  }

  /// Checks every byte of `model` and compares it with `reference`.
  ///
  /// - Parameters:
  ///   - file: the packed file's path as the user gave it.
  ///   - reference: the full-precision tensors under the same names, and their file.
  ///   - gates: requirements to check.
  ///   - progress: called with the bytes of each tensor done, from any thread.
  /// - Throws: `FormatError` when the reference cannot be read; faults of the packed file are part
  ///   of the report.
  public init(
    file: String, model: PackedModel, reference: (file: String, archive: TensorArchive)? = nil,
    gates: [VerificationGate] = [], threads: Int, progress: (@Sendable (Int) -> Void)? = nil
  ) throws {
    let faults = try model.verifyRecords { count, task in
      _ = try parallelMap(count: count, threads: threads) { try task($0) }
    }
    schemaVersion = Self.currentSchemaVersion
    self.file = file
    self.faults = faults.map { Fault(tensor: $0.tensor, offset: $0.offset, message: $0.message) }
    isWhole = faults.isEmpty
    let summary = PackedSummary(model)
    self.summary = summary
    // Damaged tensors cannot be compared; saying so once, as a fault, is enough.
    let fidelity =
      faults.isEmpty
      ? try reference.map {
        try FidelityReport(
          model: model, reference: $0.archive, file: $0.file, threads: threads, progress: progress)
      } : nil
    self.fidelity = fidelity
    self.gates = gates.map { $0.outcome(summary: summary, fidelity: fidelity) }
    isPassed = isWhole && (fidelity?.isTrue ?? true) && self.gates.allSatisfy(\.isMet)
  }
}
