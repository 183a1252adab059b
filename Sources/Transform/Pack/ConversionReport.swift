import Formats

/// A report on a conversion to a format that is not packed, with changed names or element types.
package struct ConversionReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 1

  package let schemaVersion: Int
  package let input: String
  package let output: String
  /// The name of the output's format.
  package let format: String
  /// The part of a nested checkpoint that was taken; `nil` for all of it.
  package let root: String?
  package let tensorCount: Int
  package let edits: EditReport
  /// Whether nothing was written; `nil` if the output was.
  package let isPlan: Bool?

  package init(
    input: String, output: String, format: String, root: String?, tensorCount: Int,
    edits: EditReport, isPlan: Bool = false
  ) {
    schemaVersion = Self.currentSchemaVersion
    self.input = input
    self.output = output
    self.format = format
    self.root = root
    self.tensorCount = tensorCount
    self.edits = edits
    self.isPlan = isPlan ? true : nil
  }
}

/// What was renamed, left out and cast on the way to an output, and what the casts changed.
package struct EditReport: Codable, Hashable, Sendable {
  /// Tensors and values with another name, in the input's order.
  package let renamed: [ArchiveChanges.Renaming]
  /// The names of tensors and values that were left out.
  package let dropped: [String]
  /// Cast tensors, in the output's order; those that share their elements once.
  package let casts: [CastLoss]
  /// Tensors that a pattern matches but that keep their type.
  package let uncast: [ArchiveChanges.Uncast]
  /// The sum of each count over all casts.
  package let castElementCount, roundedCount, overflowCount, zeroedCount, subnormalCount: Int

  /// - Throws: `ModelError` when a cast tensor that was not loaded since cannot be read.
  package init(_ changes: ArchiveChanges) throws {
    renamed = changes.renamed
    dropped = changes.dropped
    let casts = try changes.castLosses()
    self.casts = casts
    uncast = changes.uncast
    func sum(_ count: KeyPath<CastLoss, Int>) -> Int {
      casts.reduce(0) { $0 + $1[keyPath: count] }
    }
    castElementCount = sum(\.elementCount)
    roundedCount = sum(\.roundedCount)
    overflowCount = sum(\.overflowCount)
    zeroedCount = sum(\.zeroedCount)
    subnormalCount = sum(\.subnormalCount)
  }
}
