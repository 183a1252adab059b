/// A region of a graph, ready to run: its operators with their weights.
struct GraphRegionRunner: Sendable {
  private let region: GraphRegion
  private let attention: WindowAttentionShape
  /// The bias of every relative position, `[(2·height − 1)·(2·width − 1), heads]`.
  private let positions: [Float]
  private let parts: [Part]
  /// Channels of the queries, and of the keys and values.
  private let channels: Int

  private enum Part: Sendable {
    case normalization(LayerNormalization)
    case linear(LinearLayer, site: Int, then: GraphRegion.Epilogue)
    case attention(AttentionSites)
    case function(ElementFunction, channels: Int)
    case add(channel: Int, channels: Int)
  }

  /// - Throws: `WeightMismatch`, `ModelError` as `WeightReader.values` does.
  init(_ region: GraphRegion, _ graph: NetworkGraph, _ weights: inout WeightReader) throws {
    guard
      case .windowAttention(let shape, let positions, _) =
        graph.nodes[region.attention].operation
    else { preconditionFailure("a region has an attention") }
    self.region = region
    attention = shape
    channels = graph.nodes[region.attention].channels
    self.positions = try positions.values(&weights)
    var parts: [Part] = []
    for operation in region.operations {
      let node = graph.nodes[operation.node]
      switch node.operation {
      case .normalizePixels(let scale, let offset, let epsilon):
        parts.append(
          .normalization(
            LayerNormalization(
              gamma: try scale.values(&weights), beta: try offset.values(&weights),
              epsilon: epsilon)))
      case .linear(let weight, let bias, let site):
        parts.append(
          .linear(
            LinearLayer(
              outputs: weight.shape[0], inputs: weight.shape[1],
              weight: try weight.values(&weights), bias: try bias?.values(&weights)),
            site: site, then: operation.epilogue))
      case .windowAttention(_, _, let sites): parts.append(.attention(sites))
      case .function(let function): parts.append(.function(function, channels: node.channels))
      case .add:
        parts.append(.add(channel: operation.other, channels: node.channels))
      default: preconditionFailure("\(node.operation) in a region")
      }
    }
    self.parts = parts
  }

  /// Computes the region's result for all windows, in place of an input where `y` is one.
  func run(
    _ inputs: [GraphInference.View], to y: GraphInference.View, _ context: ForwardContext
  ) throws {
    let grid = attention.grid(height: y.height, width: y.width)
    let biases = grid.positionBiases(table: positions, heads: attention.heads)
    let masks = grid.masks()
    let tokens = grid.tokenCount
    let features = tokens * region.channelCount
    let scratchCount =
      features
      + context.attentionScratchCount(tokens: tokens, headChannels: channels / attention.heads)
    // A few hundred tokens are enough work for one task.
    try context.map(
      grid.windowCount, by: max(1, 256 / tokens), scratchCount: scratchCount
    ) { windows, scratch in
      try masks.withUnsafeBufferPointer { masks in
        for window in windows {
          for (view, input) in zip(inputs, region.inputs) {
            grid.gather(
              window, from: view.start, stride: view.stride, channels: view.channels,
              to: scratch + input.channel * tokens)
          }
          try run(
            scratch, tokens, scores: scratch + features, biases: biases,
            mask: grid.mask(window, in: masks.baseAddress), context)
          grid.scatter(
            window, from: scratch + region.resultChannel * tokens, channels: y.channels,
            to: y.start, stride: y.stride)
        }
      }
    }
  }

  /// Runs the operators on one window.
  private func run(
    _ scratch: UnsafeMutablePointer<Float>, _ tokens: Int, scores: UnsafeMutablePointer<Float>,
    biases: [Float], mask: UnsafePointer<Float>?, _ context: ForwardContext
  ) throws {
    for (part, operation) in zip(parts, region.operations) {
      let x = scratch + operation.source * tokens
      let y = scratch + operation.target * tokens
      switch part {
      case .normalization(let kernel):
        kernel.apply(rows: tokens, x, stride: kernel.columns, to: y, stride: kernel.columns)
      case .linear(let layer, let site, let following):
        let epilogue: Epilogue
        var function: ElementFunction?
        switch following {
        case .none: epilogue = .none
        case .add(let channel): epilogue = .add(scratch + channel * tokens, stride: layer.outputs)
        case .function(let wanted):
          epilogue = wanted.epilogue
          if case .none = epilogue { function = wanted }
        }
        try context.apply(
          layer, at: site, rows: tokens, x, stride: layer.inputs, to: y, stride: layer.outputs,
          then: epilogue)
        function?.apply(y, count: tokens * layer.outputs)
      case .attention(let sites):
        try context.attend(
          sites, tokens: tokens, heads: attention.heads, headChannels: channels / attention.heads,
          q: x, k: x + channels, v: x + 2 * channels, stride: 3 * channels, biases: biases,
          mask: mask, out: y, outStride: channels, scratch: scores)
      case .function(let function, let channels):
        if x != y { y.update(from: x, count: tokens * channels) }
        function.apply(y, count: tokens * channels)
      case .add(let channel, let channels):
        let other = scratch + channel * tokens
        for index in 0..<tokens * channels { y[index] = x[index] + other[index] }
      }
    }
  }
}

extension ElementFunction {
  /// The kernels' name for the function; `none` where they have none.
  fileprivate var epilogue: Epilogue {
    switch self {
    case .gelu: .gelu
    case .relu: .relu
    case .leakyReLU(slope: 0.01): .leakyReLU
    default: .none
    }
  }
}
