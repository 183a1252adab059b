import Formats
import Imaging
import Storage

/// SwinIR (Liang et al. 2021, "SwinIR: Image Restoration Using Swin Transformer") in all its
/// published variants.
struct SwinIR: Architecture {
  static let name = "SwinIR"
  static let landmarks = [".residual_group.blocks.", ".mlp.fc"]

  let configuration: SwinIRConfiguration
  let first: ConvolutionLayer
  let patchNorm: NormalizationLayer?
  /// `[tokens, channels]`, which only fits images of exactly this number of tokens.
  let positionEmbedding: [Float]?
  let groups: [Group]
  let norm: NormalizationLayer
  let last: ResidualConvolution
  let reconstruction: Reconstruction
  private let range: PixelRange
  private let masks: Masks

  /// The masks of a checkpoint. The original code registers one in exactly those layers that shift
  /// their windows: in none if a network was trained on images no larger than a window.
  fileprivate enum Masks {
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
  }

  /// A residual group (RSTB): transformer layers and a convolution, added to the group's input.
  struct Group: Sendable {
    let layers: [SwinTransformerLayer]
    let convolution: ResidualConvolution
  }

  init(_ weights: inout WeightReader, sites: inout SiteList) throws {
    let configuration = try SwinIRConfiguration(weights)
    let channels = configuration.channels
    self.configuration = configuration
    first = try ConvolutionLayer(
      &weights, "conv_first", outputs: channels, inputs: configuration.inputs)
    patchNorm =
      weights.contains("patch_embed.norm.weight")
      ? try NormalizationLayer(&weights, "patch_embed.norm", channels: channels) : nil
    positionEmbedding =
      weights.contains("absolute_pos_embed")
      ? try weights.values(
        "absolute_pos_embed",
        [1, weights.dimensions(of: "absolute_pos_embed", rank: 3)[1], channels]) : nil
    let masks = Masks(weights.archive)
    self.masks = masks
    groups = try configuration.depths.indices.map { index in
      try Group(&weights, index, configuration, masks, sites: &sites)
    }
    norm = try NormalizationLayer(&weights, "norm", channels: channels)
    last = try ResidualConvolution(&weights, "conv_after_body", channels: channels)
    reconstruction =
      switch configuration.upsampler {
      case .pixelShuffleDirect:
        try Reconstruction(direct: &weights, channels: channels, outputs: configuration.inputs)
      case .pixelShuffle: try Reconstruction(shuffling: &weights, channels: channels)
      case .nearestConvolution: try Reconstruction(repeating: &weights, channels: channels)
      case .none: try Reconstruction(keepingSize: &weights, channels: channels)
      }
    guard reconstruction.outputs == configuration.inputs else {
      throw WeightMismatch(
        tensor: "conv_last.weight",
        problem: "gives \(reconstruction.outputs) channels, expected \(configuration.inputs)")
    }
    range = PixelRange(
      channelCount: configuration.inputs, range: configuration.sampleRange)
    try weights.finish(ignoring: ["attn_mask", "relative_position_index"])
  }

  var scale: Int { reconstruction.scale }
  var channelCount: Int { configuration.inputs }
  var windowPeriod: Int { configuration.window }
  var summary: String {
    "SwinIR ×\(scale), \(configuration.upsampler.rawValue), \(configuration.channels) channels, "
      + "\(configuration.depths.reduce(0, +)) layers in \(counted(groups.count, "group")), "
      + "windows of \(configuration.window)\(shifts.isUsual ? "" : ", \(shifts.text)")"
  }

  /// Which layers shift their windows, if this is not every other layer or was assumed.
  var remarks: [String] {
    guard configuration.window > 1 else { return [] }
    switch (masks, shifts.isUsual) {
    case (.absent, _):
      return [
        "no layer shifts its windows: the whole state dictionary has no mask (attn_mask), as of a network "
          + "trained on images no larger than a window"
      ]
    case (.present, false): return ["\(shifts.text), as the checkpoint's masks (attn_mask) say"]
    case (.present, true): return []
    case (.unknown, _):
      return [
        "the checkpoint has no masks (attn_mask), so every other layer is taken to shift its windows, as "
          + "in the published networks"
      ]
    }
  }

  private var shifts: (isUsual: Bool, text: String) {
    let layers = groups.flatMap { group in
      group.layers.enumerated().map { ($1.isShifted, $0 % 2 == 1 && configuration.window > 1) }
    }
    let count = layers.count { $0.0 }
    return (
      layers.allSatisfy { $0.0 == $0.1 },
      count == 0
        ? "no layer shifts its windows"
        : "\(count) of \(counted(layers.count, "layer")) shift their windows"
    )
  }

  func run(_ image: Image, _ context: ForwardContext) throws -> Image {
    let window = configuration.window
    let height = (image.height + window - 1) / window * window
    let width = (image.width + window - 1) / window * window
    let shortest = window / 2 + 1
    guard height < 2 * image.height, width < 2 * image.width else {
      throw ModelError(
        "the image has \(image.width) × \(image.height) pixels, of which the network needs "
          + "at least \(shortest) × \(shortest)")
    }
    let pixels = range.features(of: image, height: height, width: width)
    return try reconstruct(
      try features(of: pixels, context), pixels: pixels, size: (image.height, image.width),
      context)
  }

  /// Returns the features from which the result is reconstructed.
  private func features(
    of pixels: FeatureMap, _ context: ForwardContext
  ) throws -> FeatureMap {
    let shallow = FeatureMap(
      height: pixels.height, width: pixels.width, channels: configuration.channels)
    try first.apply(pixels, to: shallow, context)
    let residual = FeatureMap(copying: shallow)
    if let patchNorm { try patchNorm.apply(residual, to: residual, context) }
    try addPositionEmbedding(to: residual)

    let x = FeatureMap(copying: residual)
    let layerCount = Double(configuration.depths.reduce(0, +) + 1)
    var done = 0.0
    for (index, group) in groups.enumerated() {
      for layer in group.layers {
        try layer.apply(x, context)
        done += 1
        context.progress?(done / layerCount)
      }
      try group.convolution.apply(x, to: residual, residual: residual, context)
      try context.groupObserver?(index, residual)
      x.copy(residual)
    }
    try norm.apply(x, to: x, context)
    try last.apply(x, to: shallow, residual: shallow, context)
    return shallow
  }

  private func addPositionEmbedding(to x: FeatureMap) throws {
    guard let positionEmbedding else { return }
    guard positionEmbedding.count == x.count else {
      throw ModelError(
        "the image has \(counted(x.tokenCount, "pixel")) with its padding, the network's "
          + "position embedding is for \(positionEmbedding.count / x.channels)")
    }
    for (index, value) in positionEmbedding.enumerated() { x.values[index] += value }
  }

  private func reconstruct(
    _ features: FeatureMap, pixels: FeatureMap, size: (height: Int, width: Int),
    _ context: ForwardContext
  ) throws -> Image {
    let added = configuration.upsampler == .none ? pixels : nil
    return try range.image(
      of: features, through: reconstruction, height: size.height * scale,
      width: size.width * scale, adding: added, context)
  }
}

extension SwinIR.Group {
  fileprivate init(
    _ weights: inout WeightReader, _ index: Int, _ configuration: SwinIRConfiguration,
    _ masks: SwinIR.Masks, sites: inout SiteList
  ) throws {
    let name = "layers.\(index)"
    layers = try (0..<configuration.depths[index]).map { layer in
      let block = "\(name).residual_group.blocks.\(layer)"
      return try SwinTransformerLayer(
        &weights, block, channels: configuration.channels, heads: configuration.heads[index],
        window: configuration.window, hidden: configuration.hidden,
        isShifted: masks.shifts(weights, block, layer) && configuration.window > 1, sites: &sites)
    }
    convolution = try ResidualConvolution(
      &weights, "\(name).conv", channels: configuration.channels)
  }
}
