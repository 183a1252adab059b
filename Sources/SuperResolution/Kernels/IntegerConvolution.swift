import CKernels
import Storage

/// A convolution whose weights and pixels are codes of a few bits, multiplied in integer arithmetic.
///
/// The result is that of the dequantized weights and the quantized pixels, with exact zeros outside the
/// image, except for the rounding of the factors of exact sums.
final class IntegerConvolution: Sendable {
  let channels: Int
  let outputs: Int
  /// Never written to after `init`, and freed by `deinit` alone.
  private nonisolated(unsafe) let handle: OpaquePointer

  /// - Parameters:
  ///   - codes: `[outputs, channels, taps]`, one byte per code, each below 2^`bitWidth`.
  ///   - bitWidth: of the weights, 1 to 8.
  ///   - lower: one per output; `w = lower + scale · code`.
  ///   - scale: one per output.
  ///   - bias: `[outputs]`; `nil` for no bias.
  ///   - activations: the quantizer of the pixels, with at most 255 levels.
  /// - Throws: `ModelError` when the kernel does not support a code, the bit width, the levels or the
  ///   shape; see `ck_integer_convolution_takes`.
  init(
    codes: [UInt8], bitWidth: Int, lower: [Float], scale: [Float], bias: [Float]?, outputs: Int,
    channels: Int, taps: Int, activations: ck_quantizer
  ) throws {
    precondition(codes.count == outputs * channels * taps && (bias?.count ?? outputs) == outputs)
    precondition(lower.count == outputs && scale.count == outputs)
    guard
      let bits = UInt32(exactly: bitWidth),
      let handle = withUnsafePointer(
        to: activations,
        {
          ck_integer_convolution_create(
            codes, bits, lower, scale, bias, outputs, channels, taps, $0)
        })
    else {
      throw ModelError(
        "no integer kernel for \(outputs) × \(channels) × \(taps) codes of \(bitWidth) bits and "
          + "inputs of \(activations.levels) levels")
    }
    self.handle = handle
    self.channels = channels
    self.outputs = outputs
  }

  deinit { ck_integer_convolution_destroy(handle) }

  /// The bytes of the codes and of what is computed from them.
  var byteCount: Int { ck_integer_convolution_byte_count(handle) }

  /// Floats of scratch memory that a call takes for which so many pixels of the input are needed.
  func scratchCount(pixels: Int) -> Int { ck_integer_convolution_scratch_count(handle, pixels) }

  /// Computes some rows of the output as `Convolution.apply` does; a NaN makes NaN what depends on
  /// its pixel.
  ///
  /// - Parameter scratch: `scratchCount` floats, used by this thread alone.
  func apply(
    _ shape: ConvolutionShape, height: Int, width: Int, rows: Range<Int>,
    _ x: UnsafePointer<Float>, stride xStride: Int, to y: UnsafeMutablePointer<Float>,
    stride yStride: Int, then epilogue: Epilogue = .none, scratch: UnsafeMutablePointer<Float>
  ) {
    let (kind, residual, stride) = epilogue.parts
    precondition(
      rows.lowerBound >= 0 && shape.inputs == channels && shape.outputs == outputs
        && rows.upperBound <= shape.output(height: height, width: width).height)
    withUnsafePointer(to: shape.native) { shape in
      ck_integer_convolution_apply(
        handle, shape, height, width, rows.lowerBound, rows.count, x, xStride, y, yStride, kind,
        residual, stride, scratch)
    }
  }
}
