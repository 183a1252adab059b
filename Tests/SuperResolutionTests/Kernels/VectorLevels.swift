import CKernels
import Foundation
import TestSupport

extension SplitMix {
  mutating func normals(_ count: Int) -> [Float] {
    var values: [Float] = []
    for _ in 0..<count { values.append(nextNormal()) }
    return values
  }
}

/// Returns the largest |a − b| / max(1, |b|), or infinity if only one of a and b is NaN.
func largestDifference(_ a: [Float], _ b: [Double]) -> Double {
  precondition(a.count == b.count)
  return zip(a, b).reduce(0) { largest, pair in
    let (a, b) = (Double(pair.0), pair.1)
    if a.isNaN || b.isNaN { return a.isNaN && b.isNaN ? largest : .infinity }
    return a == b ? largest : max(largest, abs(a - b) / max(1, abs(b)))
  }
}

func exactGELU(_ x: Double) -> Double { 0.5 * x * (1 + erf(x / 2.0.squareRoot())) }

extension [Float] {
  /// Calls `body` with a pointer for kernels to write to, unless the array is empty.
  mutating func write(_ body: (UnsafeMutablePointer<Float>) -> Void) {
    withUnsafeMutableBufferPointer { buffer in
      if let start = buffer.baseAddress { body(start) }
    }
  }

  var bits: [UInt32] { map(\.bitPattern) }
}

/// Returns the first `columns` elements of each row, whose starts lie `stride` apart.
func rowElements(_ values: [Float], rows: Int, columns: Int, stride: Int) -> [Float] {
  var found: [Float] = []
  for row in 0..<rows { found += values[row * stride..<row * stride + columns] }
  return found
}

/// Returns the elements after the first `columns` of each row.
func gapElements(_ values: [Float], rows: Int, columns: Int, stride: Int) -> [Float] {
  var found: [Float] = []
  for row in 0..<rows { found += values[row * stride + columns..<(row + 1) * stride] }
  return found + values[(rows * stride)...]
}

extension ck_quantizer {
  /// A quantizer whose rows keep their sums.
  init(lower: Float, upper: Float, levels: Float, is_row_scaled: Bool, group_size: Int) {
    self.init(
      lower: lower, upper: upper, levels: levels, is_row_scaled: is_row_scaled,
      group_size: group_size, is_normalized: false)
  }
}
