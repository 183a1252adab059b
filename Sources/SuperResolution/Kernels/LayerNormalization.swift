import CKernels

/// Layer normalization: brings rows to zero mean and unit variance, then scales and shifts each
/// column.
struct LayerNormalization: Sendable {
  let columns: Int
  let epsilon: Float
  private let gamma: [Float]
  private let beta: [Float]

  /// - Parameters:
  ///   - gamma: the factor of each column.
  ///   - beta: the offset of each column.
  ///   - epsilon: added to the variance; PyTorch's default is 1e-5.
  init(gamma: [Float], beta: [Float], epsilon: Float = 1e-5) {
    precondition(gamma.count == beta.count && !gamma.isEmpty)
    columns = gamma.count
    self.epsilon = epsilon
    self.gamma = gamma
    self.beta = beta
  }

  /// Normalizes `rows` rows; `y` may be `x`.
  func apply(
    rows: Int, _ x: UnsafePointer<Float>, stride xStride: Int, to y: UnsafeMutablePointer<Float>,
    stride yStride: Int
  ) {
    ck_layer_norm(rows, columns, x, xStride, gamma, beta, epsilon, y, yStride)
  }
}
