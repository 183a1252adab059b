import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct ONNXMatMulFormTests {
  private func tensor(
    rows: [[Float]], bitWidth: Int = 2, granularity: QuantizationGranularity = .channel,
    lower: [Float], scale: [Float]
  ) throws -> QuantizedTensor {
    let shape: Shape = [rows.count, rows[0].count]
    return try .encode(
      values: Array(rows.joined()),
      spec: AffineSpec(
        layout: AffineLayout(shape: shape, granularity: granularity), bitWidth: bitWidth,
        parameterType: .float32), lower: lower, scale: scale, elementType: .float32, shape: shape)
  }

  /// `scale · code − scale · zero` is within the rounding of the lower bound, and equal to
  /// `lower + scale · code` where the product is exact.
  @Test func zeroPointReproducesLowerBound() throws {
    var random = SplitMix(seed: 31)
    var exact = 0
    for _ in 0..<1000 {
      let lower = Float.random(in: -1...1, using: &random)
      let scale = Float.random(in: 1e-3...1, using: &random)
      let found = try ONNXMatMulForm.parameters(lower: lower, scale: scale)
      #expect(found.scale == scale && !found.isConstant)
      let product = found.zeroPoint * scale
      #expect(abs(product + lower) <= lower.ulp)
      if product == -lower { exact += 1 }
    }
    // More are exact than the nearest quotient alone would give, but not all.
    #expect((700..<1000).contains(exact), "\(exact)")
  }

  @Test(arguments: [Float(-0.75), 0, 0.3])
  func constantBlocksDecodeToTheirBound(_ lower: Float) throws {
    let tensor = try tensor(
      rows: [[Float](repeating: lower, count: 20), (0..<20).map { Float($0 % 4) }],
      lower: [lower, 0], scale: [0, 1])
    let form = try ONNXMatMulForm(tensor)
    let parameters = try form.parameters(of: tensor)
    let values = form.values(codes: try form.codes(of: tensor, parameters), parameters)
    #expect(values == (try tensor.floatValues()))
  }

  /// At 2 bits, 60 columns take 24 bytes in one block of 64 and 48 bytes in four of 16.
  @Test(arguments: [
    (60, 2, QuantizationGranularity.channel, 64), (256, 2, .tensor, 256), (260, 4, .tensor, 64),
    (96, 4, .group(32), 32), (16, 1, .channel, 16), (512, 2, .group(48), 16),
  ])
  func smallestFormIsChosen(
    columns: Int, bitWidth: Int, granularity: QuantizationGranularity, blockSize: Int
  ) throws {
    let layout = try AffineLayout(shape: [1, columns], granularity: granularity)
    let tensor = try tensor(
      rows: [[Float](repeating: 0, count: columns)], bitWidth: bitWidth, granularity: granularity,
      lower: [Float](repeating: 0, count: layout.cellCount),
      scale: [Float](repeating: 1, count: layout.cellCount))
    let form = try ONNXMatMulForm(tensor)
    #expect(form.blockSize == blockSize)
    #expect(form.bitWidth == (bitWidth <= 2 ? 2 : 4))
  }

  @Test func tooSmallScaleIsRefused() {
    #expect(
      throws: ModelError.unsupported(
        "the scale 1e-45 is too small relative to the lower bound -1.0 for MatMulNBits")
    ) {
      try ONNXMatMulForm.parameters(lower: -1, scale: .leastNonzeroMagnitude)
    }
  }
}
