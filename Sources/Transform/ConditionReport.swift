import Formats

/// A report on conditioning each weight matrix of a model.
package struct ConditionReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 1

  package let schemaVersion: Int
  package let input: String
  package let output: String
  /// The part of a nested checkpoint whose weights were conditioned; `nil` for all of it.
  package let root: String?
  /// The path of the calibration; `nil` without one, when every input was assumed to be white
  /// (`H = I`).
  package let calibration: String?
  /// The limit of the condition number; `nil` with a penalty.
  package let targetCondition: Double?
  /// The weight of the penalty; `nil` with a target.
  package let penalty: Double?
  /// The groups of stored tensors in the input; `nil` if there are none.
  package var groups: [TensorGroup]?
  /// What was renamed, left out and cast in the output; `nil` without such edits.
  package var edits: EditReport?
  /// The matrices in the archive's order; those of a stacked weight are listed separately.
  package let matrices: [ConditionedMatrix]

  package init(
    input: String, output: String, root: String?, calibration: String?,
    constraint: ConditionConstraint, matrices: [ConditionedMatrix]
  ) {
    schemaVersion = Self.currentSchemaVersion
    self.input = input
    self.output = output
    self.root = root
    self.calibration = calibration
    switch constraint {
    case .target(let target): (targetCondition, penalty) = (target, nil)
    case .penalty(let weight): (targetCondition, penalty) = (nil, weight)
    }
    self.matrices = matrices
  }
}
