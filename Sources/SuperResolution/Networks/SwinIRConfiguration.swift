/// The parameters in which the published SwinIR networks differ, inferred from the tensors of a
/// checkpoint.
struct SwinIRConfiguration: Hashable {
  let inputs: Int
  let channels: Int
  /// Transformer layers in each residual group.
  let depths: [Int]
  let heads: [Int]
  let hidden: Int
  let window: Int
  let upsampler: Upsampler

  /// The largest window side, since an attention's memory grows with its fourth power.
  static let largestWindow = 32

  init(_ weights: WeightReader) throws {
    let first = try weights.dimensions(of: "conv_first.weight", rank: 4)
    (channels, inputs) = (first[0], first[1])

    let layers = weights.count("layers", probe: "residual_group.blocks.0.norm1.weight")
    guard layers > 0 else {
      throw WeightMismatch(
        tensor: "layers.0.residual_group.blocks.0.norm1.weight", problem: "is missing")
    }
    depths = (0..<layers).map {
      weights.count("layers.\($0).residual_group.blocks", probe: "norm1.weight")
    }
    func table(_ layer: Int) throws -> (name: String, heads: Int) {
      let name =
        "layers.\(layer).residual_group.blocks.0.attn.relative_position_bias_table"
      let dimensions = try weights.dimensions(of: name, rank: 2)
      return (name, dimensions[1])
    }
    window = try NetworkBuilder(weights).windowSide(of: try table(0).name)
    heads = try (0..<layers).map { layer in
      let (name, heads) = try table(layer)
      guard first[0] % heads == 0 else {
        throw WeightMismatch(
          tensor: name, problem: "has \(heads) heads, which do not divide \(first[0]) channels")
      }
      return heads
    }
    hidden = try weights.dimensions(
      of: "layers.0.residual_group.blocks.0.mlp.fc1.weight", rank: 2)[0]

    upsampler = Upsampler(weights)
  }

  /// The largest sample: 255 for the published networks with windows of 7, which remove JPEG
  /// artifacts.
  var sampleRange: Float { window == 7 ? 255 : 1 }
}
