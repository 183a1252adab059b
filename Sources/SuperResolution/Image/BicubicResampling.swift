/// Bicubic interpolation as MATLAB's `imresize` does it: Keys' cubic convolution with a = −0.5,
/// stretched by the factor when shrinking, so that nothing aliases.
///
/// R. Keys, "Cubic convolution interpolation for digital image processing", IEEE Transactions on
/// Acoustics, Speech, and Signal Processing 29(6), 1981, equation 15.
public struct BicubicResampling: Hashable, Sendable {
  /// What lies beyond the picture's edges.
  public enum Border: String, Sendable {
    /// The picture mirrored, its edge pixels twice: MATLAB today, and nearly all published data.
    case symmetric
    /// The edge pixels again and again: MATLAB once, and the published ×8 pictures.
    case replicated
  }

  /// What is taken to lie beyond the picture's edges.
  public let border: Border

  public init(border: Border = .symmetric) {
    self.border = border
  }

  /// Which inputs become one output, along one axis.
  struct Axis {
    /// The inputs of output `i` are at `starts[i]..<starts[i + 1]`.
    private(set) var starts = [0]
    private(set) var indices: [Int] = []
    /// For each output they sum to 1.
    private(set) var weights: [Double] = []

    var outputCount: Int { starts.count - 1 }

    /// - Parameter factor: outputs an input.
    init(inputCount: Int, outputCount: Int, factor: Double, border: Border) {
      // Positions count pixels from 1, as in MATLAB, so that sums come out the same.
      let stretch = min(1, factor)
      let kernelWidth = 4 / stretch
      let tapCount = Int(kernelWidth.rounded(.up)) + 2
      for output in 1...outputCount {
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

  /// A plane resampled down the columns, then along the rows.
  ///
  /// - Parameters:
  ///   - plane: `height · width` values in rows.
  ///   - maximum: where given, each pass ends by rounding to whole numbers, halves up, and clipping to
  ///     `0...maximum`, as MATLAB's does for integer classes.
  /// - Returns: `outputHeight · outputWidth` values.
  func resample(
    _ plane: [Double], height: Int, width: Int, outputHeight: Int, outputWidth: Int,
    factor: Double, roundingUpTo maximum: Double?
  ) -> [Double] {
    let rows = Axis(
      inputCount: height, outputCount: outputHeight, factor: factor, border: border)
    let columns = Axis(
      inputCount: width, outputCount: outputWidth, factor: factor, border: border)
    var tall = [Double](repeating: 0, count: outputHeight * width)
    Self.mixRows(of: plane, width: width, by: rows, into: &tall)
    if let maximum { Self.round(&tall, to: maximum) }
    var result = [Double](repeating: 0, count: outputHeight * outputWidth)
    Self.mixColumns(of: tall, width: width, by: columns, into: &result)
    if let maximum { Self.round(&result, to: maximum) }
    return result
  }

  private static func mixRows(
    of plane: [Double], width: Int, by axis: Axis, into target: inout [Double]
  ) {
    plane.withUnsafeBufferPointer { source in
      target.withUnsafeMutableBufferPointer { target in
        for output in 0..<axis.outputCount {
          for tap in axis.starts[output]..<axis.starts[output + 1] {
            let (start, weight) = (axis.indices[tap] * width, axis.weights[tap])
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
