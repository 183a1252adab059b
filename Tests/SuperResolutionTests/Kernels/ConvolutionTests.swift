import TestSupport
import Testing

@testable import SuperResolution

@Suite struct ConvolutionTests {
  static let sizes = [(1, 1), (1, 5), (4, 1), (2, 2), (5, 11)]

  /// Returns the outputs (row, column, output) in double precision; `weight` is [outputs, inputs,
  /// 3, 3].
  static func reference(
    height: Int, width: Int, x: [Float], weight: [Float], bias: [Float], outputs: Int, inputs: Int
  ) -> [Double] {
    var result: [Double] = []
    for row in 0..<height {
      for column in 0..<width {
        for output in 0..<outputs {
          var sum = Double(bias[output])
          for tapRow in max(0, row - 1)...min(height - 1, row + 1) {
            for tapColumn in max(0, column - 1)...min(width - 1, column + 1) {
              let tap = (tapRow - row + 1) * 3 + tapColumn - column + 1
              for input in 0..<inputs {
                let element = x[(tapRow * width + tapColumn) * inputs + input]
                sum += Double(element) * Double(weight[(output * inputs + input) * 9 + tap])
              }
            }
          }
          result.append(sum)
        }
      }
    }
    return result
  }

  @Test(arguments: VectorLevels.available, sizes)
  func convolutionMatchesDefinition(level: UInt32, size: (height: Int, width: Int)) {
    let (height, width) = size
    var random = SplitMix(seed: UInt64(height * 100 + width))
    for (inputs, outputs) in [(1, 1), (3, 60), (10, 12), (17, 61)] {
      let weight = random.normals(inputs * outputs * 9)
      let bias = random.normals(outputs)
      let x = random.normals(height * width * inputs)
      let convolution = Convolution(
        weight: weight, bias: bias, outputs: outputs, inputs: inputs)
      let expected = Self.reference(
        height: height, width: width, x: x, weight: weight, bias: bias, outputs: outputs,
        inputs: inputs)
      var y = [Float](repeating: 12345, count: expected.count)
      var parts = y
      VectorLevels.at(level) {
        y.write {
          convolution.apply(height: height, width: width, rows: 0..<height, x, to: $0)
        }
        for row in 0..<height {
          parts.write {
            convolution.apply(height: height, width: width, rows: row..<row + 1, x, to: $0)
          }
        }
      }
      #expect(largestDifference(y, expected) < 1e-5)
      #expect(y.bits == parts.bits)
      let residual = random.normals(y.count)
      residual.withUnsafeBufferPointer { residual in
        guard let start = residual.baseAddress else { return }
        VectorLevels.at(level) {
          y.write {
            convolution.apply(
              height: height, width: width, rows: 0..<height, x, to: $0,
              then: .add(start, stride: outputs))
          }
        }
      }
      let sums = zip(expected, residual).map { $0 + Double($1) }
      #expect(largestDifference(y, sums) < 1e-5)
    }
  }

  @Test(arguments: VectorLevels.available, sizes + [(6, 6), (2, 9)])
  func depthwiseConvolutionFiltersEachChannel(level: UInt32, size: (height: Int, width: Int)) {
    let (height, width) = size
    var random = SplitMix(seed: UInt64(height * 100 + width))
    for channels in [1, 5, 10, 16, 60, 61] {
      let (xStride, yStride) = (channels + 7, channels + 2)
      let weight = random.normals(channels * 9)
      let bias = random.normals(channels)
      let x = random.normals(height * width * xStride)
      let convolution = DepthwiseConvolution(weight: weight, bias: bias, channels: channels)
      var y = [Float](repeating: 12345, count: height * width * yStride)
      var parts = y
      VectorLevels.at(level) {
        y.write {
          convolution.apply(
            height: height, width: width, rows: 0..<height, x, stride: xStride, to: $0,
            stride: yStride, then: .gelu)
        }
        for row in 0..<height {
          parts.write {
            convolution.apply(
              height: height, width: width, rows: row..<row + 1, x, stride: xStride, to: $0,
              stride: yStride, then: .gelu)
          }
        }
      }
      #expect(y.bits == parts.bits)
      for channel in 0..<channels {
        let pixels = 0..<height * width
        let expected = Self.reference(
          height: height, width: width, x: pixels.map { x[$0 * xStride + channel] },
          weight: Array(weight[channel * 9..<channel * 9 + 9]), bias: [bias[channel]], outputs: 1,
          inputs: 1)
        let found = pixels.map { y[$0 * yStride + channel] }
        #expect(largestDifference(found, expected.map(exactGELU)) < 1e-5)
      }
      let between = gapElements(
        y, rows: height * width, columns: channels, stride: yStride)
      #expect(between.allSatisfy { $0 == 12345 })
    }
  }
}
