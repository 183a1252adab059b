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

  /// Returns the normalization with results coded by `quantizer`; `nil` where the kernels cannot do it, see
  /// `ck_coded_norm_create`.
  func coded(by quantizer: ck_quantizer) -> CodedNormalization? {
    withUnsafePointer(to: quantizer) {
      ck_coded_norm_create(columns, gamma, beta, epsilon, $0).map(CodedNormalization.init)
    }
  }
}

/// Layer normalization whose results are codes.
final class CodedNormalization: Sendable {
  /// Never written to after `init`, and freed by `deinit` alone.
  private nonisolated(unsafe) let handle: OpaquePointer

  fileprivate init(_ handle: OpaquePointer) { self.handle = handle }

  deinit { ck_coded_norm_destroy(handle) }

  /// Codes `rows` normalized rows.
  func apply(rows: Int, _ x: UnsafePointer<Float>, stride: Int, to y: CodeRows) {
    withUnsafePointer(to: y.native) { ck_coded_norm_apply(handle, rows, x, stride, $0) }
  }
}
