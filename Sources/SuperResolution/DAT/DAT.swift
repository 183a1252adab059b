import Imaging
import Storage

/// DAT (Chen et al. 2023, "Dual Aggregation Transformer for Image Super-Resolution") in all its
/// published sizes.
struct DAT: Architecture {
  static let name = "DAT"
  static let landmarks = [".attn.attns.", ".ffn.sg.", ".channel_interaction."]

  let configuration: DATConfiguration
  let first: ConvolutionLayer
  let firstNorm: NormalizationLayer
  let groups: [Group]
  let norm: NormalizationLayer
  let last: ResidualConvolution
  let reconstruction: Reconstruction
  private let range: PixelRange

  /// A residual group: blocks and a convolution, added to the group's input.
  struct Group: Sendable {
    let blocks: [DATBlock]
    let convolution: ResidualConvolution
  }

  init(_ weights: inout WeightReader, sites: inout SiteList) throws {
    let configuration = try DATConfiguration(weights)
    let channels = configuration.channels
    self.configuration = configuration
    first = try ConvolutionLayer(
      &weights, "conv_first", outputs: channels, inputs: configuration.inputs)
    firstNorm = try NormalizationLayer(&weights, "before_RG.1", channels: channels)
    groups = try configuration.depths.enumerated().map { group, depth in
      let blocks = try (0..<depth).map {
        try DATBlock(&weights, group: group, index: $0, configuration, sites: &sites)
      }
      return Group(
        blocks: blocks,
        convolution: try ResidualConvolution(
          &weights, "layers.\(group).conv", channels: channels))
    }
    norm = try NormalizationLayer(&weights, "norm", channels: channels)
    last = try ResidualConvolution(&weights, "conv_after_body", channels: channels)
    reconstruction =
      configuration.shufflesDirectly
      ? try Reconstruction(direct: &weights, channels: channels, outputs: configuration.inputs)
      : try Reconstruction(shuffling: &weights, channels: channels)
    guard reconstruction.outputs == configuration.inputs else {
      throw WeightMismatch(
        tensor: "conv_last.weight",
        problem: "gives \(reconstruction.outputs) channels, expected \(configuration.inputs)")
    }
    range = PixelRange(channelCount: configuration.inputs, range: 1)
    try weights.finish(ignoring: [
      "attn_mask_0", "attn_mask_1", "relative_position_index", "rpe_biases",
      "num_batches_tracked",
    ])
  }

  var scale: Int { reconstruction.scale }
  var channelCount: Int { configuration.inputs }
  /// The longer side of the windows; the image is padded to multiples of it.
  var windowPeriod: Int { max(configuration.split.height, configuration.split.width) }
  /// Always `nil`, since channel attention spans the whole image.
  var exactOverlap: Int? { nil }
  var summary: String {
    "DAT ×\(scale), \(configuration.channels) channels, "
      + "\(configuration.depths.reduce(0, +)) blocks in \(counted(groups.count, "group")), "
      + "windows of \(configuration.split.height) × \(configuration.split.width)"
  }

  func run(_ image: Image, _ context: ForwardContext) throws -> Image {
    let pixels = range.features(of: image, height: image.height, width: image.width)
    return try range.image(
      of: try features(of: pixels, context), through: reconstruction,
      height: image.height * scale, width: image.width * scale, context)
  }

  /// Returns the features from which the result is reconstructed.
  private func features(
    of pixels: FeatureMap, _ context: ForwardContext
  ) throws -> FeatureMap {
    let channels = configuration.channels
    let shallow = FeatureMap(height: pixels.height, width: pixels.width, channels: channels)
    try first.apply(pixels, to: shallow, context)
    let residual = FeatureMap(copying: shallow)
    try firstNorm.apply(residual, to: residual, context)

    let space = DATWorkspace(
      x: FeatureMap(copying: residual), wideChannels: max(3 * channels, configuration.hidden))
    let blockCount = Double(configuration.depths.reduce(0, +) + 1)
    var done = 0.0
    for (index, group) in groups.enumerated() {
      for block in group.blocks {
        try block.apply(space, context)
        done += 1
        context.progress?(done / blockCount)
      }
      try group.convolution.apply(space.x, to: residual, residual: residual, context)
      try context.groupObserver?(index, residual)
      space.x.copy(residual)
    }
    try norm.apply(space.x, to: space.x, context)
    try last.apply(space.x, to: shallow, residual: shallow, context)
    return shallow
  }
}
