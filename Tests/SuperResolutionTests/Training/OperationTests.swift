import Foundation
import Testing

@testable import SuperResolution

/// The backward pass of every operation, compared with difference quotients.
@Suite struct OperationTests {
  struct Case: CustomTestStringConvertible, Sendable {
    let testDescription: String
    /// The element count of each operand.
    let counts: [Int]
    let operation: @Sendable (Tape, [ParameterReference]) -> Variable

    init(
      _ name: String, _ counts: [Int],
      _ operation: @escaping @Sendable (Tape, [ParameterReference]) -> Variable
    ) {
      (testDescription, self.counts, self.operation) = (name, counts, operation)
    }
  }

  static let arithmetic = [
    Case("linear", [15, 6, 2]) { tape, p in
      tape.linear(tape.variable(p[0], columns: 3), p[1], p[2], outputs: 2)
    },
    Case("linear without a bias, after itself", [12, 9]) { tape, p in
      let x = tape.variable(p[0], columns: 3)
      return tape.add(x, consuming: tape.linear(x, p[1], nil, outputs: 3))
    },
    Case("sum", [6, 6]) { tape, p in
      tape.add(
        tape.variable(p[0], columns: 3), consuming: tape.copy(tape.variable(p[1], columns: 3)))
    },
    Case("product", [6, 6]) { tape, p in
      tape.multiply(tape.variable(p[0], columns: 3), tape.variable(p[1], columns: 3))
    },
    Case("square", [6]) { tape, p in
      let x = tape.variable(p[0], columns: 3)
      return tape.multiply(x, x)
    },
    Case("products by columns", [15, 3]) { tape, p in
      tape.multiplyColumns(tape.variable(p[0], columns: 3), by: tape.variable(p[1], columns: 3))
    },
    Case("products by rows", [44, 4]) { tape, p in
      tape.multiplyRows(tape.variable(p[0], columns: 11), by: tape.variable(p[1], columns: 1))
    },
    Case("some columns", [20]) { tape, p in
      let x = tape.variable(p[0], columns: 5)
      return tape.multiply(tape.columns(1..<3, of: x), tape.columns(2..<4, of: x))
    },
    Case("averages of columns", [20]) { tape, p in
      tape.columnAverages(tape.variable(p[0], columns: 5))
    },
  ]

  static let functions = [
    Case("GELU", [20]) { tape, p in
      tape.gelu(consuming: tape.copy(tape.variable(p[0], columns: 5)))
    },
    Case("ReLU", [20]) { tape, p in
      tape.leakyReLU(consuming: tape.copy(tape.variable(p[0], columns: 5)), slope: 0)
    },
    Case("leaky ReLU", [20]) { tape, p in
      tape.leakyReLU(consuming: tape.copy(tape.variable(p[0], columns: 5)), slope: 0.2)
    },
    Case("sigmoid", [20]) { tape, p in
      tape.sigmoid(consuming: tape.copy(tape.variable(p[0], columns: 5)))
    },
    Case("SiLU", [20]) { tape, p in
      tape.apply(.silu, consuming: tape.copy(tape.variable(p[0], columns: 5)))
    },
    Case("Mish", [20]) { tape, p in
      tape.apply(.mish, consuming: tape.copy(tape.variable(p[0], columns: 5)))
    },
    Case("tanh", [20]) { tape, p in
      tape.apply(.tanh, consuming: tape.copy(tape.variable(p[0], columns: 5)))
    },
    Case("offset", [20]) { tape, p in
      let x = tape.variable(p[0], columns: 5)
      return tape.multiply(x, tape.apply(.offset(-0.5), consuming: tape.copy(x)))
    },
    Case("scale", [20]) { tape, p in
      let x = tape.variable(p[0], columns: 5)
      return tape.multiply(x, tape.scale(x, by: 0.2))
    },
    Case("layer normalization", [33, 11, 11]) { tape, p in
      tape.layerNormalization(tape.variable(p[0], columns: 11), p[1], p[2])
    },
    Case("batch normalization", [12, 3, 3]) { tape, p in
      tape.batchNormalization(
        tape.variable(p[0], columns: 3),
        BatchStatistics(
          scale: p[1], offset: p[2], mean: [0.5, -1, 2], inverseDeviation: [1, 0.5, 2]))
    },
  ]

  static let images = [
    Case("3×3 convolution", [3 * 4 * 2, 5 * 2 * 9, 5]) { tape, p in
      tape.convolution(tape.variable(p[0], columns: 2), height: 3, p[1], p[2], outputs: 5)
    },
    Case("3×3 convolution of one row", [5 * 2, 9 * 2]) { tape, p in
      tape.convolution(tape.variable(p[0], columns: 2), height: 1, p[1], nil, outputs: 1)
    },
    Case("3×3 convolution of one column", [5 * 2, 9 * 2]) { tape, p in
      tape.convolution(tape.variable(p[0], columns: 2), height: 5, p[1], nil, outputs: 1)
    },
    Case("depthwise convolution", [3 * 4 * 2, 2 * 9, 2]) { tape, p in
      tape.depthwiseConvolution(tape.variable(p[0], columns: 2), height: 3, p[1], p[2])
    },
    Case("depthwise convolution of one pixel", [2, 2 * 9]) { tape, p in
      tape.depthwiseConvolution(tape.variable(p[0], columns: 2), height: 1, p[1], nil)
    },
    Case("pixel shuffle", [2 * 3 * 8]) { tape, p in
      tape.pixelShuffle(tape.variable(p[0], columns: 8), height: 2, factor: 2)
    },
    Case("repeated pixels", [2 * 3 * 2]) { tape, p in
      tape.repeatPixels(tape.variable(p[0], columns: 2), height: 2, factor: 3)
    },
    Case("rows in another order", [5 * 3]) { tape, p in
      tape.gather(
        tape.variable(p[0], columns: 3),
        RowOrder(sources: [4, -1, 0, 2], sourceCount: 5), columns: [2..<3, 0..<2])
    },
    Case("rows put back", [5 * 3, 3 * 2]) { tape, p in
      tape.scatter([
        (
          tape.variable(p[0], columns: 3), RowOrder(sources: [2, -1, 0, 1, -1], sourceCount: 3)
        ),
        (tape.variable(p[1], columns: 2), RowOrder(sources: [1, 0, 2], sourceCount: 3)),
      ])
    },
  ]

  static let shapes = [
    ConvolutionShape(outputs: 3, inputs: 2, kernel: (1, 1), step: 2),
    ConvolutionShape(outputs: 3, inputs: 2, kernel: (3, 3), step: 2, padding: (0, 0)),
    ConvolutionShape(outputs: 3, inputs: 2, kernel: (5, 2), padding: (2, 1)),
    ConvolutionShape(outputs: 3, inputs: 2, dilation: 2),
    ConvolutionShape(outputs: 3, inputs: 2, mode: .reflect),
    ConvolutionShape(outputs: 3, inputs: 2, kernel: (5, 5), mode: .replicate),
  ]

  static let convolutions =
    shapes.map(convolution) + shapes.map(depthwiseConvolution) + [
      Case("depthwise convolution of any shape without a bias", [4 * 5 * 2, 2 * 4]) { tape, p in
        tape.convolution(
          tape.variable(p[0], columns: 2), height: 4, p[1], nil,
          shape: ConvolutionShape(outputs: 1, inputs: 1, kernel: (2, 2), step: 2, padding: (0, 0)),
          groups: 2)
      },
      Case("convolution in groups", [4 * 5 * 4, 6 * 2 * 9, 6]) { tape, p in
        tape.convolution(
          tape.variable(p[0], columns: 4), height: 4, p[1], p[2],
          shape: ConvolutionShape(outputs: 3, inputs: 2), groups: 2)
      },
    ]

  private static func depthwiseConvolution(_ shape: ConvolutionShape) -> Case {
    var shape = shape
    (shape.outputs, shape.inputs) = (1, 1)
    return Case(
      "depthwise convolution of \(shape.kernel), step \(shape.step), \(shape.mode)",
      [4 * 5 * 2, 2 * shape.kernel.height * shape.kernel.width, 2]
    ) { [shape] tape, p in
      tape.convolution(
        tape.variable(p[0], columns: 2), height: 4, p[1], p[2], shape: shape, groups: 2)
    }
  }

  private static func convolution(_ shape: ConvolutionShape) -> Case {
    Case(
      "convolution of \(shape.kernel), step \(shape.step), \(shape.mode)",
      [4 * 5 * 2, 3 * 2 * shape.kernel.height * shape.kernel.width, 3]
    ) { tape, p in
      tape.convolution(tape.variable(p[0], columns: 2), height: 4, p[1], p[2], shape: shape)
    }
  }

  static let channels = [
    Case("parametric ReLU", [20, 5]) { tape, p in
      tape.parametricReLU(tape.variable(p[0], columns: 5), p[1])
    },
    Case("parametric ReLU of one slope", [20, 1]) { tape, p in
      tape.parametricReLU(tape.variable(p[0], columns: 5), p[1])
    },
    Case("offsets of columns", [20, 5]) { tape, p in
      tape.addToColumns(tape.variable(p[0], columns: 5), p[1])
    },
    Case("columns side by side", [8, 12]) { tape, p in
      let x = tape.variable(p[0], columns: 2)
      return tape.concatenate([x, tape.variable(p[1], columns: 3), x])
    },
    Case("repeated columns", [12]) { tape, p in
      tape.repeatColumns(tape.variable(p[0], columns: 3), 4)
    },
    Case("group normalization", [7 * 6, 6, 6]) { tape, p in
      tape.groupNormalization(
        tape.variable(p[0], columns: 6), groups: 2, p[1], p[2], epsilon: 1e-5)
    },
    Case("pixel unshuffle", [4 * 6 * 2]) { tape, p in
      tape.pixelUnshuffle(tape.variable(p[0], columns: 2), height: 4, factor: 2)
    },
    Case("merged pixels", [4 * 6 * 2]) { tape, p in
      tape.mergePixels(tape.variable(p[0], columns: 2), height: 4, factor: 2)
    },
    Case("dynamic sampling", [4 * 3 * 4, 4 * 3 * 2 * 2 * 4]) { tape, p in
      tape.sample(
        tape.variable(p[0], columns: 4), height: 4,
        // Offsets of less than half a pixel do not come to the kink at the next one.
        at: tape.scale(tape.variable(p[1], columns: 16), by: 0.45), factor: 2, groups: 2)
    },
    Case("norms of heads", [5 * 3 * 4, 2]) { tape, p in
      tape.normalizeHeads(tape.variable(p[0], columns: 12), p[1])
    },
    Case("sums of rows", [4 * 2]) { tape, p in
      tape.combineRows(
        tape.variable(p[0], columns: 2), [[(1, 0.5), (3, 2)], [], [(1, -1)], [(0, 1), (0, 1)]])
    },
    Case("largest of rows", [6 * 2]) { tape, p in
      tape.largest(tape.variable(p[0], columns: 2), [[0, 1, 2], [2, 3], [5]])
    },
  ]

  static let attentions = [
    Case("attention between channels", [7 * 3 * 4, 2]) { tape, p in
      tape.channelAttention(
        tape.variable(p[0], columns: 12), heads: 2, temperature: p[1],
        sites: AttentionSites(query: 0, key: 1, value: 2, probabilities: 3))
    },
    Case("attention between channels in windows", [16 * 3 * 4, 2]) { tape, p in
      tape.reordered(
        tape.variable(p[0], columns: 12), .windows((2, 4), height: 4, width: 4)
      ) { tape.channelAttention($0, windows: 2, heads: 2, temperature: p[1], sites: nil) }
    },
    Case("correlation between channels in windows", [16 * 3 * 4]) { tape, p in
      tape.reordered(
        tape.variable(p[0], columns: 12), .windows((2, 2), height: 4, width: 4)
      ) { tape.channelAttention($0, windows: 4, heads: 1, temperature: nil, sites: nil) }
    },
    Case("correlation in windows", [32 * 4, 8 * 4, 6 * 6 * 2]) { tape, p in
      tape.correlation(
        tape.variable(p[0], columns: 4), keys: tape.variable(p[1], columns: 4),
        table: tape.variable(p[2], columns: 2), CorrelationShape(heads: 2, window: 4, cell: 2))
    },
    Case("attention to overlapping windows", [16 * 3 * 4, 25 * 2]) { tape, p in
      let x = tape.variable(p[0], columns: 12)
      let layout = WindowLayout(
        OverlapAttentionShape(heads: 2, window: 2, overlap: 4), height: 4, width: 4)
      let attended = tape.windowAttention(
        tape.gather(x, layout.order, columns: [0..<4]),
        keys: tape.gather(x, layout.keyOrder, columns: [4..<12]),
        table: tape.variable(p[1], columns: 2), columns: 4,
        WindowAttentionSetting(layout: layout, heads: 2, sites: nil))
      return tape.scatter([(attended, layout.order)])
    },
    Case("attention in windows", [16 * 3 * 4, 9 * 2]) { tape, p in
      attention(
        tape, p,
        WindowGrid(
          height: 4, width: 4, window: (2, 2), shift: (0, 0), multiple: 2))
    },
    Case("attention in shifted windows past the edge", [9 * 3 * 4, 21 * 2]) { tape, p in
      attention(
        tape, p,
        WindowGrid(
          height: 3, width: 3, window: (2, 4), shift: (1, 2), multiple: 4))
    },
  ]

  private static func attention(
    _ tape: Tape, _ p: [ParameterReference], _ grid: WindowGrid
  ) -> Variable {
    let layout = WindowLayout(grid)
    let rows = tape.gather(tape.variable(p[0], columns: 12), layout.order, columns: [0..<12])
    let attended = tape.windowAttention(
      rows, table: tape.variable(p[1], columns: 2),
      WindowAttentionSetting(
        layout: layout, heads: 2,
        sites: AttentionSites(query: 0, key: 1, value: 2, probabilities: 3)))
    return tape.scatter([(attended, layout.order)])
  }

  @Test(arguments: arithmetic + functions + images + convolutions + channels + attentions)
  func derivativesMatchDifferenceQuotients(_ operation: Case) {
    let error = GradientCheck(counts: operation.counts).largestError(operation.operation)
    #expect(error < 2e-3, "\(operation.testDescription)")
  }

  @Test(arguments: [-100, -87.5, -10, -1, -0.3, 0, 1e-6, 0.7, 5, 80, 88, 200] as [Float])
  func exponentialMatchesMathLibrary(_ x: Float) {
    let expected = Float(exp(Double(max(-87, min(88, x)))))
    #expect(abs(exponential(x) - expected) <= 3e-7 * expected)
  }

  @Test func exponentialOfNaNIsNaN() { #expect(exponential(.nan).isNaN) }
}
