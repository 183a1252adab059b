import Formats

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

  /// - Parameter header: of the packed file. What is kept is listed from it alone, as it is for a file
  ///   that several processes wrote.
  /// - Throws: `ModelError` when the header has no recipe that this program knows.
  package init(
    input: String, output: String, source: PackedHeader.Source, plan: QuantizationPlan,
    header: PackedHeader, calibration: String? = nil, distillation: DistillationSummary? = nil,
    activationCount: Int = 0, summary: PackedSummary, layers: [QuantizationSummary]
  ) throws {
    self.init(
      input: input, output: output, source: source, recipe: plan.recipe,
      tensorCount: plan.entries.count, calibration: calibration, distillation: distillation,
      activationCount: activationCount, summary: summary, layers: layers,
      kept: try KeptTensor.list(of: header))
  }

  /// The report with what is known of the input alone.
  package func describing(_ archive: TensorArchive) -> PackingReport {
    var report = self
    report.unread = archive.unread.nilIfEmpty
    report.groups = archive.groups.nilIfEmpty
    return report
  }

  /// - Parameter tensorCount: of the part of the model that was packed.
  package init(
    input: String, output: String, source: PackedHeader.Source, recipe: Recipe, tensorCount: Int,
    calibration: String? = nil, distillation: DistillationSummary? = nil,
    activationCount: Int = 0, summary: PackedSummary, layers: [QuantizationSummary],
    kept: [KeptTensor]
  ) {
    schemaVersion = Self.currentSchemaVersion
    self.input = input
    self.output = output
    root = source.root
    self.recipe = recipe.name
    method = recipe.method?.method
    self.calibration = calibration
    self.distillation = distillation
    self.activationCount = activationCount
    sourceByteCount = source.byteCount
    self.tensorCount = tensorCount
    self.summary = summary
    self.layers = layers
    self.kept = kept
  }
}
