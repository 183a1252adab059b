/// A 3×3 convolution with zero padding.
struct ConvolutionLayer: Sendable {
  let outputs: Int
  let inputs: Int
  /// `[outputs, inputs, 3, 3]`.
  let weight: [Float]
  let bias: [Float]?
  /// The same weights in the kernels' order.
  private let kernel: Convolution

  init(_ weights: inout WeightReader, _ name: String, outputs: Int, inputs: Int) throws {
    self.outputs = outputs
    self.inputs = inputs
    weight = try weights.values("\(name).weight", [outputs, inputs, 3, 3])
    bias = try weights.values("\(name).bias", [outputs])
    kernel = Convolution(
      weight: weight, bias: bias, shape: ConvolutionShape(outputs: outputs, inputs: inputs))
  }

  /// Computes `rows` of the result; `x` and `y` are whole images of `height` × `width` pixels.
  func apply(
    height: Int, width: Int, rows: Range<Int>, _ x: UnsafePointer<Float>,
    to y: UnsafeMutablePointer<Float>, activation: Activation = .none,
    residual: UnsafePointer<Float>? = nil
  ) {
    kernel.apply(
      height: height, width: width, rows: rows, x, stride: inputs, to: y, stride: outputs,
      then: residual.map { .add($0, stride: outputs) } ?? activation.epilogue)
    if activation == .leakySlope20 {
      let start = rows.lowerBound * width * outputs
      activation.apply(y + start, count: rows.count * width * outputs)
    }
  }

  /// Computes the whole result in bands of rows; `y` may be `residual`, but not `x`.
  func apply(
    _ x: FeatureMap, to y: FeatureMap, activation: Activation = .none,
    residual: FeatureMap? = nil, _ context: ForwardContext
  ) throws {
    try context.map(x.height, by: Self.bandHeight, scratchCount: 0) { rows, _ in
      apply(
        height: x.height, width: x.width, rows: rows, x.values, to: y.values,
        activation: activation, residual: residual.map { UnsafePointer($0.values) })
    }
  }

  /// Rows per piece of work.
  static let bandHeight = 8
}

/// The activation after a convolution.
enum Activation: Hashable, Sendable {
  case none
  /// max(x, 0.01 x).
  case leakySlope1
  /// max(x, 0.2 x), which the kernels do not have.
  case leakySlope20

  fileprivate var epilogue: Epilogue { self == .leakySlope1 ? .leakyReLU : .none }

  /// Applies the activation in place if its slope is 0.2, and does nothing otherwise.
  func apply(_ x: UnsafeMutablePointer<Float>, count: Int) {
    guard self == .leakySlope20 else { return }
    for index in 0..<count { x[index] = max(x[index], 0.2 * x[index]) }
  }
}
