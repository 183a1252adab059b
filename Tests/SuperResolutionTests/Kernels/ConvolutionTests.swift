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
        weight: weight, bias: bias, shape: ConvolutionShape(outputs: outputs, inputs: inputs))
      let expected = Self.reference(
        height: height, width: width, x: x, weight: weight, bias: bias, outputs: outputs,
        inputs: inputs)
      var y = [Float](repeating: 12345, count: expected.count)
      var parts = y
      VectorLevels.at(level) {
        y.write {
          convolution.apply(
            height: height, width: width, rows: 0..<height, x, stride: inputs, to: $0,
            stride: outputs)
        }
        for row in 0..<height {
          parts.write {
            convolution.apply(
              height: height, width: width, rows: row..<row + 1, x, stride: inputs, to: $0,
              stride: outputs)
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
              height: height, width: width, rows: 0..<height, x, stride: inputs, to: $0,
              stride: outputs, then: .add(start, stride: outputs))
          }
        }
      }
      let sums = zip(expected, residual).map { $0 + Double($1) }
      #expect(largestDifference(y, sums) < 1e-5)
    }
  }

  /// The bound is that of `ck_winograd_apply`.
  @Test(arguments: VectorLevels.available, sizes + [(9, 7), (12, 30)])
  func winogradConvolutionStaysWithinErrorBound(level: UInt32, size: (height: Int, width: Int)) {
    let (height, width) = size
    var random = SplitMix(seed: UInt64(height * 100 + width))
    for (inputs, outputs) in [(1, 1), (8, 3), (12, 16), (17, 61), (64, 33)] {
      let (xStride, yStride) = (inputs + 5, outputs + 3)
      let weight = random.normals(inputs * outputs * 9)
      let bias = random.normals(outputs)
      let x = random.normals(height * width * xStride)
      let convolution = WinogradConvolution(
        weight: weight, bias: bias, outputs: outputs, inputs: inputs)
      let expected = Self.reference(
        height: height, width: width,
        x: (0..<height * width).flatMap { x[$0 * xStride..<$0 * xStride + inputs] },
        weight: weight, bias: bias, outputs: outputs, inputs: inputs)
      var y = [Float](repeating: 12345, count: height * width * yStride)
      var parts = y
      var scratch = [Float](repeating: .nan, count: convolution.scratchCount)
      var values = [Float](repeating: .nan, count: convolution.valueCount)
      VectorLevels.at(level) {
        values.write { values in
          for panel in 0..<convolution.panelCount {
            convolution.evaluate(panel..<panel + 1, to: values)
          }
        }
        scratch.write { scratch in
          func run(_ rows: Range<Int>, _ y: UnsafeMutablePointer<Float>) {
            convolution.apply(
              values: values, height: height, width: width, rows: rows, x, stride: xStride, to: y,
              stride: yStride, scratch: scratch)
          }
          y.write { run(0..<height, $0) }
          parts.write { parts in
            for row in stride(from: 0, to: height, by: WinogradConvolution.tileHeight) {
              run(row..<min(height, row + WinogradConvolution.tileHeight), parts)
            }
          }
        }
      }
      #expect(y.bits == parts.bits)
      let largest = Double(x.map(abs).max() ?? 0)
      for pixel in 0..<height * width {
        for output in 0..<outputs {
          let weights = weight[output * inputs * 9..<(output + 1) * inputs * 9]
          let sum = weights.reduce(Double(abs(bias[output]))) { $0 + largest * Double(abs($1)) }
          let bound = 11 * Double(inputs + 24) * 0x1p-20 * sum
          let error = abs(Double(y[pixel * yStride + output]) - expected[pixel * outputs + output])
          // What is found in practice is less than a hundredth of it.
          #expect(error <= bound / 50)
        }
      }
      let between = gapElements(y, rows: height * width, columns: outputs, stride: yStride)
      #expect(between.allSatisfy { $0 == 12345 })
    }
  }

  /// Any kernel, step, dilation and padding, with pixels that lie apart.
  @Test(
    arguments: VectorLevels.available,
    [
      ConvolutionShape(outputs: 5, inputs: 3, kernel: (1, 1)),
      ConvolutionShape(outputs: 17, inputs: 4, kernel: (5, 3), mode: .reflect),
      ConvolutionShape(outputs: 16, inputs: 16, kernel: (3, 3), step: 2, padding: (0, 0)),
      ConvolutionShape(outputs: 7, inputs: 2, kernel: (3, 3), dilation: 2, mode: .replicate),
      ConvolutionShape(outputs: 9, inputs: 6, kernel: (17, 17)),
      ConvolutionShape(outputs: 3, inputs: 1, kernel: (1, 7), step: 3),
      ConvolutionShape(outputs: 33, inputs: 1, kernel: (2, 2), padding: (1, 0)),
    ])
  func anyShapeMatchesDefinition(level: UInt32, shape: ConvolutionShape) {
    let (height, width, gap) = (13, 11, 3)
    var random = SplitMix(seed: UInt64(shape.outputs))
    let (rows, columns) = shape.kernel
    let weight = random.normals(shape.outputs * shape.inputs * rows * columns)
    let bias = random.normals(shape.outputs)
    let x = random.normals(height * width * (shape.inputs + gap))
    let size = shape.output(height: height, width: width)
    var expected: [Double] = []
    for place in 0..<size.height * size.width {
      for output in 0..<shape.outputs {
        var sum = Double(bias[output])
        for row in 0..<rows {
          for column in 0..<columns {
            let down =
              place / size.width * shape.step + row * shape.dilation - shape.padding.height
            let right =
              place % size.width * shape.step + column * shape.dilation - shape.padding.width
            guard let fromRow = shape.mode.pixel(down, of: height),
              let fromColumn = shape.mode.pixel(right, of: width)
            else { continue }
            for input in 0..<shape.inputs {
              let index = ((output * shape.inputs + input) * rows + row) * columns + column
              sum +=
                Double(weight[index])
                * Double(x[(fromRow * width + fromColumn) * (shape.inputs + gap) + input])
            }
          }
        }
        expected.append(sum)
      }
    }
    let convolution = Convolution(weight: weight, bias: bias, shape: shape)
    let stride = shape.outputs + gap
    var y = [Float](repeating: 12345, count: size.height * size.width * stride)
    VectorLevels.at(level) {
      y.write { y in
        // In two calls, the second of which begins in the middle.
        for rows in [0..<size.height / 2, size.height / 2..<size.height] {
          convolution.apply(
            height: height, width: width, rows: rows, x, stride: shape.inputs + gap, to: y,
            stride: stride)
        }
      }
    }
    let found = (0..<size.height * size.width).flatMap {
      y[$0 * stride..<$0 * stride + shape.outputs]
    }
    #expect(largestDifference(found, expected) < 3e-5)
    let between = gapElements(
      y, rows: size.height * size.width, columns: shape.outputs, stride: stride)
    #expect(between.allSatisfy { $0 == 12345 })
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
