import LinearAlgebra
import Testing

@Suite struct SinglePrecisionProductsTests {
  /// Returns small integers, whose sums are exact in any order.
  private func values(_ count: Int, _ seed: Int) -> [Float] {
    (0..<count).map { Float(($0 * 7 + seed * 5) % 11 - 5) }
  }

  @Test(arguments: [(1, 1, 1), (2, 3, 4), (17, 5, 33), (3, 4, 0), (0, 3, 2), (3, 0, 2)])
  func productsMatchPlainLoops(rows: Int, columns: Int, inner: Int) {
    for (isLeftTransposed, isRightTransposed, isAdding) in [
      (false, false, false), (true, false, true), (false, true, true), (true, true, false),
    ] {
      // Two unused elements separate the rows.
      let aStride = (isLeftTransposed ? rows : inner) + 2
      let bStride = (isRightTransposed ? inner : columns) + 2
      let stride = columns + 2
      let a = values((isLeftTransposed ? inner : rows) * aStride + 2, 1)
      let b = values((isRightTransposed ? columns : inner) * bStride + 2, 2)
      var c = values(rows * stride + 2, 3)
      var expected = c
      for row in 0..<rows {
        for column in 0..<columns {
          var sum: Float = isAdding ? c[row * stride + column] : 0
          for index in 0..<inner {
            sum +=
              a[isLeftTransposed ? index * aStride + row : row * aStride + index]
              * b[isRightTransposed ? column * bStride + index : index * bStride + column]
          }
          expected[row * stride + column] = sum
        }
      }
      a.withUnsafeBufferPointer { a in
        b.withUnsafeBufferPointer { b in
          c.withUnsafeMutableBufferPointer { c in
            guard let a = a.baseAddress, let b = b.baseAddress, let c = c.baseAddress else {
              return
            }
            multiplySinglePrecision(
              rows: rows, columns: columns, inner: inner,
              SinglePrecisionOperand(a, stride: aStride, isTransposed: isLeftTransposed),
              SinglePrecisionOperand(b, stride: bStride, isTransposed: isRightTransposed), to: c,
              stride: stride, isAdding: isAdding)
          }
        }
      }
      #expect(c == expected)
    }
  }
}
