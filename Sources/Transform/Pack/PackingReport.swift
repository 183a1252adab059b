import Formats
import Storage

/// What packing a model did: sizes, ratios, and what each quantized tensor lost.
package struct PackingReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 1

  package let schemaVersion: Int
  package let input: String
  package let output: String
  /// The part of a nested checkpoint that was packed; `nil` for all of it.
  package let root: String?
  package let recipe: String
  /// How the model was quantized as a whole; `nil` where each weight was rounded on its own.
  package let method: QuantizationMethod?
  /// The calibration's file; `nil` without one, then the weights alone are quantized.
  package let calibration: String?
  /// What distillation did; `nil` without.
  package let distillation: DistillationSummary?
  /// Activations that are quantized.
  package let activationCount: Int
  package let sourceByteCount: Int
  package let tensorCount: Int
  package let summary: PackedSummary
  /// What could not be read of the input; `nil` where that is nothing.
  package var unread: [UnreadEntry]?
  /// Stored tensors of the input that belong together; `nil` where there are none.
  package var groups: [TensorGroup]?
  /// Quantized tensors in the archive's order, shared ones once.
  package let layers: [QuantizationSummary]
  /// All other tensors, in the same order.
  package let kept: [KeptTensor]

  /// The report with what is known of the input alone.
  package func describing(_ archive: TensorArchive) -> PackingReport {
    var report = self
    report.unread = archive.unread.nilIfEmpty
    report.groups = archive.groups.nilIfEmpty
    return report
  }

  /// - Parameter calibration: what the model was calibrated on, by its path.
  /// - Throws: `ModelError` when the file's header does not say what it was made from, or has no recipe
  ///   that this program knows.
  package init(
    _ outcome: CompressionOutcome, input: String, output: String, calibration: String? = nil
  ) throws {
    let header = outcome.header
    guard let source = header.source, let json = header.recipe else {
      throw ModelError.malformed("the plan is not one for packing", path: output)
    }
    let recipe = try Recipe(json, source: "the plan's recipe")
    schemaVersion = Self.currentSchemaVersion
    self.input = input
    self.output = output
    root = source.root
    self.recipe = recipe.name
    method = recipe.method?.method
    self.calibration = calibration
    distillation = outcome.distillation
    activationCount = header.activations.count
    sourceByteCount = source.byteCount
    tensorCount = header.names.count
    summary = outcome.summary
    layers = outcome.layers
    kept = try KeptTensor.list(of: header)
  }
}
