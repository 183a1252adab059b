/// What conditioning did to each weight matrix of a model.
public struct ConditionReport: Codable, Hashable, Sendable {
  public static let currentSchemaVersion = 1

  public let schemaVersion: Int
  public let input: String
  public let output: String
  /// The part of a nested checkpoint whose weights were conditioned; `nil` for all of it.
  public let root: String?
  /// The calibration's file; `nil` without one, then every input was taken to be white (`H = I`).
  public let calibration: String?
  /// The limit of the condition number, or `nil` with a penalty.
  public let targetCondition: Double?
  /// The weight of the penalty, or `nil` with a target.
  public let penalty: Double?
  /// The matrices in the archive's order; those of a stacked weight apart.
  public let matrices: [Matrix]

  public struct Matrix: Codable, Hashable, Sendable {
    /// The tensor's name.
    public let name: String
    /// Which of several stacked matrices, counted from zero; `nil` where the weight is one.
    public let part: Int?
    public let rows: Int
    public let columns: Int
    /// Whether the inputs' second moment was known; otherwise it was taken to be the identity.
    public let isCalibrated: Bool
    /// `σ_max / σ_min`; `nil` for zero matrices and infinite for singular ones.
    public let conditionNumberBefore: Double?
    public let conditionNumberAfter: Double?
    public let iterationCount: Int
    /// `E‖(W' − W)x‖² / E‖Wx‖²`; zero for matrices that stay bit for bit.
    public let relativeOutputError: Double
    /// Whether any bit changed.
    public let isChanged: Bool
  }

  public init(
    input: String, output: String, root: String?, calibration: String?,
    constraint: ConditionConstraint, matrices: [Matrix]
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
