import CKernels
import Storage

/// A linear layer whose weights and inputs are codes of a few bits, multiplied in integer
/// arithmetic.
///
/// The sums of products of codes are exact. The result is that of the dequantized weights and the
/// quantized inputs, except for the rounding of the factors of these sums.
final class IntegerLinear: Sendable {
  let inputs: Int
  let outputs: Int
  /// Never written to after `init`, and freed by `deinit` alone.
  nonisolated(unsafe) let handle: OpaquePointer

  /// - Parameters:
  ///   - codes: `[outputs, inputs]`, one byte per code, each below 2^`bitWidth`.
  ///   - bitWidth: of the weights, 1 to 8.
  ///   - lower: one per output; `w = lower + scale · code`.
  ///   - scale: one per output.
  ///   - bias: `[outputs]`; `nil` for no bias.
  ///   - activations: the quantizer of the inputs, with at most 255 levels.
  /// - Throws: `ModelError` when the kernel does not support a code, the bit width, the levels, the
  ///   number of inputs or the size of their groups; see `ck_integer_linear_takes`.
  init(
    codes: [UInt8], bitWidth: Int, lower: [Float], scale: [Float], bias: [Float]?, outputs: Int,
    inputs: Int, activations: ck_quantizer
  ) throws {
    precondition(codes.count == outputs * inputs && (bias?.count ?? outputs) == outputs)
    precondition(lower.count == outputs && scale.count == outputs)
    guard
      let bits = UInt32(exactly: bitWidth),
      let handle = withUnsafePointer(
        to: activations,
        { ck_integer_linear_create(codes, bits, lower, scale, bias, outputs, inputs, $0) })
    else {
      throw ModelError(
        "no integer kernel for \(outputs) × \(inputs) codes of \(bitWidth) bits and inputs of \(activations.levels) levels"
          + (activations.group_size > 0 ? " in groups of \(activations.group_size)" : "")
      )
    }
    self.handle = handle
    self.inputs = inputs
    self.outputs = outputs
  }

  deinit { ck_integer_linear_destroy(handle) }

  /// The bytes of the codes and of what is computed from them.
  var byteCount: Int { ck_integer_linear_byte_count(handle) }

  /// Behaves like `Linear.apply`; a NaN makes its row NaN.
  func apply(
    rows: Int, _ x: UnsafePointer<Float>, stride xStride: Int, to y: UnsafeMutablePointer<Float>,
    stride yStride: Int, then epilogue: Epilogue = .none
  ) {
    let (kind, residual, residualStride) = epilogue.parts
    ck_integer_linear_apply(handle, rows, x, xStride, y, yStride, kind, residual, residualStride)
  }

  /// Computes the same from the codes of the inputs, whose bounds are the same for all rows.
  func apply(
    rows: Int, _ x: CodeRows, to y: UnsafeMutablePointer<Float>, stride yStride: Int,
    then epilogue: Epilogue = .none
  ) {
    let (kind, residual, residualStride) = epilogue.parts
    withUnsafePointer(to: x.native) {
      ck_integer_linear_apply_to_codes(
        handle, rows, $0, y, yStride, kind, residual, residualStride)
    }
  }

  /// The inputs of a layer.
  enum Input {
    case values(UnsafePointer<Float>, stride: Int)
    case codes(CodeRows)
  }

  /// Computes the codes of the outputs.
  func code(rows: Int, _ x: Input, by coding: OutputCoding, to y: CodeRows) {
    withUnsafePointer(to: y.native) { y in
      switch x {
      case .values(let x, let stride):
        ck_integer_linear_code(handle, coding.handle, rows, x, stride, nil, y)
      case .codes(let codes):
        withUnsafePointer(to: codes.native) {
          ck_integer_linear_code(handle, coding.handle, rows, nil, 0, $0, y)
        }
      }
    }
  }
}

/// A linear layer at a site: on values, which the site's quantizer rounds before, or on their codes.
enum SiteLinear: Sendable {
  case values(Linear)
  case codes(IntegerLinear)

  var inputs: Int {
    switch self {
    case .values(let layer): layer.inputs
    case .codes(let layer): layer.inputs
    }
  }

  var outputs: Int {
    switch self {
    case .values(let layer): layer.outputs
    case .codes(let layer): layer.outputs
    }
  }
}
