import Formats

/// What a recipe would make of a model, before anything is written.
public struct PlanReport: Codable, Hashable, Sendable {
  public static let currentSchemaVersion = 1

  public let schemaVersion: Int
  public let input: String
  /// The part of a nested checkpoint; `nil` for all of it.
  public let root: String?
  public let recipe: String
  /// What bit widths were chosen for, in words; `nil` where the recipe fixes them.
  public let budget: String?
  public let quantizedTensorCount: Int
  public let quantizedElementCount: Int
  public let parameterCount: Int
  /// Codes, bounds and full-precision tensors, without buffers.
  public let payloadByteCount: Int
  /// Bits of codes, bounds and scales a quantized weight; 0 when there is none.
  public let bitsPerWeight: Double
  public let paperRatio: Double
  public let parametersRatio: Double
  /// Quantized tensors in the archive's order, shared ones once.
  public let layers: [Layer]

  public struct Layer: Codable, Hashable, Sendable {
    public let name: String
    public let shape: [Int]
    public let bitWidth: Int
    public let granularity: String
    /// Bytes of codes and bounds.
    public let payloadByteCount: Int
    /// What rounding to nearest at these bits is expected to cost the output,
    /// `E‖(W − Ŵ)x‖² / E‖Wx‖²`; `nil` without a budget.
    public let relativeOutputError: Double?
  }

  public init(
    input: String, root: String?, plan: QuantizationPlan, choices: [BudgetPlanner.Choice]
  ) {
    let errors = Dictionary(choices.map { ($0.name, $0.relativeOutputError) }) { first, _ in first }
    let layers = plan.quantizedNames.compactMap { name -> Layer? in
      guard let entry = plan.entries[name], let quantization = entry.quantization else {
        return nil
      }
      return Layer(
        name: name, shape: entry.shape.dimensions, bitWidth: quantization.bitWidth,
        granularity: "\(quantization.layout.granularity)",
        payloadByteCount: entry.payloadByteCount, relativeOutputError: errors[name])
    }
    let byteCount = layers.reduce(0) { $0 + $1.payloadByteCount }
    schemaVersion = Self.currentSchemaVersion
    self.input = input
    self.root = root
    recipe = plan.recipe.name
    budget = plan.recipe.budget?.description
    quantizedTensorCount = layers.count
    quantizedElementCount = plan.quantizedElementCount
    parameterCount = plan.parameterCount
    payloadByteCount = plan.payloadByteCount
    bitsPerWeight =
      plan.quantizedElementCount > 0
      ? Double(byteCount) * 8 / Double(plan.quantizedElementCount) : 0
    paperRatio = plan.ratios.paper
    parametersRatio = plan.ratios.parameters
    self.layers = layers
  }
}
