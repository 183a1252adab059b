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

/// The largest |a − b| / max(1, |b|), and infinity where only one is NaN.
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
  /// A pointer for kernels to write to; nothing for none.
  mutating func write(_ body: (UnsafeMutablePointer<Float>) -> Void) {
    withUnsafeMutableBufferPointer { buffer in
      if let start = buffer.baseAddress { body(start) }
    }
  }

  var bits: [UInt32] { map(\.bitPattern) }
}

/// The first `columns` elements of each row, whose starts lie `stride` apart.
func rowElements(_ values: [Float], rows: Int, columns: Int, stride: Int) -> [Float] {
  var found: [Float] = []
  for row in 0..<rows { found += values[row * stride..<row * stride + columns] }
  return found
}

/// What lies behind those.
func gapElements(_ values: [Float], rows: Int, columns: Int, stride: Int) -> [Float] {
  var found: [Float] = []
  for row in 0..<rows { found += values[row * stride + columns..<(row + 1) * stride] }
  return found + values[(rows * stride)...]
}
