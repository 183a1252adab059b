import Formats

/// What writing a packed model for another runtime, or reading such a model, kept and changed.
public struct ExportReport: Codable, Hashable, Sendable {
  public static let currentSchemaVersion = 1

  /// Which way the tensors went.
  public enum Direction: String, Codable, CaseIterable, Sendable {
    case export
    case `import`
  }

  public let schemaVersion: Int
  public let direction: Direction
  /// The other format: of the output for exports, of the input for imports.
  public let format: String
  public let input: String
  public let inputByteCount: Int
  public let files: [ExportOutcome.File]
  /// In the input's order.
  public let tensors: [ExportedTensor]
  public let notes: [String]

  public init(
    _ direction: Direction, format: String, input: String, inputByteCount: Int,
    outcome: ExportOutcome
  ) {
    schemaVersion = Self.currentSchemaVersion
    self.direction = direction
    self.format = format
    self.input = input
    self.inputByteCount = inputByteCount
    files = outcome.files
    tensors = outcome.tensors
    notes = outcome.notes
  }
}
