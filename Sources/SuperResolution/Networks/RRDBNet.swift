import Storage

/// RRDBNet (Wang et al. 2018, "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks"), the
/// network of ESRGAN, ESRGAN+, BSRGAN and Real-ESRGAN, in the three spellings of its checkpoints.
enum RRDBNet: NetworkDescription {
  static let name = "RRDBNet"
  static let landmarks = [".RDB", ".rdb", "RRDB_trunk."]

  /// The names of a spelling.
  private struct Names: Sendable {
    let first: String
    let block: @Sendable (_ block: Int, _ dense: Int) -> String
    /// What follows a block's name and that of a convolution.
    let suffix: String
    let trunk: @Sendable (_ blocks: Int) -> String
    let upsampling: @Sendable (_ stage: Int) -> String
    let fine: @Sendable (_ stages: Int) -> String
    let last: @Sendable (_ stages: Int) -> String

    static let all = [
      Names(
        first: "model.0", block: { "model.1.sub.\($0).RDB\($1)" }, suffix: ".0",
        trunk: { "model.1.sub.\($0)" }, upsampling: { "model.\(3 * $0)" },
        fine: { "model.\(3 * $0 + 2)" }, last: { "model.\(3 * $0 + 4)" }),
      Names(
        first: "conv_first", block: { "RRDB_trunk.\($0).RDB\($1)" }, suffix: "",
        trunk: { _ in "trunk_conv" }, upsampling: { "upconv\($0)" }, fine: { _ in "HRconv" },
        last: { _ in "conv_last" }),
      Names(
        first: "conv_first", block: { "body.\($0).rdb\($1)" }, suffix: "",
        trunk: { _ in "conv_body" }, upsampling: { "conv_up\($0)" }, fine: { _ in "conv_hr" },
        last: { _ in "conv_last" }),
    ]
  }

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let names =
      Names.all.first { build.contains("\($0.block(0, 1)).conv1\($0.suffix).weight") }
      ?? Names.all[2]
    let inputs = try build.dimensions(of: "\(names.first).weight", rank: 4)[1]
    var blocks = 0
    while build.contains("\(names.block(blocks, 1)).conv1\(names.suffix).weight") { blocks += 1 }
    // The old spelling numbers modules: what follows the last of these is the convolution before last.
    var stages = 0
    while build.contains("\(names.upsampling(stages + 1)).weight") { stages += 1 }
    let outputs = try build.dimensions(of: "\(names.last(stages)).weight", rank: 4)[0]
    let factor = inputs == 4 * outputs ? 2 : inputs == 16 * outputs ? 4 : 1

    let image = build.image(channels: inputs / (factor * factor))
    let shallow = try build.convolution(
      factor == 1 ? image : build.pixelUnshuffle(image, factor), names.first)
    var x = shallow
    for block in 0..<blocks {
      let start = x
      for dense in 1...3 { x = try self.block(x, names.block(block, dense), names.suffix, &build) }
      x = build.add(build.scale(x, by: 0.2), start)
    }
    x = build.add(shallow, try build.convolution(x, names.trunk(blocks), outputs: shallow.channels))
    for stage in 0..<stages {
      x = try activated(build.nearest(x, 2), names.upsampling(stage + 1), &build)
    }
    x = try activated(x, names.fine(stages), &build)
    let output = try build.convolution(x, names.last(stages), outputs: image.channels)
    guard (1 << stages) % factor == 0 else {
      throw WeightMismatch(
        tensor: "\(names.first).weight",
        problem: "takes pixels in squares of \(factor), more than the network upscales by")
    }
    return NetworkTraits(
      output: output, scale: (1 << stages) / factor,
      range: PixelRange(unshifted: image.channels), multiple: factor,
      configuration: "\(shallow.channels) channels, \(counted(blocks, "block"))"
        + (factor > 1 ? ", pixels in squares of \(factor)" : ""))
  }

  /// A dense block: each convolution takes the results of all before it.
  private static func block(
    _ x: NetworkGraph.Value, _ name: String, _ suffix: String, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    var known = x
    var second: NetworkGraph.Value?
    for index in 1...4 {
      var made = try activated(known, "\(name).conv\(index)\(suffix)", &build)
      // ESRGAN+ has a second way around two of the convolutions.
      if build.contains("\(name).conv1x1.weight") {
        if index == 2 {
          made = build.add(
            made, try build.convolution(x, "\(name).conv1x1", side: 1, hasBias: false))
          second = made
        } else if index == 4, let second {
          made = build.add(made, second)
        }
      }
      known = build.concatenate(known, made)
    }
    let last = try build.convolution(known, "\(name).conv5\(suffix)", outputs: x.channels)
    return build.add(build.scale(last, by: 0.2), x)
  }

  private static func activated(
    _ x: NetworkGraph.Value, _ name: String, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    build.apply(.leakyReLU(slope: 0.2), to: try build.convolution(x, name, side: 3))
  }
}
