import Formats

/// What packing a model did: sizes, ratios, and what each quantized tensor lost.
public struct PackingReport: Codable, Hashable, Sendable {
  public static let currentSchemaVersion = 1

  public let schemaVersion: Int
  public let input: String
  public let output: String
  /// The part of a nested checkpoint that was packed; `nil` for all of it.
  public let root: String?
  public let recipe: String
  public let sourceByteCount: Int
  public let tensorCount: Int
  public let summary: PackedSummary
  /// Quantized tensors in the archive's order, shared ones once.
  public let layers: [QuantizationSummary]

  public init(
    input: String, output: String, source: PackedHeader.Source, plan: QuantizationPlan,
    summary: PackedSummary, layers: [QuantizationSummary]
  ) {
    schemaVersion = Self.currentSchemaVersion
    self.input = input
    self.output = output
    root = source.root
    recipe = plan.recipe.name
    sourceByteCount = source.byteCount
    tensorCount = plan.entries.count
    self.summary = summary
    self.layers = layers
  }
}
