import Storage

/// SAFMN (Sun et al. 2023, "Spatially-Adaptive Feature Modulation for Efficient Image
/// Super-Resolution"), and the deeper form of it that team 21 of NTIRE 2026 trained.
enum SAFMN: NetworkDescription {
  static let name = "SAFMN"
  static let landmarks = [".safm."]

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let image = build.image(channels: 3)
    let shallow = try build.convolution(image, "to_feat", side: 3)
    let isDeep = build.contains("upsampler.0.weight")
    let (body, last) = isDeep ? ("blocks", "upsampler.0") : ("feats", "to_img.0")
    let blocks = build.count(body, probe: "safm.aggr.weight")
    var x = shallow
    for index in 0..<blocks {
      let name = "\(body).\(index)"
      let modulated = try modulation(
        normalized(x, "\(name).norm1", isDeep, &build), "\(name).safm", &build)
      x = build.add(modulated, x)
      let mixer = isDeep ? "\(name).ffn" : "\(name).ccm.ccm"
      var mixed = try build.convolution(
        normalized(x, "\(name).norm2", isDeep, &build), "\(mixer).0", side: isDeep ? 1 : 3)
      mixed = try build.convolution(
        build.apply(.gelu, to: mixed), "\(mixer).2", outputs: x.channels, side: 1)
      x = build.add(mixed, x)
    }
    let scale = try build.squareFactor(of: last, outputs: image.channels)
    x = build.pixelShuffle(try build.convolution(build.add(x, shallow), last, side: 3), scale)
    if isDeep { x = build.add(x, build.bilinear(image, toSizeOf: x)) }
    return NetworkTraits(
      output: x, scale: scale, range: PixelRange(unshifted: image.channels),
      configuration: "\(shallow.channels) channels, \(counted(blocks, "block"))"
        + (isDeep ? ", normalized over the image" : ""))
  }

  private static func normalized(
    _ x: NetworkGraph.Value, _ name: String, _ isDeep: Bool, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    isDeep
      ? try build.normalizeGroups(x, "\(name).norm", groups: 1, epsilon: 1e-5)
      : try build.normalizePixels(x, name, epsilon: 1e-6)
  }

  /// Weighs each element by what four images of different sizes say of it.
  private static func modulation(
    _ x: NetworkGraph.Value, _ name: String, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let size = x.channels / 4
    var known: NetworkGraph.Value?
    for level in 0..<4 {
      var part = build.channels(level * size..<(level + 1) * size, of: x)
      if level > 0 { part = build.largest(part, inGridOf: 1 << level) }
      part = try build.convolution(
        part, "\(name).mfr.\(level)", outputs: size, side: 3, groups: size)
      if level > 0 { part = build.nearest(part, toSizeOf: x) }
      known = known.map { build.concatenate($0, part) } ?? part
    }
    let weights = try build.convolution(known ?? x, "\(name).aggr", outputs: x.channels, side: 1)
    return build.multiply(build.apply(.gelu, to: weights), x)
  }
}
