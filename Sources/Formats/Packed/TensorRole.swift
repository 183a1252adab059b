/// What a tensor is in a model, which decides how compression ratios count it.
public enum TensorRole: String, Sendable, CaseIterable, Codable {
  /// A floating-point matrix or convolution, quantized or not.
  case weight
  /// Any other learned tensor, such as a bias.
  case parameter
  /// A learned table of position biases, which the papers' ratio leaves out.
  case positionTable
  /// A tensor that follows from the architecture (index, mask) or a running statistic.
  case buffer
}
