import CKernels
import TestSupport
import Testing

@testable import Storage
@testable import SuperResolution

@Suite struct IntegerLinearTests {
  static let shapes = [(1, 1), (10, 7), (60, 180), (61, 60), (180, 61), (2100, 3)]

  @Test(arguments: VectorLevels.available, 1...8)
  func integerLinearMatchesFloatSimulation(level: UInt32, bitWidth: Int) throws {
    try expectAgreement(level: level, bitWidth: bitWidth, isRowScaled: false)
    try expectAgreement(level: level, bitWidth: bitWidth, isRowScaled: true)
    for size in [4, 16, 20] {
      try expectAgreement(level: level, bitWidth: bitWidth, isRowScaled: false, groupSize: size)
    }
  }

  private func expectAgreement(
    level: UInt32, bitWidth: Int, isRowScaled: Bool, groupSize: Int = 0
  ) throws {
    let isMeasured = isRowScaled || groupSize > 0
    for (inputs, outputs) in Self.shapes {
      var random = SplitMix(seed: UInt64(bitWidth * 100_000 + inputs * 100 + outputs))
      let highest = UInt8((1 << bitWidth) - 1)
      let codes = (0..<inputs * outputs).map { _ in UInt8.random(in: 0...highest, using: &random) }
      let (lower, scale) = (random.normals(outputs), random.normals(outputs))
      let bias = random.normals(outputs)
      var quantizer = ck_quantizer(
        lower: isMeasured ? -0.9 : -1.3, upper: isMeasured ? 0.8 : 1.7, levels: Float(highest),
        is_row_scaled: isRowScaled, group_size: groupSize)
      let layer = try IntegerLinear(
        codes: codes, bitWidth: bitWidth, lower: lower, scale: scale, bias: bias, outputs: outputs,
        inputs: inputs, activations: quantizer)
      let rows = 9
      var x = random.normals(rows * (inputs + 1))
      // One row of zeros.
      for index in 3 * (inputs + 1)..<4 * (inputs + 1) { x[index] = 0 }
      var simulated = x
      simulated.write { ck_quantize(&quantizer, $0, rows, inputs, inputs + 1) }
      var expected: [Double] = []
      for row in 0..<rows {
        for output in 0..<outputs {
          var sum = Double(bias[output])
          for input in 0..<inputs {
            let code = Double(codes[output * inputs + input])
            let weight = Double(lower[output]) + Double(scale[output]) * code
            sum += weight * Double(simulated[row * (inputs + 1) + input])
          }
          expected.append(sum)
        }
      }
      var y = [Float](repeating: 12345, count: rows * (outputs + 2))
      var parts = y
      VectorLevels.at(level) {
        y.write { layer.apply(rows: rows, x, stride: inputs + 1, to: $0, stride: outputs + 2) }
        x.withUnsafeBufferPointer { x in
          guard let x = x.baseAddress else { return }
          parts.write { y in
            for row in 0..<rows {
              layer.apply(
                rows: 1, x + row * (inputs + 1), stride: inputs + 1, to: y + row * (outputs + 2),
                stride: outputs + 2)
            }
          }
        }
      }
      #expect(y.bits == parts.bits)
      let found = rowElements(y, rows: rows, columns: outputs, stride: outputs + 2)
      let largest = expected.reduce(1) { max($0, abs($1)) }
      let difference = zip(found, expected).reduce(0) { max($0, abs(Double($1.0) - $1.1)) }
      // Bounds that depend on the largest input give larger sums, which nearly cancel.
      #expect(difference <= (isMeasured ? 3e-5 : 1e-5) * largest)
      let between = gapElements(y, rows: rows, columns: outputs, stride: outputs + 2)
      #expect(between.allSatisfy { $0 == 12345 })
    }
  }

  /// Partial sums of the largest products must not overflow.
  @Test(arguments: VectorLevels.available, [(8, 255), (7, 127), (4, 15), (8, 15), (4, 255)])
  func largestCodesAreSummedExactly(level: UInt32, widths: (bits: Int, levels: Int)) throws {
    let inputs = 16384
    let highest = UInt8((1 << widths.bits) - 1)
    for code in [0, highest] {
      let layer = try IntegerLinear(
        codes: [UInt8](repeating: code, count: inputs), bitWidth: widths.bits,
        lower: [-Float(1 << (widths.bits - 1))], scale: [1], bias: nil, outputs: 1, inputs: inputs,
        activations: ck_quantizer(
          lower: 0, upper: Float(widths.levels), levels: Float(widths.levels), is_row_scaled: false,
          group_size: 0)
      )
      let x = [Float](repeating: .infinity, count: inputs)
      var y: [Float] = [0]
      VectorLevels.at(level) {
        y.write { layer.apply(rows: 1, x, stride: inputs, to: $0, stride: 1) }
      }
      let weight = Int(code) - (1 << (widths.bits - 1))
      #expect(Double(y[0]) == Double(Float(inputs * weight * widths.levels)))
    }
  }

  @Test(arguments: VectorLevels.available)
  func epiloguesMatchOtherLayers(level: UInt32) throws {
    let layer = try IntegerLinear(
      codes: [0, 3, 1, 2], bitWidth: 2, lower: [-2, -1], scale: [1, 1], bias: [0.5, 0],
      outputs: 2, inputs: 2,
      activations: ck_quantizer(lower: 0, upper: 3, levels: 3, is_row_scaled: false, group_size: 0))
    // W = [[-2, 1], [0, 1]]; the last row holds a NaN.
    let x: [Float] = [1, 2, 3, -9, .nan, 1]
    let sums: [Double] = [0.5, 2, -5.5, 0, .nan, .nan]
    let residual: [Float] = [1, 2, 3, 4, 5, 6]
    let cases: [(Epilogue, [Double])] = [
      (.none, sums), (.gelu, sums.map(exactGELU)),
      (.relu, sums.map { $0 < 0 ? 0 : $0 }), (.leakyReLU, sums.map { $0 < 0 ? $0 * 0.01 : $0 }),
    ]
    for (epilogue, expected) in cases {
      var y = residual
      VectorLevels.at(level) {
        y.write { layer.apply(rows: 3, x, stride: 2, to: $0, stride: 2, then: epilogue) }
      }
      #expect(largestDifference(y, expected) < 1e-6)
    }
    var y = residual
    VectorLevels.at(level) {
      y.write { layer.apply(rows: 3, x, stride: 2, to: $0, stride: 2, then: .add($0, stride: 2)) }
    }
    #expect(largestDifference(y, zip(sums, residual).map { $0 + Double($1) }) < 1e-6)
  }

  @Test(arguments: VectorLevels.available)
  func nonFiniteInputsStayInTheirRow(level: UInt32) throws {
    let layer = try IntegerLinear(
      codes: [0, 3, 1, 2], bitWidth: 2, lower: [-2, -1], scale: [1, 1], bias: [0.5, 0],
      outputs: 2, inputs: 2,
      activations: ck_quantizer(lower: -1, upper: 1, levels: 3, is_row_scaled: true, group_size: 0))
    let x: [Float] = [3, -3, .nan, 1, .infinity, 1]
    var y = [Float](repeating: 0, count: 6)
    VectorLevels.at(level) { y.write { layer.apply(rows: 3, x, stride: 2, to: $0, stride: 2) } }
    // W = [[-2, 1], [0, 1]].
    #expect(largestDifference(Array(y[..<2]), [-8.5, -3]) < 1e-5)
    #expect(y[2...].allSatisfy { $0.isNaN })
  }

  @Test(arguments: VectorLevels.available)
  func nonFiniteInputsOfGroupStayInTheirRow(level: UInt32) throws {
    let layer = try IntegerLinear(
      codes: [UInt8](repeating: 1, count: 10), bitWidth: 2, lower: [-1], scale: [1], bias: [7],
      outputs: 1, inputs: 10,
      activations: ck_quantizer(
        lower: -1, upper: 1, levels: 3, is_row_scaled: false, group_size: 4))
    // All weights are zero.
    var x = [Float](repeating: 3, count: 40)
    x[11] = .infinity
    x[25] = .nan
    x[39] = -.infinity
    var y = [Float](repeating: 0, count: 4)
    VectorLevels.at(level) { y.write { layer.apply(rows: 4, x, stride: 10, to: $0, stride: 1) } }
    #expect(y[0] == 7)
    #expect(y[1...].allSatisfy { $0.isNaN })
  }

  /// The groups would split a step, or be more than there is room for.
  @Test(arguments: [(6, 12), (3, 12), (4, 5000), (16, 0)])
  func refusesGroupsThatSplitSteps(size: Int, inputs: Int) {
    #expect(!ck_integer_linear_takes(inputs, size))
    let error = ModelError(
      "no integer kernel for 1 × \(inputs) codes of 2 bits and inputs of 3.0 levels in groups of "
        + "\(size)")
    #expect(throws: error) {
      try IntegerLinear(
        codes: [UInt8](repeating: 0, count: inputs), bitWidth: 2, lower: [0], scale: [1], bias: nil,
        outputs: 1, inputs: inputs,
        activations: ck_quantizer(
          lower: -1, upper: 1, levels: 3, is_row_scaled: false, group_size: size))
    }
  }

  @Test(arguments: [(2, 4, 15), (0, 0, 15), (9, 0, 15), (4, 1, 256), (4, 1, 0), (4, 1, 2.5)])
  func refusesUnsupportedCodesAndLevels(bitWidth: Int, code: UInt8, levels: Float) {
    let error = ModelError(
      "no integer kernel for 1 × 1 codes of \(bitWidth) bits and inputs of \(levels) levels")
    #expect(throws: error) {
      try IntegerLinear(
        codes: [code], bitWidth: bitWidth, lower: [0], scale: [1], bias: nil, outputs: 1, inputs: 1,
        activations: ck_quantizer(
          lower: 0, upper: 1, levels: levels, is_row_scaled: false, group_size: 0))
    }
  }
}
