import Formats

/// What writing a packed model for another runtime, or reading such a model, kept and changed.
package struct ExportReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 1

  /// Which way the tensors went.
  package enum Direction: String, Codable, CaseIterable, Sendable {
    case export
    case `import`
  }

  package let schemaVersion: Int
  package let direction: Direction
  /// The other format: of the output for exports, of the input for imports.
  package let format: String
  package let input: String
  package let inputByteCount: Int
  package let files: [ExportOutcome.File]
  /// In the input's order.
  package let tensors: [ExportedTensor]
  package let notes: [String]

  package init(
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
