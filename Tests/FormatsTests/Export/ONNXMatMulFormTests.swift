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
      #expect(found.scale == scale && found.constantCode == nil)
      let product = found.zeroPoint * scale
      #expect(abs(product + lower) <= lower.ulp)
      if product == -lower { exact += 1 }
    }
    // More are exact than the nearest quotient alone would give, but not all.
    #expect((700..<1000).contains(exact), "\(exact)")
  }

  @Test(arguments: [Float(-0.75), 0, 0.3], [2, 4, 8])
  func constantBlocksDecodeToTheirBound(_ lower: Float, bitWidth: Int) throws {
    let tensor = try tensor(
      rows: [[Float](repeating: lower, count: 20), (0..<20).map { Float($0 % 4) }],
      bitWidth: bitWidth, lower: [lower, 0], scale: [0, 1])
    for prefersIntegers in [false, true] {
      let form = try ONNXMatMulForm(tensor, prefersIntegers: prefersIntegers)
      #expect(form.zeroPoints == (bitWidth > 2 || prefersIntegers ? .integer : .float))
      let parameters = try form.parameters(of: tensor)
      let codes = try form.codes(of: tensor, parameters)
      #expect(form.values(codes: codes, parameters) == (try tensor.floatValues()))
      // Codes past a row's end are 0.
      #expect(codes[20..<form.blocksPerRow * form.blockSize].allSatisfy { $0 == 0 })
    }
  }

  /// Bounds that are multiples of scales give integer zero points, but for 2-bit codes, which ONNX
  /// Runtime decodes faster without.
  @Test(arguments: [
    (1, Float(-1), 2, ONNXMatMulForm.ZeroPoints.float), (2, -2, 2, .float), (3, -5, 4, .integer),
    (4, -15, 4, .integer), (4, -16, 4, .float), (4, 1, 4, .float), (4, -7.5, 4, .float),
    (5, -255, 8, .integer), (8, 0, 8, .integer),
  ])
  func integerZeroPointsAreFound(
    bitWidth: Int, lower: Float, width: Int, zeroPoints: ONNXMatMulForm.ZeroPoints
  ) throws {
    let tensor = try tensor(
      rows: [(0..<70).map { (lower + Float($0 % (1 << bitWidth))) * 0.3 }], bitWidth: bitWidth,
      lower: [lower * 0.3], scale: [0.3])
    let form = try ONNXMatMulForm(tensor)
    #expect(form.bitWidth == width)
    #expect(form.zeroPoints == zeroPoints)
    let parameters = try form.parameters(of: tensor)
    let values = form.values(codes: try form.codes(of: tensor, parameters), parameters)
    let error = try largestDifference(values, tensor.floatValues())
    #expect(error <= Double((lower * 0.3).ulp))
  }

  @Test func zeroPointsAreRoundedOnRequest() throws {
    let tensor = try tensor(
      rows: [(0..<64).map { -0.6 + 0.25 * Float($0 % 4) }], lower: [-0.6], scale: [0.25])
    #expect(try ONNXMatMulForm(tensor, prefersIntegers: true).zeroPoints == .float)
    let form = try ONNXMatMulForm(tensor, roundsZeroPoints: true)
    #expect(form.zeroPoints == .integer)
    let parameters = try form.parameters(of: tensor)
    #expect(parameters == [.init(scale: 0.25, zeroPoint: 2)])
    let values = form.values(codes: try form.codes(of: tensor, parameters), parameters)
    #expect(values.prefix(4) == [-0.5, -0.25, 0, 0.25])
  }

  /// Each row's zero points fill whole bytes, the first in the lowest bits.
  @Test func zeroPointsArePackedByRow() throws {
    let zeros: [Float] = [1, 2, 3, 4, 5, 15]
    let tensor = try tensor(
      rows: [[Float](repeating: 0, count: 48), [Float](repeating: 0, count: 48)], bitWidth: 4,
      granularity: .group(16), lower: zeros.map { -$0 }, scale: [Float](repeating: 1, count: 6))
    let form = try ONNXMatMulForm(tensor)
    #expect(form.blockSize == 16)
    #expect(form.packedZeroPoints(try form.parameters(of: tensor)) == [0x21, 0x03, 0x54, 0x0F])
    #expect(form.byteCount == 48 + 24 + 4)
  }

  @Test(arguments: [
    (Float(-0.5), false, "MatMulNBits takes 6-bit codes only with integer zero points"),
    (0.5, true, "MatMulNBits takes 6-bit codes only with integer zero points from 0 to 255"),
  ])
  func wideCodesNeedIntegerZeroPoints(lower: Float, rounds: Bool, reason: String) throws {
    let tensor = try tensor(
      rows: [[Float](repeating: 0, count: 32)], bitWidth: 6, lower: [lower * 3], scale: [1])
    let error = #expect(throws: ModelError.self) {
      try ONNXMatMulForm(tensor, roundsZeroPoints: rounds)
    }
    #expect(error?.problem == .unsupported(reason))
    #expect(error?.remedy == (rounds ? nil : .integerZeroPoints))
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
