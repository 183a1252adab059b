extension AffineCode {
  /// `Σ (x − Q(x))²` over `values`, where `Q` encodes and decodes.
  ///
  /// Differences are Float32, their squares and sums Double. The order of the sum is fixed: eight
  /// partial sums over the elements of equal index modulo 8, then `(0+4)+(2+6)` plus
  /// `(1+5)+(3+7)`. Not finite where the quantizer's values are not.
  package func squaredError(of values: UnsafeBufferPointer<Float>) -> Double {
    typealias Lanes = SIMD8<Float>
    let lower = Lanes(repeating: lower)
    let scale = Lanes(repeating: self.scale)
    let divisor = Lanes(repeating: divisor)
    let maximumCode = Lanes(repeating: maximumCode)
    let rounding = Lanes(repeating: Self.rounding)
    var low = SIMD4<Double>()
    var high = SIMD4<Double>()

    @inline(__always) func add(_ value: Lanes) {
      var clipped = (value - lower) / divisor
      // Masks, because the standard library's pointwise minimum is a call.
      clipped.replace(with: Lanes(), where: clipped .< Lanes())
      clipped.replace(with: maximumCode, where: clipped .> maximumCode)
      let difference = value - (lower + scale * ((clipped + rounding) - rounding))
      let lowDifference = SIMD4<Double>(difference.lowHalf)
      let highDifference = SIMD4<Double>(difference.highHalf)
      low += lowDifference * lowDifference
      high += highDifference * highDifference
    }

    let bytes = UnsafeRawBufferPointer(values)
    let wholeCount = values.count & ~7
    for index in stride(from: 0, to: wholeCount, by: 8) {
      add(bytes.loadUnaligned(fromByteOffset: 4 * index, as: Lanes.self))
    }
    if wholeCount < values.count {
      // Padding with a value that the quantizer reproduces adds zero.
      var rest = lower
      for index in wholeCount..<values.count { rest[index - wholeCount] = values[index] }
      add(rest)
    }
    let sums = low + high
    return (sums[0] + sums[2]) + (sums[1] + sums[3])
  }

  /// Without a scale every code is zero; a division by infinity says the same without a branch.
  private var divisor: Float { scale > 0 ? scale : .infinity }

  /// 1.5·2²³: adding it rounds `0…255` to a whole number, ties to even.
  private static var rounding: Float { 12_582_912 }
}
