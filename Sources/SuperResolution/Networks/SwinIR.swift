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
    var x = try build.embed(shallow)
    let masks = ShiftMasks(build.weights.archive)
    var shifts: [[Bool]] = []
    for (group, depth) in configuration.depths.enumerated() {
      let start = x
      shifts.append([])
      for index in 0..<depth {
        let name = "layers.\(group).residual_group.blocks.\(index)"
        let isShifted = window > 1 && masks.shifts(build.weights, name, index)
        shifts[group].append(isShifted)
        x = try build.swinLayer(
          x, name, heads: configuration.heads[group], window: window,
          hidden: configuration.hidden, isShifted: isShifted)
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
}
