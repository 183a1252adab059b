import Formats

/// A report on what a recipe would do to a model, before anything is written.
package struct PlanReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 1

  package let schemaVersion: Int
  package let input: String
  /// The part of a nested checkpoint; `nil` for all of it.
  package let root: String?
  package let recipe: String
  /// The budget for which bit widths were chosen, in words; `nil` if the recipe determines them.
  package let budget: String?
  package let quantizedTensorCount: Int
  package let quantizedElementCount: Int
  package let parameterCount: Int
  /// The number of bytes of codes, bounds and full-precision tensors, without buffers.
  package let payloadByteCount: Int
  /// The bits of codes, bounds and scales per quantized weight; 0 if there is none.
  package let bitsPerWeight: Double
  package let paperRatio: Double
  package let parametersRatio: Double
  /// The parts of the input that could not be read; `nil` if there are none.
  package var unread: [UnreadEntry]?
  /// The groups of stored tensors in the input; `nil` if there are none.
  package var groups: [TensorGroup]?
  /// What is renamed, left out and cast before packing; `nil` without such edits.
  package var edits: EditReport?
  /// Quantized tensors in the archive's order, shared ones once.
  package let layers: [Layer]
  /// All other tensors, in the same order.
  package let kept: [KeptTensor]

  package struct Layer: Codable, Hashable, Sendable {
    package let name: String
    package let shape: [Int]
    package let bitWidth: Int
    package let granularity: String
    /// The number of bytes of codes and bounds.
    package let payloadByteCount: Int
    /// The expected output error of rounding to nearest at this bit width,
    /// `E‖(W − Ŵ)x‖² / E‖Wx‖²`; `nil` without a budget.
    package let relativeOutputError: Double?
  }

  package init(
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
    kept = plan.keptTensors
  }
}
