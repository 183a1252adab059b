import CKernels

/// A 3×3 convolution with zero padding over images with channels last.
final class Convolution: Sendable {
  let inputs: Int
  let outputs: Int
  /// Never written to after `init`, and freed by `deinit` alone.
  private nonisolated(unsafe) let handle: OpaquePointer

  /// - Parameters:
  ///   - weight: `[outputs, inputs, 3, 3]`, row-major.
  ///   - bias: `[outputs]`; `nil` for no bias.
  init(weight: [Float], bias: [Float]?, outputs: Int, inputs: Int) {
    precondition(weight.count == outputs * inputs * 9 && (bias?.count ?? outputs) == outputs)
    guard let handle = ck_convolution_create(weight, bias, outputs, inputs) else {
      fatalError("out of memory for a convolution of \(outputs) × \(inputs) × 3 × 3")
    }
    self.handle = handle
    self.inputs = inputs
    self.outputs = outputs
  }

  deinit { ck_convolution_destroy(handle) }

  /// Computes some rows of the output.
  ///
  /// - Parameters:
  ///   - rows: the rows to compute, inside `0..<height`.
  ///   - x: the whole image, `[height, width, inputs]`.
  ///   - y: the whole output, `[height, width, outputs]`; only `rows` are written.
  ///   - epilogue: a residual must be a whole image like `y`, with the stride `outputs`.
  func apply(
    height: Int, width: Int, rows: Range<Int>, _ x: UnsafePointer<Float>,
    to y: UnsafeMutablePointer<Float>, then epilogue: Epilogue = .none
  ) {
    let (kind, residual, stride) = epilogue.parts
    precondition(rows.lowerBound >= 0 && rows.upperBound <= height)
    precondition(residual == nil || stride == outputs)
    ck_convolution_apply(
      handle, height, width, rows.lowerBound, rows.count, x, y, kind, residual)
  }
}
