import CKernels
import Formats

/// A fully connected layer, or a convolution of 1×1: `y = W x + b` for every row.
struct LinearLayer: Sendable {
  let outputs: Int
  let inputs: Int
  /// `[outputs, inputs]`.
  let weight: [Float]
  let bias: [Float]?
  private let packed: PackedLinear

  init(outputs: Int, inputs: Int, weight: [Float], bias: [Float]?) throws {
    self.outputs = outputs
    self.inputs = inputs
    self.weight = weight
    self.bias = bias
    packed = try PackedLinear(outputs: outputs, inputs: inputs, weight: weight, bias: bias)
  }

  /// The layer `name`, whose bias may be missing.
  ///
  /// - Parameter isConvolution: whether the weight has two more axes of 1.
  init(
    _ weights: inout WeightReader, _ name: String, outputs: Int, inputs: Int,
    isConvolution: Bool = false
  ) throws {
    try self.init(
      outputs: outputs, inputs: inputs,
      weight: try weights.values(
        "\(name).weight", isConvolution ? [outputs, inputs, 1, 1] : [outputs, inputs]),
      bias: try weights.optionalValues("\(name).bias", [outputs]))
  }

  /// The layer followed by `normalization`.
  func folding(_ normalization: BatchNormalization) throws -> LinearLayer {
    let folded = normalization.folded(weight: weight, bias: bias)
    return try LinearLayer(
      outputs: outputs, inputs: inputs, weight: folded.weight, bias: folded.bias)
  }

  /// `y` may be `residual`, not `x`; strides count floats from row to row.
  func apply(
    rows: Int, _ x: UnsafePointer<Float>, stride xStride: Int,
    to y: UnsafeMutablePointer<Float>, stride yStride: Int,
    epilogue: ck_epilogue = CK_EPILOGUE_NONE, residual: UnsafePointer<Float>? = nil,
    residualStride: Int = 0
  ) {
    ck_linear_apply(
      packed.handle, rows, x, xStride, y, yStride, epilogue, residual, residualStride)
  }
}

/// Owns the weights of a linear layer in the kernels' order.
private final class PackedLinear: @unchecked Sendable {
  // Never changed after its making, so it can be read from several threads.
  let handle: OpaquePointer

  init(outputs: Int, inputs: Int, weight: [Float], bias: [Float]?) throws {
    precondition(weight.count == outputs * inputs && bias.map { $0.count == outputs } ?? true)
    let created = bias.withUnsafePointerOrNull { ck_linear_create(weight, $0, outputs, inputs) }
    guard let created else {
      throw SuperResolutionError("no memory for a layer of \(outputs) × \(inputs) weights")
    }
    handle = created
  }

  deinit { ck_linear_destroy(handle) }
}

extension Optional where Wrapped == [Float] {
  /// The elements for a C function that takes null for none.
  func withUnsafePointerOrNull<Result>(
    _ body: (UnsafePointer<Float>?) throws -> Result
  ) rethrows -> Result {
    guard let elements = self else { return try body(nil) }
    return try elements.withUnsafeBufferPointer { try body($0.baseAddress) }
  }
}
