import CKernels

/// The kernel's size and the geometry of a convolution.
struct ConvolutionShape: Sendable {
  /// What pixels outside the image are.
  enum Padding: Hashable, Sendable {
    case zeros
    /// Mirrored at the pixels of the edge, which are not repeated.
    case reflect
    /// The nearest pixel of the edge.
    case replicate

    /// Returns the pixel among `count` that stands for `place`, which may lie outside; `nil` for zeros.
    func pixel(_ place: Int, of count: Int) -> Int? {
      if (0..<count).contains(place) { return place }
      return switch self {
      case .zeros: nil
      case .reflect: place < 0 ? -place : 2 * (count - 1) - place
      case .replicate: place < 0 ? 0 : count - 1
      }
    }
  }

  var outputs: Int
  var inputs: Int
  /// The kernel's sides.
  var kernel = (height: 3, width: 3)
  /// How many pixels neighbouring results are apart in the input.
  var step = 1
  /// How many pixels neighbouring taps are apart.
  var dilation = 1
  /// The pixels added on each side; as many as keep the image's size, by default.
  var padding: (height: Int, width: Int)
  var mode = Padding.zeros

  /// The most taps that a kernel may have.
  static let mostTaps = Int(CK_CONVOLUTION_MOST_TAPS)

  init(
    outputs: Int, inputs: Int, kernel: (height: Int, width: Int) = (3, 3), step: Int = 1,
    dilation: Int = 1, padding: (height: Int, width: Int)? = nil, mode: Padding = .zeros
  ) {
    self.outputs = outputs
    self.inputs = inputs
    self.kernel = kernel
    self.step = step
    self.dilation = dilation
    self.padding =
      padding ?? (dilation * (kernel.height - 1) / 2, dilation * (kernel.width - 1) / 2)
    self.mode = mode
  }

  /// Whether the convolution is one of 3×3 with zeros around the image, whose size it keeps.
  var isSimple: Bool {
    kernel == (3, 3) && step == 1 && dilation == 1 && padding == (1, 1) && mode == .zeros
  }

  /// Whether the convolution is a linear layer on the channels of each pixel.
  var isPixelwise: Bool { kernel == (1, 1) && step == 1 && padding == (0, 0) }

  /// The size of the result for an image of `height` × `width` pixels; not positive where the image
  /// has too few.
  func output(height: Int, width: Int) -> (height: Int, width: Int) {
    func side(_ side: Int, _ kernel: Int, _ padding: Int) -> Int {
      let places = side + 2 * padding - dilation * (kernel - 1) - 1
      return places < 0 ? 0 : places / step + 1
    }
    return (
      side(height, kernel.height, padding.height), side(width, kernel.width, padding.width)
    )
  }

  /// The shape as the kernels take it.
  var native: ck_convolution_shape {
    ck_convolution_shape(
      outputs: outputs, inputs: inputs, kernel_height: kernel.height, kernel_width: kernel.width,
      step: step, dilation: dilation, padding_height: padding.height,
      padding_width: padding.width,
      padding: mode == .zeros
        ? CK_PADDING_ZEROS : mode == .reflect ? CK_PADDING_REFLECT : CK_PADDING_REPLICATE)
  }
}

/// A convolution over images with channels last.
final class Convolution: Sendable {
  let shape: ConvolutionShape
  /// Never written to after `init`, and freed by `deinit` alone.
  private nonisolated(unsafe) let handle: OpaquePointer

  /// - Parameters:
  ///   - weight: `[outputs, inputs, kernel height, kernel width]`, row-major.
  ///   - bias: `[outputs]`; `nil` for no bias.
  init(weight: [Float], bias: [Float]?, shape: ConvolutionShape) {
    let taps = shape.kernel.height * shape.kernel.width
    precondition(
      weight.count == shape.outputs * shape.inputs * taps
        && (bias?.count ?? shape.outputs) == shape.outputs
        && (1...ConvolutionShape.mostTaps).contains(taps))
    guard
      let handle = withUnsafePointer(to: shape.native, { ck_convolution_create(weight, bias, $0) })
    else {
      fatalError("out of memory for a convolution of \(weight.count) weights")
    }
    self.handle = handle
    self.shape = shape
  }

  deinit { ck_convolution_destroy(handle) }

  /// Computes some rows of the output.
  ///
  /// - Parameters:
  ///   - height, width: the size of the input.
  ///   - rows: the rows of the output to compute.
  ///   - x: the whole image, whose pixels are `xStride` elements apart.
  ///   - y: the whole output, whose pixels are `yStride` elements apart; only `rows` are written.
  ///   - epilogue: a residual must be a whole image like `y`.
  func apply(
    height: Int, width: Int, rows: Range<Int>, _ x: UnsafePointer<Float>, stride xStride: Int,
    to y: UnsafeMutablePointer<Float>, stride yStride: Int, then epilogue: Epilogue = .none
  ) {
    let (kind, residual, stride) = epilogue.parts
    precondition(
      rows.lowerBound >= 0
        && rows.upperBound <= shape.output(height: height, width: width).height)
    ck_convolution_apply(
      handle, height, width, rows.lowerBound, rows.count, x, xStride, y, yStride, kind, residual,
      stride)
  }
}
