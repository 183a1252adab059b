import CKernels
import TestSupport
import Testing

@testable import SuperResolution

@Suite struct OutputCodingTests {
  static let shapes = [(4, 1), (10, 7), (60, 180), (61, 60), (180, 61)]

  private func quantizer(
    _ lower: Float, _ upper: Float, levels: Float, isRowScaled: Bool = false, group: Int = 0
  ) -> ck_quantizer {
    ck_quantizer(
      lower: lower, upper: upper, levels: levels, is_row_scaled: isRowScaled, group_size: group)
  }

  private func layer(
    inputs: Int, outputs: Int, levels: Float = 15, isRowScaled: Bool = false, scale: Float = 1
  ) throws -> IntegerLinear {
    var random = SplitMix(seed: UInt64(inputs * 1000 + outputs))
    return try IntegerLinear(
      codes: (0..<inputs * outputs).map { _ in UInt8.random(in: 0...15, using: &random) },
      bitWidth: 4, lower: random.normals(outputs).map { $0 * 0.1 },
      scale: random.normals(outputs).map { $0 * 0.05 * scale }, bias: random.normals(outputs),
      outputs: outputs, inputs: inputs,
      activations: quantizer(-1.3, 1.7, levels: levels, isRowScaled: isRowScaled))
  }

  /// Returns the codes of all columns, and the marks.
  private func codes(
    _ rows: Int, _ columns: Int, _ body: (CodeRows) -> Void
  ) -> (codes: [UInt8], marks: [Float]) {
    var memory = [Float](repeating: 1, count: CodeRows.floatCount(rows: rows, columns: columns))
    var (codes, marks): ([UInt8], [Float]) = ([], [])
    memory.write { memory in
      let coded = CodeRows(memory, rows: rows, columns: columns)
      body(coded)
      for row in 0..<rows {
        marks.append(coded.native.marks[row])
        for column in 0..<columns {
          codes.append(coded.native.codes[row * coded.native.stride + column])
        }
      }
    }
    return (codes, marks)
  }

  /// A chain of two layers, from values and from codes, at every level.
  @Test(arguments: shapes)
  func codesMatchThoseOfValues(shape: (Int, Int)) throws {
    for epilogue in [Epilogue.none, .gelu, .relu, .leakyReLU] {
      try compare(shape, epilogue)
    }
  }

  private func compare(_ shape: (Int, Int), _ epilogue: Epilogue) throws {
    let ((inputs, outputs), rows) = (shape, 101)
    let layer = try layer(inputs: inputs, outputs: outputs)
    let next = try self.layer(inputs: outputs, outputs: 9)
    let range = quantizer(-0.2, 1.1, levels: 15)
    let coding = try #require(
      OutputCoding(
        layer, then: epilogue,
        parts: [ck_output_part(columns: outputs, factor: 0.7, quantizer: range)]))
    var random = SplitMix(seed: 5)
    let x = random.normals(rows * (inputs + 1))
    var reference: [UInt8] = []
    for level in VectorLevels.available {
      VectorLevels.at(level) {
        var values = [Float](repeating: 0, count: rows * outputs)
        values.write {
          layer.apply(
            rows: rows, x, stride: inputs + 1, to: $0, stride: outputs, then: epilogue)
        }
        let input = codes(rows, inputs) {
          $0.clearMarks(rows: rows)
          $0.code(
            x, stride: inputs + 1, rows: 0..<rows, columns: 0..<inputs,
            by: quantizer(-1.3, 1.7, levels: 15))
        }
        #expect(input.marks.allSatisfy { $0 == 0 })
        var second = [Float](repeating: 0, count: rows * 9)
        let found = codes(rows, outputs) { coded in
          layer.code(rows: rows, x, stride: inputs + 1, by: coding, to: coded)
          second.write { next.apply(rows: rows, coded, to: $0, stride: 9) }
        }
        let other = codes(rows, outputs) { coded in
          _ = codes(rows, inputs) { input in
            input.clearMarks(rows: rows)
            input.code(
              x, stride: inputs + 1, rows: 0..<rows, columns: 0..<inputs,
              by: quantizer(-1.3, 1.7, levels: 15))
            layer.code(rows: rows, .codes(input), by: coding, to: coded)
          }
        }
        #expect(found.codes == other.codes)
        #expect(found.marks.allSatisfy { $0 == 0 })
        for (code, value) in zip(found.codes, values) {
          let steps = (min(max(0.7 * value, -0.2), 1.1) + 0.2) / (1.3 / 15)
          #expect(abs(Float(code) - steps) <= 0.501)
        }
        // Codes stand for these values, so that the next layer's results are theirs. The second layer has
        // other bounds than those of the codes; what it makes of them is that of its own bounds.
        let decoded = found.codes.map { -1.3 + Float($0) * 3 / 15 }
        var expected = [Float](repeating: 0, count: rows * 9)
        expected.write { next.apply(rows: rows, decoded, stride: outputs, to: $0, stride: 9) }
        #expect(largestDifference(second, expected.map(Double.init)) <= 2e-6)
        if case .gelu = epilogue { return }
        if reference.isEmpty { reference = found.codes }
        #expect(found.codes == reference)
      }
    }
  }

  @Test(arguments: VectorLevels.available)
  func partsHaveTheirOwnQuantizers(level: UInt32) throws {
    let layer = try layer(inputs: 20, outputs: 30)
    let ranges = [
      quantizer(-0.5, 0.5, levels: 3), quantizer(0, 2, levels: 255), quantizer(0.3, 0.3, levels: 7),
    ]
    let parts = zip(ranges, [0.25, 1, 1] as [Float]).map {
      ck_output_part(columns: 10, factor: $1, quantizer: $0)
    }
    let coding = try #require(OutputCoding(layer, then: .none, parts: parts))
    var random = SplitMix(seed: 6)
    var x = random.normals(7 * 20)
    x[3 * 20 + 5] = .nan
    x[4 * 20 + 5] = .infinity
    VectorLevels.at(level) {
      var values = [Float](repeating: 0, count: 7 * 30)
      values.write { layer.apply(rows: 7, x, stride: 20, to: $0, stride: 30) }
      let found = codes(7, 30) { coded in
        layer.code(rows: 7, x, stride: 20, by: coding, to: coded)
      }
      #expect(found.marks.map(\.isNaN) == (0..<7).map { $0 == 3 })
      for (index, code) in found.codes.enumerated() where index / 30 != 3 {
        let part = parts[index % 30 / 10]
        let (lower, upper) = (part.quantizer.lower, part.quantizer.upper)
        let clipped = min(max(part.factor * values[index], lower), upper)
        let step = upper > lower ? (upper - lower) / part.quantizer.levels : 1
        #expect(abs(Float(code) - (clipped - lower) / step) <= 0.501)
      }
      // The mark makes the next layer's row NaN.
      var second = [Float](repeating: 0, count: 7)
      if let next = try? self.layer(inputs: 30, outputs: 1) {
        _ = codes(7, 30) { coded in
          layer.code(rows: 7, x, stride: 20, by: coding, to: coded)
          second.write { next.apply(rows: 7, coded, to: $0, stride: 1) }
        }
      }
      #expect(second.map(\.isNaN) == (0..<7).map { $0 == 3 })
    }
  }

  @Test(arguments: VectorLevels.available, [1, 7, 16, 60, 61, 180])
  func normalizedRowsAreCoded(level: UInt32, columns: Int) throws {
    var random = SplitMix(seed: UInt64(columns))
    let norm = LayerNormalization(
      gamma: random.normals(columns), beta: random.normals(columns))
    let range = quantizer(-1.1, 2, levels: 15)
    let coded = try #require(norm.coded(by: range))
    let (rows, stride) = (9, columns + 3)
    var x = random.normals(rows * stride).map { $0 * 3 + 1 }
    x[3 * stride] = .nan
    x[5 * stride] = .infinity
    // Their sum overflows if there are two.
    for column in 0..<columns { x[7 * stride + column] = 3e38 }
    let isNaN = (0..<rows).map { $0 == 3 || $0 == 5 || ($0 == 7 && columns > 1) }
    VectorLevels.at(level) {
      var values = [Float](repeating: 0, count: rows * columns)
      values.write { norm.apply(rows: rows, x, stride: stride, to: $0, stride: columns) }
      let found = codes(rows, columns) { rowsOfCodes in
        x.withUnsafeBufferPointer { x in
          guard let x = x.baseAddress else { return }
          coded.apply(rows: rows, x, stride: stride, to: rowsOfCodes)
        }
      }
      #expect(found.marks.map(\.isNaN) == isNaN)
      #expect(
        isNaN.indices.allSatisfy { values[$0 * columns].isNaN == isNaN[$0] })
      for (index, code) in found.codes.enumerated() where !isNaN[index / columns] {
        let steps = (min(max(values[index], -1.1), 2) + 1.1) / (3.1 / 15)
        #expect(abs(Float(code) - steps) <= 0.501)
      }
    }
  }

  @Test func unsuitableCodingsOfNormalizedRowsAreRefused() {
    let plain = quantizer(-1, 1, levels: 15)
    func makes(_ quantizer: ck_quantizer, gamma: Float = 1, beta: Float = 0) -> Bool {
      LayerNormalization(gamma: [1, gamma], beta: [0, beta]).coded(by: quantizer) != nil
    }
    #expect(makes(plain))
    #expect(makes(quantizer(0.5, 0.5, levels: 3)))
    #expect(!makes(plain, gamma: .nan))
    #expect(!makes(plain, gamma: 1e30))
    #expect(!makes(plain, beta: .infinity))
    #expect(!makes(quantizer(0, 1e-30, levels: 15)))
    #expect(!makes(quantizer(-1, 1, levels: 300)))
    #expect(!makes(quantizer(-1, 1, levels: 15, isRowScaled: true)))
    #expect(!makes(quantizer(-1, 1, levels: 15, group: 4)))
  }

  @Test func unsuitableCodingsAreRefused() throws {
    let layer = try layer(inputs: 8, outputs: 4)
    func makes(
      _ quantizer: ck_quantizer, columns: [Int] = [4], factor: Float = 1,
      then epilogue: Epilogue = .none, _ other: IntegerLinear? = nil
    ) -> Bool {
      let parts = columns.map { ck_output_part(columns: $0, factor: factor, quantizer: quantizer) }
      return OutputCoding(other ?? layer, then: epilogue, parts: parts) != nil
    }
    let plain = quantizer(-1, 1, levels: 15)
    #expect(makes(plain))
    #expect(makes(plain, columns: [1, 3]))
    #expect(!makes(plain, columns: [3]))
    #expect(!makes(plain, columns: [1, 4]))
    #expect(!makes(plain, columns: [1, 3], then: .relu))
    #expect(!makes(plain, factor: 0))
    #expect(!makes(plain, factor: .infinity))
    #expect(!makes(quantizer(-1, 1, levels: 256)))
    #expect(!makes(quantizer(-1, 1, levels: 15, isRowScaled: true)))
    #expect(!makes(quantizer(-1, 1, levels: 15, group: 4)))
    #expect(!makes(quantizer(-.infinity, 1, levels: 15)))
    #expect(!makes(quantizer(0, 1e-30, levels: 15)))
    #expect(!makes(plain, try self.layer(inputs: 8, outputs: 4, isRowScaled: true)))
    #expect(!makes(plain, try self.layer(inputs: 8, outputs: 4, scale: 1e30)))
    [Float](repeating: 0, count: 4).withUnsafeBufferPointer { rows in
      guard let rows = rows.baseAddress else { return }
      #expect(!makes(plain, then: .add(rows, stride: 4)))
    }
  }
}

extension IntegerLinear {
  fileprivate func code(
    rows: Int, _ x: [Float], stride: Int, by coding: OutputCoding, to y: CodeRows
  ) {
    x.withUnsafeBufferPointer { x in
      guard let start = x.baseAddress else { return }
      code(rows: rows, .values(start, stride: stride), by: coding, to: y)
    }
  }
}
