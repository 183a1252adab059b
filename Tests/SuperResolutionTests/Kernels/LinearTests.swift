import TestSupport
import Testing

@testable import SuperResolution

@Suite struct LinearTests {
  static let shapes = [(1, 1), (10, 7), (60, 180), (61, 60), (180, 61), (120, 16), (3, 65)]

  /// Returns the outputs in double precision, row-major, from the layer's own definition.
  static func reference(
    rows: Int, x: [Float], xStride: Int, weight: [Float], bias: [Float]?, outputs: Int, inputs: Int
  ) -> [Double] {
    var sums: [Double] = []
    for row in 0..<rows {
      for output in 0..<outputs {
        var sum = Double(bias?[output] ?? 0)
        for input in 0..<inputs {
          sum += Double(x[row * xStride + input]) * Double(weight[output * inputs + input])
        }
        sums.append(sum)
      }
    }
    return sums
  }

  @Test(arguments: VectorLevels.available, shapes)
  func linearMatchesDefinition(level: UInt32, shape: (inputs: Int, outputs: Int)) {
    let (inputs, outputs) = shape
    var random = SplitMix(seed: UInt64(inputs * 1000 + outputs))
    // The sums are near 1, as in trained layers.
    let weight = random.normals(inputs * outputs).map { $0 / Float(inputs).squareRoot() }
    let bias = random.normals(outputs)
    for rows in [0, 1, 7, 13] {
      let (xStride, yStride) = (inputs + 3, outputs + 5)
      let x = random.normals(rows * xStride + 1)
      let residual = random.normals(rows * outputs + 1)
      for someBias in [nil, bias] {
        let linear = Linear(weight: weight, bias: someBias, outputs: outputs, inputs: inputs)
        let sums = Self.reference(
          rows: rows, x: x, xStride: xStride, weight: weight, bias: someBias, outputs: outputs,
          inputs: inputs)
        let cases: [(Epilogue, (Double, Int) -> Double)] = [
          (.none, { sum, _ in sum }), (.gelu, { sum, _ in exactGELU(sum) }),
          (.relu, { sum, _ in max(0, sum) }),
          (.leakyReLU, { sum, _ in sum < 0 ? sum * 0.01 : sum }),
        ]
        for (epilogue, finish) in cases {
          var y = [Float](repeating: 12345, count: rows * yStride + 1)
          VectorLevels.at(level) {
            y.write {
              linear.apply(
                rows: rows, x, stride: xStride, to: $0, stride: yStride, then: epilogue)
            }
          }
          let found = rowElements(y, rows: rows, columns: outputs, stride: yStride)
          let expected = sums.indices.map { finish(sums[$0], $0) }
          #expect(largestDifference(found, expected) < 5e-6)
          let between = gapElements(y, rows: rows, columns: outputs, stride: yStride)
          #expect(between.allSatisfy { $0 == 12345 })
        }
        var y = residual
        VectorLevels.at(level) {
          y.write {
            linear.apply(
              rows: rows, x, stride: xStride, to: $0, stride: outputs,
              then: .add($0, stride: outputs))
          }
        }
        let expected = sums.indices.map { sums[$0] + Double(residual[$0]) }
        #expect(largestDifference(Array(y.dropLast()), expected) < 5e-6)
      }
    }
  }

  @Test(arguments: VectorLevels.available)
  func rowsDoNotDependOnEachOther(level: UInt32) {
    var random = SplitMix(seed: 5)
    let linear = Linear(
      weight: random.normals(60 * 61), bias: random.normals(61), outputs: 61, inputs: 60)
    let x = random.normals(103 * 60)
    var whole = [Float](repeating: 0, count: 103 * 61)
    var parts = whole
    VectorLevels.at(level) {
      whole.write { linear.apply(rows: 103, x, stride: 60, to: $0, stride: 61, then: .gelu) }
      x.withUnsafeBufferPointer { x in
        guard let x = x.baseAddress else { return }
        var first = 0
        for count in [1, 2, 5, 11, 84] {
          parts.write {
            linear.apply(
              rows: count, x + first * 60, stride: 60, to: $0 + first * 61, stride: 61,
              then: .gelu)
          }
          first += count
        }
      }
    }
    #expect(whole.bits == parts.bits)
  }

  @Test(arguments: VectorLevels.available)
  func nonFiniteInputsStayInTheirRow(level: UInt32) {
    let linear = Linear(
      weight: [Float](repeating: 1, count: 40), bias: nil, outputs: 20, inputs: 2)
    let x: [Float] = [1, 2, .nan, 1, .infinity, 1, .infinity, -.infinity, 3, 4]
    var y = [Float](repeating: 0, count: 100)
    VectorLevels.at(level) {
      y.write { linear.apply(rows: 5, x, stride: 2, to: $0, stride: 20) }
    }
    let expected = [3, .nan, .infinity, .nan, 7].flatMap {
      [Double](repeating: $0, count: 20)
    }
    #expect(largestDifference(y, expected) == 0)
  }
}
