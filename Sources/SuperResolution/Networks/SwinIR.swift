import Formats
import Storage

/// SwinIR (Liang et al. 2021, "SwinIR: Image Restoration Using Swin Transformer") in all its
/// published variants.
enum SwinIR: NetworkDescription {
  static let name = "SwinIR"
  static let landmarks = [".residual_group.blocks.", ".mlp.fc"]
  static let buffers: Set<String> = ["attn_mask", "relative_position_index"]

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let configuration = try SwinIRConfiguration(build.weights)
    let (channels, window) = (configuration.channels, configuration.window)
    let image = build.image(channels: configuration.inputs)
    let shallow = try build.convolution(image, "conv_first", outputs: channels, side: 3)
    var x = shallow
    if build.contains("patch_embed.norm.weight") {
      x = try build.normalizePixels(x, "patch_embed.norm")
    }
    if build.contains("absolute_pos_embed") {
      let count = try build.dimensions(of: "absolute_pos_embed", rank: 3)[1]
      x = build.addPositions(x, try build.parameter("absolute_pos_embed", [1, count, channels]))
    }
    let masks = ShiftMasks(build.weights.archive)
    var shifts: [[Bool]] = []
    for (group, depth) in configuration.depths.enumerated() {
      let start = x
      shifts.append([])
      for index in 0..<depth {
        let name = "layers.\(group).residual_group.blocks.\(index)"
        let isShifted = window > 1 && masks.shifts(build.weights, name, index)
        shifts[group].append(isShifted)
        x = try layer(
          x, name, heads: configuration.heads[group], window: window,
          hidden: configuration.hidden, isShifted: isShifted, &build)
      }
      x = build.add(try build.residualConvolution(x, "layers.\(group).conv"), start)
      build.endGroup(x)
    }
    x = try build.normalizePixels(x, "norm")
    x = build.add(try build.residualConvolution(x, "conv_after_body"), shallow)
    let (output, scale) = try build.reconstruct(x, image, configuration.upsampler)
    let usual = ShiftMasks.Summary(shifts, window: window)
    return NetworkTraits(
      output: output, scale: scale,
      range: PixelRange(channelCount: configuration.inputs, range: configuration.sampleRange),
      multiple: window,
      configuration: "\(configuration.upsampler.rawValue), \(channels) channels, "
        + "\(configuration.depths.reduce(0, +)) layers in "
        + "\(counted(configuration.depths.count, "group")), windows of \(window)"
        + (usual.isUsual ? "" : ", \(usual.text)"),
      remarks: window > 1 ? masks.remarks(usual) : [])
  }

  /// One transformer layer: attention within windows, then a perceptron on each pixel. Each follows a
  /// normalization and is added to its input (equations 5 and 6).
  private static func layer(
    _ x: NetworkGraph.Value, _ name: String, heads: Int, window: Int, hidden: Int,
    isShifted: Bool, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let attention = "\(name).attn"
    let shift = isShifted ? window / 2 : 0
    let shape = WindowAttentionShape(
      heads: heads, height: window, width: window, shiftDown: shift, shiftRight: shift,
      multiple: window)
    var made = try build.linear(
      build.normalizePixels(x, "\(name).norm1"), "\(attention).qkv", outputs: 3 * x.channels,
      from: .normalization("\(name).norm1"), mayLackBias: true)
    made = try build.windowAttention(
      made, attention, shape, table: "\(attention).relative_position_bias_table")
    let attended = build.add(
      x, try build.linear(made, "\(attention).proj", outputs: x.channels))
    made = try build.linear(
      build.normalizePixels(attended, "\(name).norm2"), "\(name).mlp.fc1", outputs: hidden,
      from: .normalization("\(name).norm2"))
    made = try build.linear(
      build.apply(.gelu, to: made), "\(name).mlp.fc2", outputs: x.channels)
    return build.add(attended, made)
  }
}
