import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct GGUFQuantizedFormTests {
  private func tensor(
    bitWidth: Int, columns: Int = 64, lower: Float, scale: Float
  ) throws -> QuantizedTensor {
    let shape: Shape = [1, columns]
    let spec = AffineSpec(
      layout: try AffineLayout(shape: shape, granularity: .tensor), bitWidth: bitWidth,
      parameterType: .float32)
    return try .encode(
      values: (0..<columns).map { lower + scale * Float($0 % (1 << bitWidth)) }, spec: spec,
      lower: [lower], scale: [scale], elementType: .float32, shape: shape)
  }

  private func values(
    _ tensor: QuantizedTensor
  ) throws -> (type: GGUFTensorType.Written, values: [Float]) {
    let form = try GGUFQuantizedForm(tensor, codes: tensor.unpackedCodes(), padsRows: false)
    return (form.type, form.values(try form.encode(tensor)))
  }

  /// Q2_0 is for 64 columns or more and a lower bound of minus a scale that is a float16.
  @Test(arguments: [
    (64, Float(-0.5), Float(0.5), GGUFTensorType.Written.q2), (64, -0.4, 0.5, .q4m),
    (64, -0.3, 0.3, .q4m), (96, -0.5, 0.5, .q4m), (256, -0.5, 0.5, .q2), (256, -0.4, 0.5, .q2k),
  ])
  func twoBitTypesAreChosen(
    columns: Int, lower: Float, scale: Float, type: GGUFTensorType.Written
  ) throws {
    let tensor = try tensor(bitWidth: 2, columns: columns, lower: lower, scale: scale)
    let found = try values(tensor)
    #expect(found.type == type)
    if type == .q2 { #expect(try found.values == tensor.floatValues()) }
  }

  @Test(arguments: [(8, Float(-128), Float(0.25)), (7, -64, 0.125), (6, 0, 3), (6, 64, 0.5)])
  func multiplesOfFloat16AreExactInQ8(bitWidth: Int, zero: Float, scale: Float) throws {
    let tensor = try tensor(bitWidth: bitWidth, lower: zero * scale, scale: scale)
    let found = try values(tensor)
    #expect(found.type == .q8)
    #expect(try found.values == tensor.floatValues())
  }

  /// Other values are rounded to the nearest multiple, also where the scale is a small float16.
  @Test func otherValuesAreRoundedAgainInQ8() throws {
    var random = SplitMix(seed: 8)
    for _ in 0..<200 {
      let scale = Float.random(in: 1e-7...0.1, using: &random)
      let lower = Float.random(in: -200...10, using: &random) * scale
      let tensor = try tensor(bitWidth: 8, lower: lower, scale: scale)
      let expected = try tensor.floatValues()
      let found = try values(tensor)
      #expect(found.type == .q8)
      for block in [0..<32, 32..<64] {
        let largest = try #require(expected[block].map(abs).max())
        // The scale is rounded to float16, whose least step is 2^-24.
        let step = largest / 127 * 1.001 + 0x1p-24
        let error = try largestDifference(
          Array(found.values[block]), Array(expected[block]))
        #expect(error <= Double(step / 2) * 1.0001, "\(lower), \(scale)")
      }
    }
  }

  @Test func scalesOfQ8ThatUnderflowFloat16AreRefused() throws {
    let tensor = try tensor(bitWidth: 8, lower: 0, scale: 1e-9)
    #expect(throws: ModelError.self) { try values(tensor) }
  }
}
