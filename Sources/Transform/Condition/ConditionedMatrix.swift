/// What conditioning did to one weight matrix of a model.
public struct ConditionedMatrix: Codable, Hashable, Sendable {
  /// The tensor's name.
  public let name: String
  /// Which of several stacked matrices, counted from zero; `nil` where the weight is one.
  public let part: Int?
  /// Output features of the matrix `[rows, columns]`.
  public let rows: Int
  /// Input features; for a convolution `in·kh·kw`.
  public let columns: Int
  /// Whether the inputs' second moment was known; otherwise it was taken to be the identity.
  public let isCalibrated: Bool
  /// `σ_max / σ_min` as it was; `nil` for zero matrices and infinite for singular ones.
  public let conditionNumberBefore: Double?
  /// `σ_max / σ_min` of the result, likewise.
  public let conditionNumberAfter: Double?
  /// Steps of proximal gradient descent; 0 where the matrix met the target.
  public let iterationCount: Int
  /// `E‖(W' − W)x‖² / E‖Wx‖²`; zero for matrices that stay bit for bit.
  public let relativeOutputError: Double
  /// Whether any bit changed.
  public let isChanged: Bool
}
