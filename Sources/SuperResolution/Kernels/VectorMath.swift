// Elementary functions and sums in a form that compilers can vectorize: no branches, no calls, and
// sums in eight lanes.

/// `eˣ` within 2 units in the last place for −87 ≤ x ≤ 88; clipped to that range outside; NaN for
/// NaN.
@inline(__always)
func exponential(_ x: Float) -> Float {
  // This order of the arguments preserves NaN.
  let clipped = max(min(x, 88), -87)
  // Adding 1.5·2²³ rounds to an integer, which is then in the low bits (Cody and Waite's reduction
  // by ln 2 in two parts, then a polynomial as in Cephes' expf).
  let shifted = clipped * 1.442_695_04 + 12_582_912
  let whole = shifted - 12_582_912
  let rest = (clipped - whole * 0.693_359_375) + whole * 2.121_944_4e-4
  var power = 1.987_569_1e-4 * rest + 1.398_199_9e-3
  power = power * rest + 8.333_452e-3
  power = power * rest + 4.166_579_6e-2
  power = power * rest + 1.666_666_5e-1
  power = power * rest + 0.5
  power = power * rest * rest + rest + 1
  let scale = Float(bitPattern: (shifted.bitPattern &+ 127) &<< 23)
  return power * scale
}

typealias Lanes = SIMD8<Float>

@inline(__always)
func loadLanes(_ pointer: UnsafePointer<Float>) -> Lanes {
  UnsafeRawPointer(pointer).loadUnaligned(as: Lanes.self)
}

/// `Σ a·b`.
func dotProduct(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Float {
  var lanes = Lanes()
  var index = 0
  while index + Lanes.scalarCount <= count {
    lanes += loadLanes(a + index) * loadLanes(b + index)
    index += Lanes.scalarCount
  }
  var sum = lanes.sum()
  while index < count {
    sum += a[index] * b[index]
    index += 1
  }
  return sum
}

/// `Σ a` and `Σ a²`.
func valueAndSquareSums(_ a: UnsafePointer<Float>, _ count: Int) -> (values: Float, squares: Float)
{
  var (lanes, squares) = (Lanes(), Lanes())
  var index = 0
  while index + Lanes.scalarCount <= count {
    let values = loadLanes(a + index)
    lanes += values
    squares += values * values
    index += Lanes.scalarCount
  }
  var (sum, square) = (lanes.sum(), squares.sum())
  while index < count {
    sum += a[index]
    square += a[index] * a[index]
    index += 1
  }
  return (sum, square)
}

/// `Σ a·b` for long rows: sums of blocks in single precision, added in double precision.
func longDotProduct(
  _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int
) -> Double {
  var sum = 0.0
  for first in stride(from: 0, to: count, by: 1024) {
    sum += Double(dotProduct(a + first, b + first, min(1024, count - first)))
  }
  return sum
}
