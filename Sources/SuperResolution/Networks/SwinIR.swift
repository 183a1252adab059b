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
    let (output, scale) = try reconstruct(x, image, configuration.upsampler, &build)
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

  private static func reconstruct(
    _ x: NetworkGraph.Value, _ image: NetworkGraph.Value,
    _ upsampler: SwinIRConfiguration.Upsampler, _ build: inout NetworkBuilder
  ) throws -> (output: NetworkGraph.Value, scale: Int) {
    switch upsampler {
    case .pixelShuffleDirect: return try build.shuffleDirectly(x, outputs: image.channels)
    case .pixelShuffle: return try build.shuffleInStages(x, outputs: image.channels)
    case .nearestConvolution:
      var x = try build.activatedConvolution(x, "conv_before_upsample.0", slope: 0.01)
      var scale = 1
      for name in ["conv_up1", "conv_up2", "conv_up3"] where build.contains("\(name).weight") {
        x = try build.activatedConvolution(
          build.nearest(x, 2), name, outputs: x.channels, slope: 0.2)
        scale *= 2
      }
      x = try build.activatedConvolution(x, "conv_hr", outputs: x.channels, slope: 0.2)
      return (
        try build.convolution(x, "conv_last", outputs: image.channels, side: 3), scale
      )
    case .none:
      let made = try build.convolution(x, "conv_last", outputs: image.channels, side: 3)
      return (build.add(made, image), 1)
    }
  }
}

/// The masks of a checkpoint, which tell what layers shift their windows. The original code registers
/// one in exactly those layers: in none if a network was trained on images no larger than a window.
private enum ShiftMasks {
  /// There are masks, so a layer without one does not shift.
  case present
  /// There are no masks in the whole state dictionary of a module.
  case absent
  /// There are no masks, but buffers may have been left out.
  case unknown

  init(_ archive: TensorArchive) {
    if archive.tensors.keys.contains(where: { $0.hasSuffix(".attn_mask") }) {
      self = .present
    } else {
      self = archive.isWholeStateDictionary ? .absent : .unknown
    }
  }

  func shifts(_ weights: WeightReader, _ block: String, _ layer: Int) -> Bool {
    switch self {
    case .present: weights.contains("\(block).attn_mask")
    case .absent: false
    case .unknown: layer % 2 == 1
    }
  }

  /// Which layers shift their windows.
  struct Summary {
    /// Whether every other layer does, as in the published networks.
    let isUsual: Bool
    let text: String

    init(_ shifts: [[Bool]], window: Int) {
      let layers = shifts.flatMap { group in
        group.enumerated().map { (found: $1, usual: $0 % 2 == 1 && window > 1) }
      }
      let count = layers.count { $0.found }
      isUsual = layers.allSatisfy { $0.found == $0.usual }
      text =
        count == 0
        ? "no layer shifts its windows"
        : "\(count) of \(counted(layers.count, "layer")) shift their windows"
    }
  }

  func remarks(_ summary: Summary) -> [String] {
    switch (self, summary.isUsual) {
    case (.absent, _):
      [
        "no layer shifts its windows: the whole state dictionary has no mask (attn_mask), as of a "
          + "network trained on images no larger than a window"
      ]
    case (.present, false): ["\(summary.text), as the checkpoint's masks (attn_mask) say"]
    case (.present, true): []
    case (.unknown, _):
      [
        "the checkpoint has no masks (attn_mask), so every other layer is taken to shift its "
          + "windows, as in the published networks"
      ]
    }
  }
}

// What SwinIR shares with the networks that follow it.
extension NetworkBuilder {
  /// Applies the end of a residual group and of the body: one convolution, or three with a narrow
  /// middle (`1conv` and `3conv` of the original programs).
  mutating func residualConvolution(_ x: Value, _ name: String) throws -> Value {
    guard !contains("\(name).weight"), contains("\(name).0.weight") else {
      return try convolution(x, name, outputs: x.channels, side: 3)
    }
    let narrow = max(1, x.channels / 4)
    var made = try activatedConvolution(x, "\(name).0", outputs: narrow, slope: 0.2)
    made = apply(
      .leakyReLU(slope: 0.2), to: try convolution(made, "\(name).2", outputs: narrow, side: 1))
    return try convolution(made, "\(name).4", outputs: x.channels, side: 3)
  }

  mutating func activatedConvolution(
    _ x: Value, _ name: String, outputs: Int? = nil, slope: Float
  ) throws -> Value {
    apply(.leakyReLU(slope: slope), to: try convolution(x, name, outputs: outputs, side: 3))
  }

  /// Ends with one convolution and a pixel shuffle (`pixelshuffledirect`).
  mutating func shuffleDirectly(
    _ x: Value, outputs: Int
  ) throws -> (output: Value, scale: Int) {
    let factor = try squareFactor(of: "upsample.0", outputs: outputs)
    return (pixelShuffle(try convolution(x, "upsample.0", side: 3), factor), factor)
  }

  /// Ends with a convolution, then one with a pixel shuffle for every factor of 2 or for a factor of
  /// 3, and a last convolution (`pixelshuffle`).
  mutating func shuffleInStages(
    _ x: Value, outputs: Int
  ) throws -> (output: Value, scale: Int) {
    var x = try activatedConvolution(x, "conv_before_upsample.0", slope: 0.01)
    let width = x.channels
    var (scale, stage) = (1, 0)
    while contains("upsample.\(2 * stage).weight") {
      let name = "upsample.\(2 * stage)"
      let count = try dimensions(of: "\(name).weight", rank: 4)[0]
      guard stage < 3, count == 4 * width || count == 9 * width else {
        throw WeightMismatch(
          tensor: "\(name).weight",
          problem: "has \(counted(count, "output")), expected \(4 * width) or \(9 * width) in up "
            + "to 3 stages")
      }
      let factor = count == 4 * width ? 2 : 3
      x = pixelShuffle(try convolution(x, name, side: 3), factor)
      scale *= factor
      stage += 1
    }
    return (try convolution(x, "conv_last", outputs: outputs, side: 3), scale)
  }
}
