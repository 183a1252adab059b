import CKernels

/// A linear layer, y = W x + b, with its weights in the order in which the processor reads them.
final class Linear: Sendable {
  let inputs: Int
  let outputs: Int
  /// Never written to after `init`, and freed by `deinit` alone.
  private nonisolated(unsafe) let handle: OpaquePointer

  /// - Parameters:
  ///   - weight: `[outputs, inputs]`, row-major.
  ///   - bias: `[outputs]`; `nil` for no bias.
  init(weight: [Float], bias: [Float]?, outputs: Int, inputs: Int) {
    precondition(weight.count == outputs * inputs && (bias?.count ?? outputs) == outputs)
    guard let handle = ck_linear_create(weight, bias, outputs, inputs) else {
      fatalError("out of memory for a linear layer of \(outputs) × \(inputs)")
    }
    self.handle = handle
    self.inputs = inputs
    self.outputs = outputs
  }

  deinit { ck_linear_destroy(handle) }

  /// Computes y[r, :] = epilogue(W x[r, :] + b) for `rows` rows; `y` may be the epilogue's
  /// residual, but not `x`.
  ///
  /// - Parameters:
  ///   - x: `rows` rows of `inputs` elements, `xStride` apart.
  ///   - y: `rows` rows of `outputs` elements, `yStride` apart; their contents are not read.
  func apply(
    rows: Int, _ x: UnsafePointer<Float>, stride xStride: Int, to y: UnsafeMutablePointer<Float>,
    stride yStride: Int, then epilogue: Epilogue = .none
  ) {
    let (kind, residual, residualStride) = epilogue.parts
    ck_linear_apply(handle, rows, x, xStride, y, yStride, kind, residual, residualStride)
  }
}
