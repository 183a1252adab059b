import Storage

/// DRCT (Hsu et al. 2024, "DRCT: Saving Image Super-Resolution away from Information Bottleneck"):
/// SwinIR's layers, each of which takes the results of all before it in its group.
enum DRCT: NetworkDescription {
  static let name = "DRCT"
  static let landmarks = [".swin1.attn.", ".swin5.attn.", ".adjust1."]
  static let buffers: Set<String> = ["attn_mask", "relative_position_index"]

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let first = try build.dimensions(of: "conv_first.weight", rank: 4)
    let image = build.image(channels: first[1])
    let shallow = try build.convolution(image, "conv_first", side: 3)
    let window = try build.windowSide(
      of: "layers.0.swin1.attn.relative_position_bias_table")
    var x = try build.embed(shallow)
    let masks = ShiftMasks(
      build.weights.archive,
      hasBuffers: build.contains("layers.0.swin1.attn.relative_position_index"))
    let groups = build.count("layers", probe: "swin1.norm1.weight")
    var shifts: [[Bool]] = []
    for group in 0..<groups {
      let (name, start) = ("layers.\(group)", x)
      var (features, made) = ([x], x)
      shifts.append([])
      for number in 1...5 {
        let layer = "\(name).swin\(number)"
        let isShifted = masks.shifts(build.weights, layer, number - 1)
        shifts[group].append(isShifted)
        made = try build.swinLayer(
          features.count == 1 ? x : build.concatenate(features), layer,
          heads: build.dimensions(of: "\(layer).attn.relative_position_bias_table", rank: 2)[1],
          window: window, hidden: build.dimensions(of: "\(layer).mlp.fc1.weight", rank: 2)[0],
          isShifted: isShifted)
        made = try build.convolution(
          made, "\(name).adjust\(number)", outputs: number == 5 ? start.channels : nil, side: 1)
        guard number < 5 else { break }
        made = build.apply(.leakyReLU(slope: 0.2), to: made)
        features.append(made)
      }
      x = build.add(build.scale(made, by: 0.2), start)
      build.endGroup(x)
    }
    x = try build.normalizePixels(x, "norm")
    if build.contains("conv_after_body.weight") {
      x = try build.residualConvolution(x, "conv_after_body")
    }
    let (output, scale) = try build.shuffleInStages(
      build.add(x, shallow), outputs: image.channels)
    let usual = ShiftMasks.Summary(shifts, window: window)
    return NetworkTraits(
      output: output, scale: scale, range: PixelRange(channelCount: image.channels, range: 1),
      multiple: window,
      configuration: "\(first[0]) channels, \(5 * groups) layers in \(counted(groups, "group")), "
        + "windows of \(window)" + (usual.isUsual ? "" : ", \(usual.text)"),
      remarks: masks.remarks(usual))
  }
}
