/// What a tensor is in a model, which decides how compression ratios count it.
public enum TensorRole: String, Sendable, CaseIterable, Codable {
  /// A weight matrix that is quantized.
  case weight
  /// A learned tensor that stays as it is.
  case parameter
  /// A learned table of position biases, which the papers' ratio leaves out.
  case positionTable
  /// A tensor that follows from the architecture (index, mask) or a running statistic.
  case buffer
}
