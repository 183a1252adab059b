/// One transformer layer of SwinIR: attention within windows, then a perceptron on each token. Each
/// follows a normalization and is added to its input (Liang et al. 2021, equations 5 and 6).
struct SwinTransformerLayer: Sendable {
  let normBeforeAttention: NormalizationLayer
  let queryKeyValue: LinearLayer
  let projection: LinearLayer
  /// The bias of every relative position, `[(2·window − 1)², heads]`.
  let positionTable: [Float]
  let normBeforePerceptron: NormalizationLayer
  let expansion: LinearLayer
  let contraction: LinearLayer
  let heads: Int
  let window: Int
  let isShifted: Bool
  private let sites: Sites

  /// The indices of the layer's activation sites.
  private struct Sites {
    let queryKeyValue: Int
    let attention: AttentionSites
    let projection: Int
    let expansion: Int
    let contraction: Int
  }

  init(
    _ weights: inout WeightReader, _ name: String, channels: Int, heads: Int, window: Int,
    hidden: Int, isShifted: Bool, sites: inout SiteList
  ) throws {
    let attention = "\(name).attn"
    self.heads = heads
    self.window = window
    self.isShifted = isShifted
    normBeforeAttention = try NormalizationLayer(&weights, "\(name).norm1", channels: channels)
    positionTable = try weights.values(
      "\(attention).relative_position_bias_table", [(2 * window - 1) * (2 * window - 1), heads])
    queryKeyValue = try LinearLayer(
      &weights, "\(attention).qkv", outputs: 3 * channels, inputs: channels, mayLackBias: true)
    projection = try LinearLayer(
      &weights, "\(attention).proj", outputs: channels, inputs: channels)
    normBeforePerceptron = try NormalizationLayer(&weights, "\(name).norm2", channels: channels)
    expansion = try LinearLayer(&weights, "\(name).mlp.fc1", outputs: hidden, inputs: channels)
    contraction = try LinearLayer(&weights, "\(name).mlp.fc2", outputs: channels, inputs: hidden)
    self.sites = Sites(
      queryKeyValue: sites.addInput(
        of: "\(attention).qkv", columnCount: channels, from: .normalization("\(name).norm1")),
      attention: sites.addAttention(attention, columnCount: channels, heads: heads),
      projection: sites.addInput(of: "\(attention).proj", columnCount: channels),
      expansion: sites.addInput(
        of: "\(name).mlp.fc1", columnCount: channels, from: .normalization("\(name).norm2")),
      contraction: sites.addInput(of: "\(name).mlp.fc2", columnCount: hidden))
  }

  /// Changes `x` in place, one window at a time. A window's result depends on nothing outside it,
  /// so all steps run while the window is in the cache.
  ///
  /// - Precondition: the sides of `x` are multiples of the window's.
  func apply(_ x: FeatureMap, _ context: ForwardContext) throws {
    let shift = isShifted ? window / 2 : 0
    let grid = WindowGrid(
      height: x.height, width: x.width, window: (window, window), shift: (shift, shift),
      multiple: window)
    let biases = grid.positionBiases(table: positionTable, heads: heads)
    let masks = grid.masks()
    let tokens = grid.tokenCount
    let wide = max(3 * x.channels, expansion.outputs)
    let scratchCount =
      tokens * (2 * x.channels + wide)
      + context.attentionScratchCount(tokens: tokens, headChannels: x.channels / heads)
    // A few hundred tokens are enough work for one task.
    try context.map(
      grid.windowCount, by: max(1, 256 / tokens), scratchCount: scratchCount
    ) { windows, scratch in
      let kept = scratch
      let narrow = kept + tokens * x.channels
      let wideRows = narrow + tokens * x.channels
      let scores = wideRows + tokens * wide
      try masks.withUnsafeBufferPointer { masks in
        for window in windows {
          grid.gather(
            window, from: x.values, stride: x.channels, channels: x.channels, to: kept)
          try attend(
            kept, tokens, narrow, wideRows, scores, biases: biases,
            mask: grid.mask(window, in: masks.baseAddress), context)
          try transform(kept, tokens, narrow, wideRows, context)
          grid.scatter(window, from: kept, channels: x.channels, to: x.values, stride: x.channels)
        }
      }
    }
  }

  private func attend(
    _ x: UnsafeMutablePointer<Float>, _ tokens: Int, _ narrow: UnsafeMutablePointer<Float>,
    _ wide: UnsafeMutablePointer<Float>, _ scores: UnsafeMutablePointer<Float>, biases: [Float],
    mask: UnsafePointer<Float>?, _ context: ForwardContext
  ) throws {
    let channels = projection.outputs
    normBeforeAttention.apply(rows: tokens, x, stride: channels, to: narrow, stride: channels)
    try context.apply(
      queryKeyValue, at: sites.queryKeyValue, rows: tokens, narrow, stride: channels, to: wide,
      stride: 3 * channels)
    try context.attend(
      sites.attention, tokens: tokens, heads: heads, headChannels: channels / heads, q: wide,
      k: wide + channels, v: wide + 2 * channels, stride: 3 * channels, biases: biases, mask: mask,
      out: narrow, outStride: channels, scratch: scores)
    try context.apply(
      projection, at: sites.projection, rows: tokens, narrow, stride: channels, to: x,
      stride: channels, then: .add(x, stride: channels))
  }

  private func transform(
    _ x: UnsafeMutablePointer<Float>, _ tokens: Int, _ narrow: UnsafeMutablePointer<Float>,
    _ wide: UnsafeMutablePointer<Float>, _ context: ForwardContext
  ) throws {
    let (channels, hidden) = (contraction.outputs, contraction.inputs)
    normBeforePerceptron.apply(rows: tokens, x, stride: channels, to: narrow, stride: channels)
    try context.apply(
      expansion, at: sites.expansion, rows: tokens, narrow, stride: channels, to: wide,
      stride: hidden, then: .gelu)
    try context.apply(
      contraction, at: sites.contraction, rows: tokens, wide, stride: hidden, to: x,
      stride: channels, then: .add(x, stride: channels))
  }
}
