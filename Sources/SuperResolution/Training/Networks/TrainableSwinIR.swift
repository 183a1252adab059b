import Storage

/// SwinIR on a tape; equal to `SwinIR` up to rounding.
struct TrainableSwinIR: TrainableNetwork {
  let channelCount: Int
  let scale: Int
  let range: PixelRange
  private let window: Int
  private let isAddedToInput: Bool
  private let first: TrainableLayer
  private let patchNorm: TrainableNorm?
  private let positionEmbedding: ParameterReference?
  private let groups: [Group]
  private let norm: TrainableNorm
  private let last: TrainableResidualConvolution
  private let reconstruction: TrainableReconstruction

  private struct Group {
    let layers: [TrainableSwinLayer]
    let convolution: TrainableResidualConvolution
  }

  init(_ network: SwinIR, _ finder: ParameterFinder) throws {
    let configuration = network.configuration
    channelCount = network.channelCount
    scale = network.scale
    window = configuration.window
    isAddedToInput = configuration.upsampler == .none
    range = PixelRange(channelCount: configuration.inputs, range: configuration.sampleRange)
    first = try finder.layer("conv_first")
    patchNorm =
      finder.contains("patch_embed.norm.weight") ? try finder.norm("patch_embed.norm") : nil
    positionEmbedding = finder.store["absolute_pos_embed"]
    groups = try configuration.depths.enumerated().map { group, depth in
      let name = "layers.\(group)"
      return Group(
        layers: try (0..<depth).map { index in
          try TrainableSwinLayer(
            "\(name).residual_group.blocks.\(index)", heads: configuration.heads[group],
            isShifted: network.groups[group].layers[index].isShifted, finder)
        },
        convolution: try TrainableResidualConvolution("\(name).conv", finder))
    }
    norm = try finder.norm("norm")
    last = try TrainableResidualConvolution("conv_after_body", finder)
    reconstruction = try TrainableReconstruction(network.reconstruction, finder)
  }

  var paddingMultiple: Int { window }

  func check(height: Int, width: Int) throws {
    guard let count = positionEmbedding?.count else { return }
    guard count == height * width * first.outputs else {
      throw ModelError(
        "the image has \(height * width) pixels with its padding, the network's position "
          + "embedding is for \(count / first.outputs)")
    }
  }

  /// Returns the unshifted windows and the shifted ones.
  func layouts(height: Int, width: Int) -> [WindowLayout] {
    [0, window / 2].map { shift in
      WindowLayout(
        WindowGrid(
          height: height, width: width, window: (window, window), shift: (shift, shift),
          multiple: window))
    }
  }

  func run(_ pixels: Variable, height: Int, _ layouts: [WindowLayout], _ tape: Tape) -> (
    output: Variable, groups: [Variable]
  ) {
    let shallow = first.convolve(pixels, height: height, tape)
    var x = patchNorm?.apply(shallow, tape) ?? shallow
    if let positionEmbedding {
      let embedding = tape.variable(positionEmbedding, columns: x.columns)
      // Without a normalization before it, the value of `x` is needed later.
      x = tape.add(embedding, consuming: patchNorm == nil ? tape.copy(x) : x)
    }
    var features: [Variable] = []
    for group in groups {
      let residual = x
      for layer in group.layers { x = layer.run(x, layouts, tape) }
      x = group.convolution.run(x, height: height, adding: residual, tape)
      features.append(x)
    }
    x = last.run(norm.apply(x, tape), height: height, adding: shallow, tape)
    let output = reconstruction.run(x, height: height, tape)
    return (isAddedToInput ? tape.add(pixels, consuming: output) : output, features)
  }
}

/// One transformer layer of SwinIR on a tape.
struct TrainableSwinLayer: Sendable {
  private let normBeforeAttention: TrainableNorm
  private let queryKeyValue: TrainableLayer
  private let positionTable: ParameterReference
  private let projection: TrainableLayer
  private let normBeforePerceptron: TrainableNorm
  private let expansion: TrainableLayer
  private let contraction: TrainableLayer
  private let heads: Int
  private let isShifted: Bool
  private let sites: AttentionSites

  init(_ name: String, heads: Int, isShifted: Bool, _ finder: ParameterFinder) throws {
    self.heads = heads
    self.isShifted = isShifted
    normBeforeAttention = try finder.norm("\(name).norm1")
    queryKeyValue = try finder.layer("\(name).attn.qkv")
    positionTable = try finder.parameter("\(name).attn.relative_position_bias_table")
    projection = try finder.layer("\(name).attn.proj")
    normBeforePerceptron = try finder.norm("\(name).norm2")
    expansion = try finder.layer("\(name).mlp.fc1")
    contraction = try finder.layer("\(name).mlp.fc2")
    sites = try finder.attention("\(name).attn")
  }

  func run(_ x: Variable, _ layouts: [WindowLayout], _ tape: Tape) -> Variable {
    let layout = layouts[isShifted ? 1 : 0]
    let setting = WindowAttentionSetting(layout: layout, heads: heads, sites: sites)
    let windows = tape.gather(
      normBeforeAttention.apply(x, tape), layout.order, columns: [0..<x.columns])
    let attended = tape.windowAttention(
      queryKeyValue.apply(windows, tape), table: tape.variable(positionTable, columns: heads),
      setting)
    let projected = projection.apply(attended, tape)
    let sum = tape.add(x, consuming: tape.scatter([(projected, layout.order)]))
    let hidden = tape.gelu(consuming: expansion.apply(normBeforePerceptron.apply(sum, tape), tape))
    return tape.add(sum, consuming: contraction.apply(hidden, tape))
  }
}
