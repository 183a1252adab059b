import Storage

/// SPAN (Wan et al. 2023, "Swift Parameter-free Attention Network"), with the convolutions of training
/// or with each of them merged into one.
enum SPAN: NetworkDescription {
  static let name = "SPAN"
  static let landmarks = [".c1_r.", "conv_cat."]
  static let buffers: Set<String> = ["no_norm"]

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let isMerged = !build.contains("conv_1.sk.weight")
    let probe = isMerged ? "conv_1.eval_conv.weight" : "conv_1.sk.weight"
    let (channels, inputs) = try {
      let dimensions = try build.dimensions(of: probe, rank: 4)
      return (dimensions[0], dimensions[1])
    }()
    let image = build.image(channels: inputs)
    let first = try convolution(image, "conv_1", &build)
    var results: [NetworkGraph.Value] = []
    var x = first
    let count = build.blockCount(probe: isMerged ? "c1_r.eval_conv.weight" : "c1_r.sk.weight")
    var inner = first
    for block in 1...max(1, count) {
      (x, inner) = try self.block(x, "block_\(block)", &build)
      results.append(x)
    }
    let last = try convolution(x, "conv_2", &build)
    x = try build.convolution(
      build.concatenate(first, last, results[0], inner), "conv_cat", outputs: channels, side: 1)
    let scale = try build.squareFactor(of: "upsampler.0", outputs: inputs)
    let output = build.pixelShuffle(try build.convolution(x, "upsampler.0", side: 3), scale)
    // The result is not brought back from the range of the input.
    let mean = PixelRange(channelCount: inputs, range: 255)
    let plain = PixelRange(unshifted: inputs)
    return NetworkTraits(
      output: output, scale: scale, range: build.contains("no_norm") ? plain : mean,
      outputRange: plain,
      configuration: "\(channels) channels, \(counted(count, "block"))")
  }

  /// Returns the block's result, and that of its first convolution.
  private static func block(
    _ x: NetworkGraph.Value, _ name: String, _ build: inout NetworkBuilder
  ) throws -> (result: NetworkGraph.Value, inner: NetworkGraph.Value) {
    let inner = build.apply(.silu, to: try convolution(x, "\(name).c1_r", &build))
    let second = build.apply(.silu, to: try convolution(inner, "\(name).c2_r", &build))
    let third = try convolution(second, "\(name).c3_r", &build)
    let attention = build.apply(.offset(-0.5), to: build.apply(.sigmoid, to: third))
    return (build.multiply(build.add(third, x), attention), inner)
  }

  /// A 3×3 convolution, which in training was a 1×1, a 3×3 and a 1×1 beside another 1×1.
  ///
  /// The merged weight beside those of training may be older than they are, so it is made again.
  private static func convolution(
    _ x: NetworkGraph.Value, _ name: String, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    guard build.contains("\(name).sk.weight") else {
      return try build.convolution(x, "\(name).eval_conv", side: 3)
    }
    let (inputs, outputs) = (
      x.channels, try build.dimensions(of: "\(name).sk.weight", rank: 4)[0]
    )
    let (wide, narrow) = (
      try build.dimensions(of: "\(name).conv.0.weight", rank: 4)[0],
      try build.dimensions(of: "\(name).conv.1.weight", rank: 4)[0]
    )
    if build.contains("\(name).eval_conv.weight") {
      _ = try build.parameter("\(name).eval_conv.weight", [outputs, inputs, 3, 3])
      _ = try build.parameter("\(name).eval_conv.bias", [outputs])
    }
    let parts: [(name: String, shape: [Int])] = [
      ("\(name).conv.0", [wide, inputs, 1, 1]), ("\(name).conv.1", [narrow, wide, 3, 3]),
      ("\(name).conv.2", [outputs, narrow, 1, 1]), ("\(name).sk", [outputs, inputs, 1, 1]),
    ]
    let weights = parts.map { ("\($0.name).weight", $0.shape) }
    let biases = parts.map { ("\($0.name).bias", [$0.shape[0]]) }
    for (name, shape) in weights + biases { _ = try build.parameter(name, shape) }
    let weight = GraphParameter(shape: [outputs, inputs, 3, 3], of: weights) { tensors in
      let spread = product(tensors[1], [narrow, wide, 9], by: tensors[0], [wide, inputs])
      var merged = product(tensors[2], [outputs, narrow], before: spread, [narrow, inputs * 9])
      for index in 0..<outputs * inputs { merged[9 * index + 4] += tensors[3][index] }
      return merged
    }
    let bias = GraphParameter(shape: [outputs], of: weights + biases) { tensors in
      // What the first bias becomes inside the image; at the edge, the merged form has zeros.
      let inner = product(tensors[1], [narrow, wide, 9], by: tensors[4], [wide, 1])
      let sums = (0..<narrow).map { row in
        inner[9 * row..<9 * row + 9].reduce(tensors[5][row], +)
      }
      let outer = product(tensors[2], [outputs, narrow], before: sums, [narrow, 1])
      return (0..<outputs).map { outer[$0] + tensors[6][$0] + tensors[7][$0] }
    }
    return build.convolution(x, weight, bias)
  }

  /// Returns `Σ_m a[p, m, tap] · b[m, i]` as `[p, i, tap]`.
  private static func product(
    _ a: [Float], _ shape: [Int], by b: [Float], _ other: [Int]
  ) -> [Float] {
    let (rows, inner, taps, columns) = (shape[0], shape[1], shape[2], other[1])
    var result = [Float](repeating: 0, count: rows * columns * taps)
    for row in 0..<rows {
      for column in 0..<columns {
        for tap in 0..<taps {
          var sum = 0.0
          for index in 0..<inner {
            sum +=
              Double(a[(row * inner + index) * taps + tap]) * Double(b[index * columns + column])
          }
          result[(row * columns + column) * taps + tap] = Float(sum)
        }
      }
    }
    return result
  }

  /// Returns the matrix product of `a` and `b`.
  private static func product(
    _ a: [Float], _ shape: [Int], before b: [Float], _ other: [Int]
  ) -> [Float] {
    product(a, [shape[0], shape[1], 1], by: b, other)
  }
}
