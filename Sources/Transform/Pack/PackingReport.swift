import Formats
import Storage

/// A report on packing a model: sizes, ratios, and the loss of each quantized tensor.
package struct PackingReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 1

  package let schemaVersion: Int
  package let input: String
  package let output: String
  /// The part of a nested checkpoint that was packed; `nil` for all of it.
  package let root: String?
  package let recipe: String
  /// The method by which the whole model was quantized.
  package let method: QuantizationMethod
  /// The path of the calibration; `nil` without one, in which case only weights are quantized.
  package let calibration: String?
  /// The summary of distillation; `nil` without it.
  package let distillation: DistillationSummary?
  /// The number of quantized activations.
  package let activationCount: Int
  package let sourceByteCount: Int
  package let tensorCount: Int
  package let summary: PackedSummary
  /// The parts of the input that could not be read; `nil` if there are none.
  package var unread: [UnreadEntry]?
  /// The groups of stored tensors in the input; `nil` if there are none.
  package var groups: [TensorGroup]?
  /// What edits changed before packing; `nil` without edits.
  package let edits: EditReport?
  /// Quantized tensors in the archive's order, shared ones once.
  package let layers: [QuantizationSummary]
  /// All other tensors, in the same order.
  package let kept: [KeptTensor]

  /// Returns the report with the facts about the input added.
  package func describing(_ archive: TensorArchive) -> PackingReport {
    var report = self
    report.unread = archive.unread.nilIfEmpty
    report.groups = archive.groups.nilIfEmpty
    return report
  }

  /// - Parameters:
  ///   - changes: what edits changed before packing.
  ///   - calibration: the path of the material with which the model was calibrated.
  /// - Throws: `ModelError` when the file's header names no source or has no recipe that this
  ///   program can read, or when a cast tensor cannot be read.
  package init(
    _ outcome: CompressionOutcome, changes: ArchiveChanges? = nil, input: String, output: String,
    calibration: String? = nil
  ) throws {
    let header = outcome.header
    guard let source = header.source, let json = header.recipe else {
      throw ModelError.malformed("the plan is not for packing", path: output)
    }
    let recipe = try Recipe(json, source: "the plan's recipe")
    schemaVersion = Self.currentSchemaVersion
    self.input = input
    self.output = output
    root = source.root
    self.recipe = recipe.name
    method = recipe.method.method
    self.calibration = calibration
    edits = try changes.map(EditReport.init)
    distillation = outcome.distillation
    activationCount = header.activations.count
    sourceByteCount = source.byteCount
    tensorCount = header.names.count
    summary = outcome.summary
    layers = outcome.layers
    kept = try KeptTensor.list(of: header)
  }
}
