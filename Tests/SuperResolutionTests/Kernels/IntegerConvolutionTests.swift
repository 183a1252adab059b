import CKernels
import TestSupport
import Testing

@testable import Storage
@testable import SuperResolution

@Suite struct IntegerConvolutionTests {
  /// The size of the image, the channels and the outputs.
  typealias Case = (height: Int, width: Int, channels: Int, outputs: Int)

  static let quantizers = [
    ck_quantizer(lower: -1.3, upper: 1.7, levels: 0, is_row_scaled: false, group_size: 0),
    // No code stands for zero.
    ck_quantizer(lower: 0.1, upper: 1.7, levels: 0, is_row_scaled: false, group_size: 0),
    ck_quantizer(lower: -0.9, upper: 0.8, levels: 0, is_row_scaled: true, group_size: 0),
    ck_quantizer(lower: -0.9, upper: 0.8, levels: 0, is_row_scaled: false, group_size: 4),
    ck_quantizer(lower: -0.9, upper: 0.8, levels: 0, is_row_scaled: false, group_size: 16),
  ]

  @Test(arguments: VectorLevels.available, 1...8)
  func imagesOfAllSizesMatchDefinition(level: UInt32, bitWidth: Int) throws {
    let shapes = [ConvolutionShape(outputs: 0, inputs: 0)]
    let cases: [Case] = [
      (1, 1, 3, 5), (1, 5, 4, 2), (4, 1, 6, 17), (2, 2, 1, 1), (5, 11, 21, 33), (3, 9, 64, 7),
    ]
    for quantizer in Self.quantizers {
      try check(level, bitWidth, shapes, cases, quantizer)
    }
  }

  /// Images smaller than the kernel, kernels of even sides, steps, gaps and what is around the image.
  @Test(arguments: VectorLevels.available)
  func shapesMatchDefinition(level: UInt32) throws {
    func shape(
      _ kernel: (Int, Int), step: Int = 1, dilation: Int = 1, padding: (Int, Int)? = nil,
      mode: ConvolutionShape.Padding = .zeros
    ) -> ConvolutionShape {
      ConvolutionShape(
        outputs: 0, inputs: 0, kernel: kernel, step: step, dilation: dilation, padding: padding,
        mode: mode)
    }
    let shapes = [
      shape((1, 1)), shape((1, 1), step: 2), shape((5, 5)), shape((7, 3)), shape((2, 4)),
      shape((3, 3), step: 2), shape((3, 3), step: 2, padding: (0, 0)), shape((3, 3), dilation: 2),
      shape((3, 3), padding: (2, 0)), shape((3, 3), step: 3, padding: (4, 4)),
      shape((3, 3), mode: .reflect), shape((3, 3), mode: .replicate),
      shape((3, 3), step: 2, padding: (2, 2), mode: .replicate),
    ]
    let cases: [Case] = [(3, 4, 5, 3), (6, 7, 8, 18)]
    for quantizer in Self.quantizers { try check(level, 4, shapes, cases, quantizer) }
    try check(level, 3, [shape((5, 5))], [(2, 1, 3, 2)], Self.quantizers[1])
  }

  private func check(
    _ level: UInt32, _ bitWidth: Int, _ shapes: [ConvolutionShape], _ cases: [Case],
    _ quantizer: ck_quantizer
  ) throws {
    for var shape in shapes {
      for (height, width, channels, outputs) in cases {
        (shape.outputs, shape.inputs) = (outputs, channels)
        let size = shape.output(height: height, width: width)
        guard size.height > 0, size.width > 0 else { continue }
        var random = SplitMix(seed: UInt64(bitWidth * 1000 + channels * 10 + width))
        let (down, right) = shape.kernel
        let taps = down * right
        let highest = UInt8((1 << bitWidth) - 1)
        let codes = (0..<outputs * channels * taps).map { _ in
          UInt8.random(in: 0...highest, using: &random)
        }
        let (lower, scale) = (random.normals(outputs), random.normals(outputs))
        let bias = random.normals(outputs)
        var quantizer = quantizer
        quantizer.levels = Float(highest)
        let layer = try IntegerConvolution(
          codes: codes, bitWidth: bitWidth, lower: lower, scale: scale, bias: bias,
          outputs: outputs, channels: channels, taps: taps, activations: quantizer)

        let stride = channels + 1
        let x = random.normals(height * width * stride)
        var simulated = x
        simulated.write { ck_quantize(&quantizer, $0, height * width, channels, stride) }
        var expected: [Double] = []
        for place in 0..<size.height * size.width {
          for output in 0..<outputs {
            var sum = Double(bias[output])
            for tap in 0..<taps {
              guard
                let row = shape.mode.pixel(
                  place / size.width * shape.step + tap / right * shape.dilation
                    - shape.padding.height, of: height),
                let column = shape.mode.pixel(
                  place % size.width * shape.step + tap % right * shape.dilation
                    - shape.padding.width, of: width)
              else { continue }
              for channel in 0..<channels {
                let code = Double(codes[(output * channels + channel) * taps + tap])
                let weight = Double(lower[output]) + Double(scale[output]) * code
                sum += weight * Double(simulated[(row * width + column) * stride + channel])
              }
            }
            expected.append(sum)
          }
        }

        var y = [Float](repeating: 12345, count: size.height * size.width * (outputs + 2))
        var parts = y
        let residual = random.normals(y.count)
        var sums = residual
        var scratch = [Float](
          repeating: .nan, count: layer.scratchCount(pixels: height * width))
        func apply(
          _ rows: Range<Int>, to y: UnsafeMutablePointer<Float>, then epilogue: Epilogue = .none
        ) {
          scratch.write {
            layer.apply(
              shape, height: height, width: width, rows: rows, x, stride: stride, to: y,
              stride: outputs + 2, then: epilogue, scratch: $0)
          }
        }
        VectorLevels.at(level) {
          y.write { apply(0..<size.height, to: $0) }
          parts.write { for row in 0..<size.height { apply(row..<row + 1, to: $0) } }
          sums.write { apply(0..<size.height, to: $0, then: .add($0, stride: outputs + 2)) }
        }
        #expect(y.bits == parts.bits)
        let rows = size.height * size.width
        let found = rowElements(y, rows: rows, columns: outputs, stride: outputs + 2)
        let largest = expected.reduce(1) { max($0, abs($1)) }
        let difference = zip(found, expected).reduce(0) { max($0, abs(Double($1.0) - $1.1)) }
        #expect(difference <= 3e-5 * largest, "\(shape), \(height) × \(width) × \(channels)")
        let gaps = gapElements(y, rows: rows, columns: outputs, stride: outputs + 2)
        #expect(gaps.allSatisfy { $0 == 12345 })
        let added = zip(sums, residual).map { $0 - $1 }
        let others = rowElements(added, rows: rows, columns: outputs, stride: outputs + 2)
        #expect(
          zip(others, expected).allSatisfy { abs(Double($0) - $1) <= 3e-5 * largest })
      }
    }
  }

  @Test(arguments: VectorLevels.available)
  func nonFinitePixelsStayWhereTheyAreSeen(level: UInt32) throws {
    let layer = try IntegerConvolution(
      codes: [UInt8](repeating: 1, count: 9), bitWidth: 2, lower: [-2], scale: [1], bias: nil,
      outputs: 1, channels: 1, taps: 9,
      activations: ck_quantizer(
        lower: 0, upper: 3, levels: 3, is_row_scaled: false, group_size: 0))
    var x = [Float](repeating: 1, count: 7 * 7)
    x[0] = .nan
    x[48] = .infinity
    var y = [Float](repeating: 0, count: 49)
    var scratch = [Float](repeating: 0, count: layer.scratchCount(pixels: 49))
    VectorLevels.at(level) {
      y.write { y in
        scratch.write {
          layer.apply(
            ConvolutionShape(outputs: 1, inputs: 1), height: 7, width: 7, rows: 0..<7, x,
            stride: 1, to: y, stride: 1, scratch: $0)
        }
      }
    }
    for place in 0..<49 {
      #expect(y[place].isNaN == (place / 7 < 2 && place % 7 < 2))
    }
    // All weights are −1: nine taps, six at an edge, and an infinity counts as the upper bound.
    #expect(y[3 * 7 + 3] == -9 && y[6 * 7 + 2] == -6 && y[48] == -6)
  }

  @Test func refusesShapesThatAreTooLarge() {
    #expect(ck_integer_convolution_takes(1820, 9, 0))
    #expect(!ck_integer_convolution_takes(1821, 9, 0))
    #expect(!ck_integer_convolution_takes(1, 4097, 0))
    #expect(!ck_integer_convolution_takes(12, 9, 6))
    #expect(ck_integer_convolution_takes(12, 9, 12) && ck_integer_convolution_takes(6, 9, 6))
    #expect(!ck_integer_convolution_takes(4 * 114, 9, 4))
    let error = ModelError(
      "no integer kernel for 1 × 1821 × 9 codes of 2 bits and inputs of 3.0 levels")
    #expect(throws: error) {
      try IntegerConvolution(
        codes: [UInt8](repeating: 0, count: 1821 * 9), bitWidth: 2, lower: [0], scale: [1],
        bias: nil, outputs: 1, channels: 1821, taps: 9,
        activations: ck_quantizer(
          lower: -1, upper: 1, levels: 3, is_row_scaled: false, group_size: 0))
    }
  }
}
