/// One block of DAT: attention between tokens or between channels with a convolution beside it,
/// then a feed-forward network. Each follows a normalization and is added to its input.
struct DATBlock: Sendable {
  enum Attention: Sendable {
    case spatial(SpatialAttention)
    case channel(ChannelAttention)
  }

  let normBeforeAttention: NormalizationLayer
  let queryKeyValue: LinearLayer
  let attention: Attention
  let interaction: AdaptiveInteraction
  let projection: LinearLayer
  let normBeforeFeedForward: NormalizationLayer
  let feedForward: SpatialGateFeedForward
  private let queryKeyValueSite: Int
  private let projectionSite: Int

  /// - Parameters:
  ///   - group: the residual group's index.
  ///   - index: the block's index in its group; attention is spatial in even blocks and between
  ///     channels in odd ones.
  init(
    _ weights: inout WeightReader, group: Int, index: Int, _ configuration: DATConfiguration,
    sites: inout SiteList
  ) throws {
    let (name, channels) = ("layers.\(group).blocks.\(index)", configuration.channels)
    let module = "\(name).attn"
    normBeforeAttention = try NormalizationLayer(&weights, "\(name).norm1", channels: channels)
    queryKeyValue = try LinearLayer(
      &weights, "\(module).qkv", outputs: 3 * channels, inputs: channels, mayLackBias: true)
    queryKeyValueSite = sites.addInput(
      of: "\(module).qkv", columnCount: channels, from: .normalization("\(name).norm1"))
    attention =
      index % 2 == 0
      ? .spatial(
        try SpatialAttention(
          &weights, module, channels: channels, split: configuration.split,
          // Every second spatial block is shifted; only odd groups start with a shifted one.
          isShifted: index % 4 == (group % 2 == 0 ? 2 : 0), sites: &sites))
      : .channel(try ChannelAttention(&weights, module, channels: channels, sites: &sites))
    interaction = try AdaptiveInteraction(&weights, module, channels: channels)
    projection = try LinearLayer(
      &weights, "\(module).proj", outputs: channels, inputs: channels)
    projectionSite = sites.addInput(of: "\(module).proj", columnCount: channels)
    normBeforeFeedForward = try NormalizationLayer(&weights, "\(name).norm2", channels: channels)
    feedForward = try SpatialGateFeedForward(
      &weights, "\(name).ffn", channels: channels, hidden: configuration.hidden,
      normalizedBy: "\(name).norm2", sites: &sites)
  }

  func apply(_ space: DATWorkspace, _ context: ForwardContext) throws {
    try project(space, context)
    let averages = try convolve(space, context)
    switch attention {
    case .spatial(let spatial):
      try spatial.apply(space, context)
      try interact(space, channelWeights: interaction.channelWeights(of: averages), context)
    case .channel(let channel):
      try channel.apply(space, context)
      let averages = try attendedAverages(space, context)
      try interact(space, channelWeights: interaction.channelWeights(of: averages), context)
    }
    try feedForward.contract(space, context)
  }

  /// Writes the queries, keys and values of every token.
  private func project(_ space: DATWorkspace, _ context: ForwardContext) throws {
    let channels = projection.outputs
    let atOnce = DATWorkspace.tokensAtOnce
    try context.map(
      space.tokenCount, by: atOnce, scratchCount: atOnce * channels
    ) { tokens, scratch in
      normBeforeAttention.apply(
        rows: tokens.count, space.x.token(tokens.lowerBound), stride: channels, to: scratch,
        stride: channels)
      try context.apply(
        queryKeyValue, at: queryKeyValueSite, rows: tokens.count, scratch, stride: channels,
        to: space.wide.token(tokens.lowerBound), stride: space.wide.channels)
    }
  }

  /// Runs the convolution branch on the values, and returns its channels' averages.
  private func convolve(_ space: DATWorkspace, _ context: ForwardContext) throws -> [Float] {
    let (channels, width) = (space.x.channels, space.x.width)
    let sums = try context.map(
      space.x.height, by: space.rowsAtOnce, scratchCount: 0
    ) { rows, _ in
      interaction.convolution.apply(
        height: space.x.height, width: width, rows: rows, space.wide.values + 2 * channels,
        stride: space.wide.channels, to: space.convolved.values, stride: channels,
        then: .gelu)
      return columnSums(
        space.convolved.token(rows.lowerBound * width), rows: rows.count * width,
        stride: channels, channels: channels)
    }
    return space.averages(sums)
  }

  /// Returns the channels' averages of the attention's result.
  private func attendedAverages(
    _ space: DATWorkspace, _ context: ForwardContext
  ) throws -> [Float] {
    let sums = try context.map(
      space.tokenCount, by: DATWorkspace.tokensAtOnce, scratchCount: 0
    ) { tokens, _ in
      columnSums(
        space.wide.token(tokens.lowerBound), rows: tokens.count, stride: space.wide.channels,
        channels: space.x.channels)
    }
    return space.averages(sums)
  }

  /// Weighs the branches by each other's maps, adds the projection of their sum to `x`, and starts
  /// the feed-forward network while the tokens are in the cache.
  private func interact(
    _ space: DATWorkspace, channelWeights: [Float], _ context: ForwardContext
  ) throws {
    let channels = space.x.channels
    let atOnce = DATWorkspace.tokensAtOnce
    let isSpatial = if case .spatial = attention { true } else { false }
    try context.map(
      space.tokenCount, by: atOnce,
      scratchCount: atOnce * (channels + interaction.spatialScratchCount + 1)
    ) { tokens, scratch in
      let (rows, x) = (tokens.count, space.x.token(tokens.lowerBound))
      let wide = space.wide.token(tokens.lowerBound)
      let convolved = space.convolved.token(tokens.lowerBound)
      let mixed = scratch + atOnce
      // The spatial map comes from the branch that it does not weigh.
      let source: UnsafePointer<Float> = isSpatial ? UnsafePointer(wide) : UnsafePointer(convolved)
      interaction.spatialWeights(
        rows: rows, source, stride: isSpatial ? space.wide.channels : channels,
        scratch: mixed + atOnce * channels, to: scratch)
      for row in 0..<rows {
        let weight = scratch[row]
        let (attended, beside) = (wide + row * space.wide.channels, convolved + row * channels)
        let target = mixed + row * channels
        if isSpatial {
          for channel in 0..<channels {
            target[channel] = attended[channel] * channelWeights[channel] + weight * beside[channel]
          }
        } else {
          for channel in 0..<channels {
            target[channel] = attended[channel] * weight + beside[channel] * channelWeights[channel]
          }
        }
      }
      try context.apply(
        projection, at: projectionSite, rows: rows, mixed, stride: channels, to: x,
        stride: channels, then: .add(x, stride: channels))
      normBeforeFeedForward.apply(rows: rows, x, stride: channels, to: mixed, stride: channels)
      try feedForward.expand(
        rows: rows, mixed, stride: channels, to: wide, stride: space.wide.channels, context)
    }
  }
}

/// Returns the sums over rows; each sum has few terms, so `Float` is precise enough.
private func columnSums(
  _ values: UnsafePointer<Float>, rows: Int, stride: Int, channels: Int
) -> [Float] {
  var sums = [Float](repeating: 0, count: channels)
  sums.withUnsafeMutableBufferPointer { sums in
    for row in 0..<rows {
      let source = values + row * stride
      for channel in sums.indices { sums[channel] += source[channel] }
    }
  }
  return sums
}
