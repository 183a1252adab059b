import Storage

/// EDSR (Lim et al. 2017, "Enhanced Deep Residual Networks for Single Image Super-Resolution").
enum EDSR: NetworkDescription {
  static let name = "EDSR"
  static let landmarks = ["head.0.", "tail.0."]

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let frame = try MeanShiftFrame(&build)
    // The factor of residuals is not in the file: the large network has it.
    let factor: Float? = frame.head.channels >= 256 ? 0.1 : nil
    var x = frame.head
    let blocks = build.count("body", probe: "body.0.weight")
    for block in 0..<blocks {
      let name = "body.\(block).body"
      var made = build.apply(.relu, to: try build.convolution(x, "\(name).0"))
      made = try build.convolution(made, "\(name).2", outputs: x.channels)
      x = build.add(factor.map { build.scale(made, by: $0) } ?? made, x)
    }
    x = build.add(try build.convolution(x, "body.\(blocks)", outputs: x.channels), frame.head)
    return try frame.finish(
      x, configuration: "\(x.channels) channels, \(counted(blocks, "block"))",
      remarks: factor == nil
        ? []
        : ["residuals are scaled by 0.1, as in the published network of this width"], &build)
  }
}

/// RCAN (Zhang et al. 2018, "Image Super-Resolution Using Very Deep Residual Channel Attention
/// Networks").
enum RCAN: NetworkDescription {
  static let name = "RCAN"
  static let landmarks = [".conv_du.", "head.", "tail.0."]

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let frame = try MeanShiftFrame(&build)
    var x = frame.head
    let groups = build.count("body", probe: "body.0.body.0.weight")
    var blocks = 0
    for group in 0..<groups {
      let (name, start) = ("body.\(group).body", x)
      let count = build.count(name, probe: "body.0.weight")
      for block in 0..<count { x = try self.block(x, "\(name).\(block).body", &build) }
      x = build.add(
        try build.convolution(x, "\(name).\(count)", outputs: start.channels), start)
      blocks += count
    }
    x = build.add(try build.convolution(x, "body.\(groups)", outputs: x.channels), frame.head)
    return try frame.finish(
      x,
      configuration:
        "\(x.channels) channels, \(counted(blocks, "block")) in \(counted(groups, "group"))",
      &build)
  }

  private static func block(
    _ x: NetworkGraph.Value, _ name: String, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    var made = build.apply(.relu, to: try build.convolution(x, "\(name).0"))
    made = try build.convolution(made, "\(name).2", outputs: x.channels)
    var weights = try build.convolution(
      build.average(made), "\(name).3.conv_du.0", side: 1)
    weights = try build.convolution(
      build.apply(.relu, to: weights), "\(name).3.conv_du.2", outputs: x.channels, side: 1)
    return build.add(build.multiply(made, build.apply(.sigmoid, to: weights)), x)
  }
}

/// What EDSR and RCAN share: the mean colour that is taken off and put back by convolutions, the
/// first convolution and the upscaling ones.
private struct MeanShiftFrame {
  let image: NetworkGraph.Value
  /// The result of the first convolution.
  let head: NetworkGraph.Value
  private let range: Float
  private let isShifted: Bool
  /// The side of the squares of pixels that become channels, where the network has such a head.
  private let unshuffle: Int

  init(_ build: inout NetworkBuilder) throws {
    let last = try build.dimensions(of: "tail.1.weight", rank: 4)[0]
    image = build.image(channels: last)
    isShifted = build.contains("sub_mean.weight")
    // The largest sample is 255 or 1; the first bias is its product with the mean of red.
    let shift = isShifted ? try build.values("sub_mean.bias", [last]) : [0]
    range = shift[0] < -2 ? 255 : 1
    let name = build.contains("head.0.weight") ? "head.0" : "head.1"
    let inputs = try build.dimensions(of: "\(name).weight", rank: 4)[1]
    unshuffle = (1...8).first { $0 * $0 * last == inputs } ?? 1
    var x = image
    if isShifted {
      x = try build.convolution(x, "sub_mean", outputs: x.channels, side: 1)
    }
    if name == "head.1" { x = build.pixelUnshuffle(x, unshuffle) }
    head = try build.convolution(x, name)
  }

  func finish(
    _ features: NetworkGraph.Value, configuration: String, remarks: [String] = [],
    _ build: inout NetworkBuilder
  ) throws -> NetworkTraits {
    var (x, scale) = (features, 1)
    while build.contains("tail.0.\(2 * stage(of: scale)).weight") {
      let name = "tail.0.\(2 * stage(of: scale))"
      let factor = try build.squareFactor(of: name, outputs: x.channels)
      guard factor == 2 || factor == 3 else {
        throw WeightMismatch(tensor: "\(name).weight", problem: "upscales by \(factor)")
      }
      x = build.pixelShuffle(try build.convolution(x, name), factor)
      scale *= factor
    }
    x = try build.convolution(x, "tail.1", outputs: image.channels)
    if isShifted { x = try build.convolution(x, "add_mean", outputs: image.channels, side: 1) }
    guard scale % unshuffle == 0 else {
      throw WeightMismatch(
        tensor: "tail.1.weight", problem: "makes fewer pixels than the image has")
    }
    return NetworkTraits(
      output: x, scale: scale / unshuffle,
      range: PixelRange(unshifted: image.channels, range: range),
      multiple: unshuffle, configuration: configuration, remarks: remarks)
  }

  /// The number of upscaling convolutions that make up `scale`.
  private func stage(of scale: Int) -> Int { scale == 3 ? 1 : scale.trailingZeroBitCount }
}
