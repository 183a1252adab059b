import Glibc

/// Statistics of a tensor's elements, which need no decomposition.
///
/// Moments and norms cover only the finite elements; NaN and infinities are counted.
package struct ElementStatistics: Codable, Hashable, Sendable {
  /// The smallest finite element; `nil` if there are none.
  package var minimum: Double?
  /// The largest finite element; `nil` if there are none.
  package var maximum: Double?
  /// The mean of the finite elements; `nil` if there are none.
  package var mean: Double?
  /// Their population standard deviation, √(mean (w − mean)²); `nil` if there are none.
  package var standardDeviation: Double?
  /// The fourth central moment over the squared variance; 3 for a normal distribution, `nil` if all
  /// elements are equal.
  package var kurtosis: Double?
  /// The share of elements that are zero, 0…1.
  package var zeroShare: Double
  /// The number of NaN elements.
  package var nanCount: Int
  /// The number of infinite elements of either sign.
  package var infinityCount: Int
  /// The ratio of the largest to the smallest Euclidean norm of an output channel (a row); infinite
  /// if only some channels are zero. It is `nil` if all channels are zero, if there are none, or if
  /// an element is not finite.
  package var channelNormSpread: Double?
  /// The cost of rounding to 2, 3 and 4 bits; `nil` if there are NaN or infinities.
  package var quantization: QuantizationOutlook?

  /// Computes the statistics.
  ///
  /// - Parameters:
  ///   - values: The elements, row-major.
  ///   - rows: The number of output channels; 0 if the tensor has none.
  package init(of values: [Double], rows: Int) {
    self = values.withUnsafeBufferPointer { Self($0, rows: rows) }
  }

  private init(_ values: UnsafeBufferPointer<Double>, rows: Int) {
    var range = (lower: Double.infinity, upper: -Double.infinity)
    var counts = (zero: 0, nan: 0, infinite: 0)
    var sum = 0.0
    for value in values {
      if value.isFinite {
        range = (min(range.lower, value), max(range.upper, value))
        sum += value
        counts.zero += value == 0 ? 1 : 0
      } else if value.isNaN {
        counts.nan += 1
      } else {
        counts.infinite += 1
      }
    }
    let count = Double(values.count - counts.nan - counts.infinite)
    zeroShare = Double(counts.zero) / Double(max(1, values.count))
    (nanCount, infinityCount) = (counts.nan, counts.infinite)
    guard count > 0 else { return }
    (minimum, maximum) = range
    let mean = sum / count
    // Deviations in units of the range, so that fourth powers neither overflow nor underflow.
    let unit = max(range.upper - mean, mean - range.lower)
    var moments = (second: 0.0, fourth: 0.0)
    if unit > 0, unit.isFinite {
      for value in values where value.isFinite {
        let square = ((value - mean) / unit) * ((value - mean) / unit)
        moments.second += square
        moments.fourth += square * square
      }
      kurtosis = moments.fourth * count / (moments.second * moments.second)
    }
    self.mean = mean
    standardDeviation = unit.isFinite ? unit * (moments.second / count).squareRoot() : nil
    guard counts.nan + counts.infinite == 0 else { return }
    if rows > 0 { channelNormSpread = Self.channelNormSpread(values, rows: rows) }
    quantization = QuantizationOutlook(of: values, range: range)
  }

  private static func channelNormSpread(
    _ values: UnsafeBufferPointer<Double>, rows: Int
  ) -> Double? {
    let columns = values.count / rows
    let squares = (0..<rows).map { row in
      var square = 0.0
      for value in values[row * columns..<(row + 1) * columns] { square += value * value }
      return square
    }
    guard let least = squares.min(), let greatest = squares.max(), greatest > 0 else { return nil }
    return least > 0 ? (greatest / least).squareRoot() : .infinity
  }
}
