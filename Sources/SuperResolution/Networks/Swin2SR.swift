import Formats
import Storage

/// Swin2SR (Conde et al. 2022, "Swin2SR: SwinV2 Transformer for Compressed Image Super-Resolution and
/// Restoration"): SwinIR with attention that compares cosines, a perceptron for the biases of relative
/// positions, and normalizations after what they are for.
///
/// The variant `pixelshuffle_hf`, which makes two images, is not one of them.
enum Swin2SR: NetworkDescription {
  static let name = "Swin2SR"
  static let landmarks = [".attn.cpb_mlp.", ".attn.logit_scale", ".residual_group.blocks."]
  static let buffers: Set<String> = ["attn_mask", "relative_position_index"]

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let first = try build.dimensions(of: "conv_first.weight", rank: 4)
    let (channels, window) = (first[0], try side(build))
    let image = build.image(channels: first[1])
    let shallow = try build.convolution(image, "conv_first", side: 3)
    var x = try build.convolution(shallow, "patch_embed.proj", outputs: channels, side: 1)
    x = try build.embed(x)
    let masks = ShiftMasks(build.weights.archive, hasBuffers: true)
    let groups = build.count("layers", probe: "residual_group.blocks.0.norm1.weight")
    var shifts: [[Bool]] = []
    for group in 0..<groups {
      let (name, start) = ("layers.\(group)", x)
      shifts.append([])
      for index in 0..<build.count("\(name).residual_group.blocks", probe: "norm1.weight") {
        let block = "\(name).residual_group.blocks.\(index)"
        let isShifted = masks.shifts(build.weights, block, index)
        shifts[group].append(isShifted)
        x = try layer(x, block, window: window, isShifted: isShifted, &build)
      }
      x = try build.residualConvolution(x, "\(name).conv")
      x = build.add(
        try build.convolution(x, "\(name).patch_embed.proj", outputs: channels, side: 1), start)
      build.endGroup(x)
    }
    x = try build.normalizePixels(x, "norm")
    x = build.add(try build.residualConvolution(x, "conv_after_body"), shallow)
    let upsampler = Upsampler(build.weights)
    let (output, scale) = try build.reconstruct(x, image, upsampler)
    let usual = ShiftMasks.Summary(shifts, window: window)
    return NetworkTraits(
      output: output, scale: scale,
      // The published networks with windows of 7 remove JPEG artifacts from samples of up to 255.
      range: PixelRange(channelCount: image.channels, range: window == 7 ? 255 : 1),
      multiple: window,
      configuration: "\(upsampler.rawValue), \(channels) channels, "
        + "\(shifts.reduce(0) { $0 + $1.count }) layers in \(counted(groups, "group")), windows of "
        + "\(window)" + (usual.isUsual ? "" : ", \(usual.text)"),
      remarks: masks.remarks(usual))
  }

  private static func offsets(of block: String) -> String {
    "\(block).attn.relative_coords_table"
  }

  /// Returns the side of windows, from the table of relative positions.
  private static func side(_ build: NetworkBuilder) throws -> Int {
    let table = offsets(of: "layers.0.residual_group.blocks.0")
    let found = try build.dimensions(of: table, rank: 4)
    let largest = 2 * SwinIRConfiguration.largestWindow - 1
    guard found[1] % 2 == 1, (3...largest).contains(found[1]) else {
      throw WeightMismatch(
        tensor: table,
        problem: "has \(counted(found[1], "row")), expected an odd number from 3 to \(largest)")
    }
    return (found[1] + 1) / 2
  }

  /// One transformer layer: attention within windows, then a perceptron on each pixel. Each is
  /// normalized, then added to its input.
  private static func layer(
    _ x: NetworkGraph.Value, _ name: String, window: Int, isShifted: Bool,
    _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let (module, channels) = ("\(name).attn", x.channels)
    let scales = "\(module).logit_scale"
    let heads = try build.dimensions(of: scales, rank: 3)[0]
    let shift = isShifted ? window / 2 : 0
    var bias: GraphParameter?
    if build.contains("\(module).q_bias") {
      // Keys have none.
      let parts = try ["q_bias", "v_bias"].map {
        try build.parameter("\(module).\($0)", [channels])
      }
      bias = GraphParameter(shape: [3 * channels], of: parts.flatMap(\.tensors)) { read in
        read[0] + [Float](repeating: 0, count: channels) + read[1]
      }
    }
    var made = try build.linear(x, "\(module).qkv", outputs: 3 * channels, bias: bias)
    made = try build.normalizeHeads(made, scales, heads: heads)
    let positions = try build.continuousPositions(
      "\(module).cpb_mlp", offsets: offsets(of: name), side: 2 * window - 1)
    made = build.windowAttention(
      made, module,
      WindowAttentionShape(
        heads: heads, height: window, width: window, shiftDown: shift, shiftRight: shift,
        multiple: window), positions: positions)
    made = try build.linear(made, "\(module).proj", outputs: channels)
    let attended = build.add(x, try build.normalizePixels(made, "\(name).norm1"))
    return build.add(
      attended,
      try build.normalizePixels(build.perceptron(attended, "\(name).mlp"), "\(name).norm2"))
  }
}

extension NetworkBuilder {
  /// Applies two linear layers with a GELU between them to each pixel.
  mutating func perceptron(_ x: Value, _ name: String) throws -> Value {
    let hidden = try dimensions(of: "\(name).fc1.weight", rank: 2)[0]
    let made = apply(.gelu, to: try linear(x, "\(name).fc1", outputs: hidden))
    return try linear(made, "\(name).fc2", outputs: x.channels)
  }
}
