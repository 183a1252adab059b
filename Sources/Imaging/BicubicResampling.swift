/// Bicubic interpolation as performed by MATLAB's `imresize`: Keys' cubic convolution with
/// a = −0.5, widened by the factor when downscaling to prevent aliasing.
///
/// R. Keys, "Cubic convolution interpolation for digital image processing", IEEE Transactions on
/// Acoustics, Speech, and Signal Processing 29(6), 1981, equation 15.
///
/// ```swift
/// let image = try RasterImage(contentsOf: "photo.png")
/// let small = BicubicResampling().downscaled(image, by: 2)
/// print(BicubicResampling().upscaled(small, by: 2).sizeText)
/// ```
public struct BicubicResampling: Hashable, Sendable {
  /// How samples beyond the image's edges are defined.
  public enum Border: String, Sendable {
    /// The image mirrored, repeating its edge pixels: current MATLAB, and nearly all published
    /// data.
    case symmetric
    /// The edge pixels replicated: old MATLAB, and the published ×8 images.
    case replicated
  }

  /// How samples beyond the image's edges are defined.
  public let border: Border

  public init(border: Border = .symmetric) {
    self.border = border
  }

  /// The inputs that contribute to each output, along one axis.
  struct Axis {
    /// The inputs of output `i` are at `starts[i]..<starts[i + 1]`.
    private(set) var starts = [0]
    private(set) var indices: [Int] = []
    /// The weight of each input; the weights of one output sum to 1.
    private(set) var weights: [Double] = []

    var outputCount: Int { starts.count - 1 }

    /// The inputs from the first to the last that any output needs.
    var inputs: Range<Int> { (indices.min() ?? 0)..<(indices.max() ?? -1) + 1 }

    /// Computes the weights of `outputs`, counted from the first output of the whole axis.
    ///
    /// - Parameter factor: The number of outputs per input.
    init(inputCount: Int, outputs: Range<Int>, factor: Double, border: Border) {
      // Positions count pixels from 1, as in MATLAB, so that the sums are identical.
      let stretch = min(1, factor)
      let kernelWidth = 4 / stretch
      let tapCount = Int(kernelWidth.rounded(.up)) + 2
      for output in outputs.lowerBound + 1..<outputs.upperBound + 1 {
        let center = Double(output) / factor + 0.5 * (1 - 1 / factor)
        let left = (center - kernelWidth / 2).rounded(.down)
        let taps = (0..<tapCount).map { tap in
          let position = left + Double(tap)
          return (
            index: Self.index(Int(position) - 1, count: inputCount, border: border),
            weight: stretch * Self.kernel(stretch * (center - position))
          )
        }.filter { $0.weight != 0 }
        let sum = taps.reduce(0) { $0 + $1.weight }
        indices += taps.map(\.index)
        weights += taps.map { $0.weight / sum }
        starts.append(indices.count)
      }
    }

    private static func kernel(_ distance: Double) -> Double {
      let x = distance.magnitude
      let (x2, x3) = (x * x, x * x * x)
      if x <= 1 { return 1.5 * x3 - 2.5 * x2 + 1 }
      return x <= 2 ? -0.5 * x3 + 2.5 * x2 - 4 * x + 2 : 0
    }

    private static func index(_ index: Int, count: Int, border: Border) -> Int {
      switch border {
      case .replicated: return min(max(index, 0), count - 1)
      case .symmetric:
        let turn = index % (2 * count)
        let place = turn < 0 ? turn + 2 * count : turn
        return place < count ? place : 2 * count - 1 - place
      }
    }
  }

  /// Resamples a plane along the columns, then along the rows.
  ///
  /// - Parameters:
  ///   - plane: `height · width` values, row-major.
  ///   - maximum: If given, each pass ends by rounding to integers, halves up, and clipping to
  ///     `0...maximum`, as MATLAB does for integer classes.
  /// - Returns: `outputHeight · outputWidth` values.
  package func resample(
    _ plane: [Double], height: Int, width: Int, outputHeight: Int, outputWidth: Int,
    factor: Double, roundingUpTo maximum: Double?
  ) -> [Double] {
    let rows = Axis(
      inputCount: height, outputs: 0..<outputHeight, factor: factor, border: border)
    let columns = Axis(
      inputCount: width, outputs: 0..<outputWidth, factor: factor, border: border)
    return Self.resample(plane, from: 0, width: width, rows, columns, roundingUpTo: maximum)
  }

  /// - Parameter first: The number of the plane's first row in the whole image.
  private static func resample(
    _ plane: [Double], from first: Int, width: Int, _ rows: Axis, _ columns: Axis,
    roundingUpTo maximum: Double?
  ) -> [Double] {
    var tall = [Double](repeating: 0, count: rows.outputCount * width)
    Self.mixRows(of: plane, from: first, width: width, by: rows, into: &tall)
    if let maximum { Self.round(&tall, to: maximum) }
    var result = [Double](repeating: 0, count: rows.outputCount * columns.outputCount)
    Self.mixColumns(of: tall, width: width, by: columns, into: &result)
    if let maximum { Self.round(&result, to: maximum) }
    return result
  }

  private static func mixRows(
    of plane: [Double], from first: Int, width: Int, by axis: Axis, into target: inout [Double]
  ) {
    plane.withUnsafeBufferPointer { source in
      target.withUnsafeMutableBufferPointer { target in
        for output in 0..<axis.outputCount {
          for tap in axis.starts[output]..<axis.starts[output + 1] {
            let (start, weight) = ((axis.indices[tap] - first) * width, axis.weights[tap])
            for x in 0..<width { target[output * width + x] += weight * source[start + x] }
          }
        }
      }
    }
  }

  private static func mixColumns(
    of plane: [Double], width: Int, by axis: Axis, into target: inout [Double]
  ) {
    let height = plane.count / width
    plane.withUnsafeBufferPointer { source in
      target.withUnsafeMutableBufferPointer { target in
        axis.indices.withUnsafeBufferPointer { indices in
          axis.weights.withUnsafeBufferPointer { weights in
            for y in 0..<height {
              for output in 0..<axis.outputCount {
                var sum = 0.0
                for tap in axis.starts[output]..<axis.starts[output + 1] {
                  sum += weights[tap] * source[y * width + indices[tap]]
                }
                target[y * axis.outputCount + output] = sum
              }
            }
          }
        }
      }
    }
  }

  private static func round(_ plane: inout [Double], to maximum: Double) {
    plane.withUnsafeMutableBufferPointer { plane in
      for index in plane.indices {
        plane[index] = min(max((plane[index] + 0.5).rounded(.down), 0), maximum)
      }
    }
  }
}

extension BicubicResampling {
  /// Returns the image downscaled by `scale`, rounded after each pass like MATLAB's
  /// `imresize(x, 1/scale)` for `uint8` and `uint16`. The benchmarks' low-resolution images are
  /// made this way.
  ///
  /// - Precondition: Both sides are multiples of `scale`; see `RasterImage.cropped(toMultipleOf:)`.
  public func downscaled(_ image: RasterImage, by scale: Int) -> RasterImage {
    precondition(
      scale > 0 && image.width.isMultiple(of: scale) && image.height.isMultiple(of: scale),
      "\(image.sizeText) pixels are no multiple of \(scale)")
    return resized(
      image, width: image.width / scale, height: image.height / scale, factor: 1 / Double(scale))
  }

  /// Returns the image upscaled by `scale`, rounded after each pass as in MATLAB for integer
  /// classes.
  public func upscaled(_ image: RasterImage, by scale: Int) -> RasterImage {
    precondition(scale > 0, "a scale is positive")
    return resized(
      image, width: image.width * scale, height: image.height * scale, factor: Double(scale))
  }

  /// Returns the image upscaled by `scale` without rounding; samples may leave 0…1 at sharp edges.
  public func upscaled(_ image: Image, by scale: Int) -> Image {
    upscaled(image, by: scale, rows: 0..<image.height * scale)
  }

  /// Returns some rows of the image upscaled by `scale`.
  ///
  /// - Parameter bitDepth: If given, samples are rounded to it before and after each pass, as
  ///   `upscaled` rounds those of a `RasterImage`.
  package func upscaled(
    _ image: Image, by scale: Int, rows: Range<Int>, bitDepth: RasterImage.BitDepth? = nil
  ) -> Image {
    precondition(scale > 0, "a scale is positive")
    let (width, factor) = (image.width, Double(scale))
    let down = Axis(inputCount: image.height, outputs: rows, factor: factor, border: border)
    let right = Axis(
      inputCount: width, outputs: 0..<width * scale, factor: factor, border: border)
    let inputs = down.inputs
    let maximum = bitDepth.map { Float($0.maximum) }
    var samples: [Float] = []
    samples.reserveCapacity(image.channelCount * rows.count * width * scale)
    for channel in 0..<image.channelCount {
      let start = channel * image.height * width
      let part = image.samples[
        start + inputs.lowerBound * width..<start + inputs.upperBound * width]
      let plane = part.map { sample in
        maximum.map { Double(RasterImage.stored(sample, maximum: $0)) } ?? Double(sample)
      }
      samples += Self.resample(
        plane, from: inputs.lowerBound, width: width, down, right,
        roundingUpTo: maximum.map(Double.init)
      ).map { Float($0) / (maximum ?? 1) }
    }
    return Image(
      channelCount: image.channelCount, height: rows.count, width: width * scale, samples: samples)
  }

  private func resized(_ image: RasterImage, width: Int, height: Int, factor: Double)
    -> RasterImage
  {
    let channelCount = image.channelCount
    let count = image.width * image.height
    var samples = [UInt16](repeating: 0, count: width * height * channelCount)
    for channel in 0..<channelCount {
      let plane = image.samples.withUnsafeBufferPointer { source in
        [Double](unsafeUninitializedCapacity: count) { target, filled in
          for pixel in 0..<count { target[pixel] = Double(source[pixel * channelCount + channel]) }
          filled = count
        }
      }
      let resampled = resample(
        plane, height: image.height, width: image.width, outputHeight: height, outputWidth: width,
        factor: factor, roundingUpTo: Double(image.bitDepth.maximum))
      samples.withUnsafeMutableBufferPointer { target in
        for pixel in resampled.indices {
          target[pixel * channelCount + channel] = UInt16(resampled[pixel])
        }
      }
    }
    return RasterImage(
      width: width, height: height, channelCount: channelCount, bitDepth: image.bitDepth,
      samples: samples, tags: image.tags)
  }
}
