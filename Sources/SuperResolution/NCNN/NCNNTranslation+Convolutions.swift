import Formats
import Storage

/// Convolutions, and what they add around an image.
extension NCNNTranslation {
  func activated(
    _ x: Value, _ layer: Layer, _ build: inout NetworkBuilder
  ) throws -> Value {
    let parameters = try layer.list(10)
    switch try layer.integer(9) {
    case 0: return x
    case 1: return build.apply(.relu, to: x)
    case 2: return build.apply(.leakyReLU(slope: parameters.first ?? 0), to: x)
    case 4: return build.apply(.sigmoid, to: x)
    case 5: return build.apply(.mish, to: x)
    case let kind: throw refusal(layer, "the activation \(kind)")
    }
  }

  /// The padding of a convolution, equal on opposite sides.
  private func padding(_ layer: Layer) throws -> (height: Int, width: Int) {
    let width = try both(layer, 4, 15, default: 0, "padding at the right of")
    let height = try layer.count(14, default: width)
    try require(layer, 16, height, "padding below of")
    try checkPadding(layer, max(height, width))
    return (height, width)
  }

  /// - Throws: `ModelError` for more pixels than kernels have.
  private func checkPadding(_ layer: Layer, _ count: Int) throws {
    guard count <= ConvolutionShape.mostTaps else {
      throw refusal(layer, "padding by \(counted(count, "pixel"))")
    }
  }

  mutating func setConvolution(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    var padding = try padding(layer)
    let x: Value
    var mode = ConvolutionShape.Padding.zeros
    switch try blob(layer, 0) {
    case .features(let value): x = value
    case .padded(let value, let around, let kind):
      guard padding == (0, 0) else { throw refusal(layer, "padding after padding") }
      (x, padding, mode) = (value, around, kind)
    case .rows, .constant: throw refusal(layer, "the input '\(layer.inputs[0])'")
    }
    guard try layer.real(18) == 0 else { throw refusal(layer, "padding by another number than 0") }
    try require(layer, 19, 0, "weights of another layer,")
    let step = try both(layer, 3, 13, default: 1, "a vertical step of")
    let dilation = try both(layer, 2, 12, default: 1, "a vertical dilation of")
    guard step > 0, dilation > 0 else { throw refusal(layer, "a step of 0") }
    let groups = try layer.type == "Convolution" ? 1 : layer.count(7, default: 1)
    guard groups > 0 else { throw refusal(layer, "0 groups") }
    let made = try build.convolution(
      x, layer.name, step: step, dilation: dilation, padding: padding, mode: mode, groups: groups,
      hasBias: layer.count(5) > 0)
    set(layer, try activated(made, layer, &build))
  }

  /// A transposed convolution, as a convolution that makes the pixels of each step as channels.
  ///
  /// With a step of s, row s·m + i of the result is the sum over a of row m − a of the input times row i +
  /// s·a of the kernel.
  mutating func setTransposed(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    let dimensions = try build.dimensions(of: "\(layer.name).weight", rank: 4)
    let (x, outputs, kernel) = (try value(layer), dimensions[0], dimensions[2])
    let step = try both(layer, 3, 13, default: 1, "a vertical step of")
    let padding = try padding(layer)
    try require(layer, 2, 1, "a dilation of")
    for key in 18...21 { try require(layer, key, 0, "a size of the result of") }
    guard dimensions[3] == kernel, padding.height == padding.width, (1...8).contains(step),
      kernel >= step
    else { throw refusal(layer, "a kernel of \(kernel) × \(dimensions[3])") }
    let taps = (kernel + step - 1) / step
    let shape = [outputs, x.channels, kernel, kernel]
    _ = try build.parameter("\(layer.name).weight", shape)
    let area = step * step
    let weight = GraphParameter(
      shape: [outputs * area, x.channels, taps, taps], of: [("\(layer.name).weight", shape)]
    ) { tensors in
      Self.transposed(tensors[0], outputs, x.channels, kernel: kernel, step: step)
    }
    var bias: GraphParameter?
    if try layer.count(5) > 0 {
      _ = try build.parameter("\(layer.name).bias", [outputs])
      bias = GraphParameter(shape: [outputs * area], of: [("\(layer.name).bias", [outputs])]) {
        tensors in tensors[0].flatMap { [Float](repeating: $0, count: area) }
      }
    }
    var made = build.convolution(x, weight, bias, padding: (taps - 1, taps - 1))
    if step > 1 { made = build.pixelShuffle(made, step) }
    let after = padding.height + taps * step - kernel
    if padding.height + after > 0 {
      made = build.move(made, .trim(before: padding.height, after: after))
    }
    set(layer, try activated(made, layer, &build))
  }

  /// Returns the weight `[outputs · step², inputs, taps, taps]` of the convolution.
  private static func transposed(
    _ weight: [Float], _ outputs: Int, _ inputs: Int, kernel: Int, step: Int
  ) -> [Float] {
    let taps = (kernel + step - 1) / step
    /// The kernel row that a tap reads for an output row; `nil` outside the kernel.
    func row(_ place: Int, _ tap: Int) -> Int? {
      let row = place + step * (taps - 1 - tap)
      return row < kernel ? row : nil
    }
    var result: [Float] = []
    result.reserveCapacity(outputs * step * step * inputs * taps * taps)
    for output in 0..<outputs {
      for (down, right) in product(step, step) {
        for input in 0..<inputs {
          let start = (output * inputs + input) * kernel
          for (tapDown, tapRight) in product(taps, taps) {
            if let above = row(down, tapDown), let left = row(right, tapRight) {
              result.append(weight[(start + above) * kernel + left])
            } else {
              result.append(0)
            }
          }
        }
      }
    }
    return result
  }

  private static func product(_ rows: Int, _ columns: Int) -> [(Int, Int)] {
    (0..<rows).flatMap { row in (0..<columns).map { (row, $0) } }
  }

  mutating func setPadding(_ layer: Layer) throws {
    let sides = try [0, 1, 2, 3].map { try layer.count($0) }
    let kinds: [ConvolutionShape.Padding] = [.zeros, .replicate, .reflect]
    let kind = try layer.count(4)
    guard kinds.indices.contains(kind), sides[0] == sides[1], sides[2] == sides[3],
      try layer.real(5) == 0, try layer.count(6) == 0
    else { throw refusal(layer, "pixels \(sides) of the kind \(kind)") }
    for key in [7, 8] { try require(layer, key, 0, "channels added:") }
    try checkPadding(layer, sides.max() ?? 0)
    blobs[layer.outputs[0]] = .padded(try value(layer), (sides[0], sides[2]), kinds[kind])
  }
}
