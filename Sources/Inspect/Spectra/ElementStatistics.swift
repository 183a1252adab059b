import Glibc
import LinearAlgebra

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
    let finite = FiniteRange(of: values)
    if let finite {
      range = (finite.lower, finite.upper)
      sum = laneSum(values) { $0 }
      counts.zero = Int(laneSum(values) { SIMD8.zero.replacing(with: 1, where: $0 .== 0) })
    }
    for value in values where finite == nil {
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
      if finite != nil {
        func square(_ value: SIMD8<Double>) -> SIMD8<Double> {
          let deviation = (value - mean) / unit
          return deviation * deviation
        }
        moments.second = laneSum(values, square)
        moments.fourth = laneSum(values) { square($0) * square($0) }
      }
      for value in values where finite == nil && value.isFinite {
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
    let squares = rowEnergies(of: values, rows: rows)
    guard let least = squares.min(), let greatest = squares.max(), greatest > 0 else { return nil }
    return least > 0 ? (greatest / least).squareRoot() : .infinity
  }

  /// Returns the sum of squares of each row.
  static func rowEnergies(of values: UnsafeBufferPointer<Double>, rows: Int) -> [Double] {
    let columns = values.count / rows
    return (0..<rows).map { row in
      laneSum(UnsafeBufferPointer(rebasing: values[row * columns..<(row + 1) * columns])) {
        $0 * $0
      }
    }
  }
}

/// Returns the sum of `term` over `values`. Eight sums, each over every eighth value, are added at the
/// end.
@inline(__always)
func laneSum(
  _ values: UnsafeBufferPointer<Double>, _ term: (SIMD8<Double>) -> SIMD8<Double>
) -> Double {
  let lanes = SIMD8<Double>.scalarCount
  let whole = values.count / lanes * lanes
  var sums = SIMD8<Double>.zero
  if let start = values.baseAddress {
    for index in stride(from: 0, to: whole, by: lanes) {
      sums += term(
        UnsafeRawPointer(start + index).loadUnaligned(as: SIMD8<Double>.self))
    }
  }
  for index in whole..<values.count {
    sums[index - whole] += term(SIMD8(repeating: values[index]))[0]
  }
  return sums.sum()
}
