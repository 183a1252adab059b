import Testing

@testable import Formats
@testable import Storage

@Suite struct HalfFactorsTests {
  /// A single value is as close as the best of 15 divisors allows, found by trying them all.
  @Test(arguments: [0.1, 1.0 / 3, 2.7182817, 1e-3, 65504, 900_000, 0] as [Float])
  func singleValueIsClosestMultiple(_ value: Float) throws {
    let factors = try HalfFactors([Float](repeating: value, count: 16))
    let found = abs(value - Float(factors.unit) * Float(factors.factors[0]))
    let best = (1...15).map { divisor in
      let unit = Float16(value / Float(divisor))
      return unit.isFinite ? abs(value - Float(unit) * Float(divisor)) : .infinity
    }.min()
    #expect(found == best)
    #expect(Set(factors.factors).count == 1)
  }

  @Test func unitHasSignOfLargestValue() throws {
    let factors = try HalfFactors([-1.5, 0.25, -0.75, 0])
    #expect(factors.unit < 0)
    #expect(factors.factors[1] == 0)
    #expect(Float(factors.unit) * Float(factors.factors[0]) == -1.5)
    #expect(Float(factors.unit) * Float(factors.factors[2]) == -0.75)
  }

  @Test func valuesBeyondFloat16RangeAreRefused() {
    #expect(
      throws: ModelError.unsupported("the parameter 1000000.0 exceeds the largest float16")
    ) { try HalfFactors([1_000_000]) }
  }
}
