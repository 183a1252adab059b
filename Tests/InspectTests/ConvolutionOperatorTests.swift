import Inspect
import LinearAlgebra
import Testing

@Suite struct ConvolutionOperatorTests {
  /// Compares with the operator itself as a dense matrix.
  @Test(arguments: [
    (2, 3, 3, 3, 5, 4, 1), (3, 2, 1, 1, 3, 2, 1), (2, 2, 3, 2, 1, 1, 1), (1, 1, 3, 3, 2, 2, 1),
    (4, 1, 3, 3, 4, 3, 4), (6, 1, 3, 2, 3, 2, 3), (4, 2, 3, 3, 3, 3, 2), (6, 3, 2, 2, 3, 2, 2),
    (2, 4, 3, 3, 3, 2, 2),
  ])
  func singularValuesMatchDenseMatrix(
    _ outputs: Int, _ inputs: Int, _ kernelHeight: Int, _ kernelWidth: Int, _ width: Int,
    _ height: Int, _ groups: Int
  ) throws {
    let (taps, places) = (kernelHeight * kernelWidth, width * height)
    let weights = (0..<outputs * inputs * taps).map { Double($0 * 37 % 23) / 23 - 0.4 }
    var dense = Matrix(
      rows: outputs * places, columns: groups * inputs * places,
      values: .init(repeating: 0, count: outputs * places * groups * inputs * places))
    for (index, weight) in weights.enumerated() {
      let (tap, output, input) = (index % taps, index / (taps * inputs), index / taps % inputs)
      for y in 0..<height {
        for x in 0..<width {
          let (row, column) = ((y + tap / kernelWidth) % height, (x + tap % kernelWidth) % width)
          let source = row * width + column
          let channel = output / (outputs / groups) * inputs + input
          dense[output * places + y * width + x, channel * places + source] += weight
        }
      }
    }
    let expected = try SingularValues(of: dense, method: .decomposition).values
    let convolution = ConvolutionOperator(
      outputs: outputs, inputs: inputs, kernelHeight: kernelHeight, kernelWidth: kernelWidth,
      groups: groups, weights: weights)
    let values = try convolution.singularValues(on: .init(width: width, height: height))
    #expect(values.count == places * min(outputs, groups * inputs))
    for (value, reference) in zip(values, expected) {
      #expect(abs(value - reference) < 1e-12 * expected[0])
    }
  }

  @Test func nonFiniteWeightsAreRefused() {
    let convolution = ConvolutionOperator(
      outputs: 2, inputs: 1, kernelHeight: 1, kernelWidth: 2, weights: [1, 2, 3, .nan])
    #expect(throws: LAPACKError.nonFiniteElement(row: 1, column: 1, value: "nan")) {
      try convolution.singularValues(on: .init(width: 2, height: 2))
    }
  }

  @Test(arguments: ["", "64", "64x", "x4", "0x4", "4x0", "4x4x4", "1025x4", "-3x3", "4 x 4"])
  func invalidGridsAreRefused(_ text: String) {
    #expect(ConvolutionOperator.Grid(text) == nil)
    #expect(ConvolutionOperator.Grid("64x48")?.description == "64x48")
  }
}
