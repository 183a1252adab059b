/// The perceptron that computes the bias of every relative position in a window (Wang et al. 2022,
/// "CrossFormer", dynamic position bias). It does not depend on the image.
struct DynamicPositionBias: Sendable {
  let heads: Int
  let width: Int
  /// `[width, 2]`: the weights of the offsets in rows and in columns.
  let weight: [Float]
  let bias: [Float]
  /// Stages of a normalization, a ReLU and a linear layer; the last one has `heads` outputs.
  let stages: [Stage]

  struct Stage: Sendable {
    let norm: NormalizationLayer
    /// `[outputs, width]`.
    let weight: [Float]
    let bias: [Float]
  }

  init(_ weights: inout WeightReader, _ name: String, heads: Int) throws {
    self.heads = heads
    let width = try weights.dimensions(of: "\(name).pos_proj.weight", rank: 2)[0]
    self.width = width
    weight = try weights.values("\(name).pos_proj.weight", [width, 2])
    bias = try weights.values("\(name).pos_proj.bias", [width])
    stages = try ["pos1", "pos2", "pos3"].map { stage in
      let outputs = stage == "pos3" ? heads : width
      return Stage(
        norm: try NormalizationLayer(&weights, "\(name).\(stage).0", channels: width),
        weight: try weights.values("\(name).\(stage).2.weight", [outputs, width]),
        bias: try weights.values("\(name).\(stage).2.bias", [outputs]))
    }
  }

  /// Returns the bias of every relative position, `[(2·height − 1)·(2·width − 1), heads]`.
  func table(windowHeight: Int, windowWidth: Int) -> [Float] {
    var table: [Float] = []
    table.reserveCapacity((2 * windowHeight - 1) * (2 * windowWidth - 1) * heads)
    for down in (1 - windowHeight)..<windowHeight {
      for right in (1 - windowWidth)..<windowWidth {
        var values = (0..<width).map {
          bias[$0] + weight[2 * $0] * Float(down) + weight[2 * $0 + 1] * Float(right)
        }
        for stage in stages { values = stage.apply(values) }
        table += values
      }
    }
    return table
  }
}

extension DynamicPositionBias.Stage {
  fileprivate func apply(_ x: [Float]) -> [Float] {
    var normalized = x
    normalized.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      norm.apply(rows: 1, base, stride: x.count, to: base, stride: x.count)
    }
    return bias.indices.map { output in
      x.indices.reduce(bias[output]) {
        $0 + weight[output * x.count + $1] * max(0, normalized[$1])
      }
    }
  }
}
