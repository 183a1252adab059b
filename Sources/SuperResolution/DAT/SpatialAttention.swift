/// DAT's attention within windows: one half of the channels uses windows of `height` × `width`, the
/// other half windows with the sides swapped.
struct SpatialAttention: Sendable {
  let branches: [Branch]
  let isShifted: Bool

  struct Branch: Sendable {
    let windowHeight: Int
    let windowWidth: Int
    let channels: Int
    let bias: DynamicPositionBias
    /// The bias of every relative position, `[(2·height − 1)·(2·width − 1), heads]`.
    let positionTable: [Float]
    let sites: AttentionSites
  }

  init(
    _ weights: inout WeightReader, _ name: String, channels: Int, split: DATConfiguration.Split,
    isShifted: Bool, sites: inout SiteList
  ) throws {
    self.isShifted = isShifted
    branches = try (0..<2).map { index in
      let branch = "\(name).attns.\(index)"
      let last = "\(branch).pos.pos3.2.weight"
      let heads = try weights.dimensions(of: last, rank: 2)[0]
      guard channels % 2 == 0, channels / 2 % heads == 0 else {
        throw WeightMismatch(
          tensor: last, problem: "has \(heads) heads, which do not divide half of \(channels)")
      }
      let bias = try DynamicPositionBias(&weights, "\(branch).pos", heads: heads)
      let (height, width) =
        index == 0 ? (split.height, split.width) : (split.width, split.height)
      return Branch(
        windowHeight: height, windowWidth: width, channels: channels / 2, bias: bias,
        positionTable: bias.table(windowHeight: height, windowWidth: width),
        sites: sites.addAttention(branch, columnCount: channels / 2, heads: heads))
    }
  }

  /// Replaces the queries with the attention's result.
  func apply(_ space: DATWorkspace, _ context: ForwardContext) throws {
    for (index, branch) in branches.enumerated() {
      try branch.apply(space, firstChannel: index * branch.channels, isShifted, context)
    }
  }
}

extension SpatialAttention.Branch {
  fileprivate func apply(
    _ space: DATWorkspace, firstChannel: Int, _ isShifted: Bool, _ context: ForwardContext
  ) throws {
    let stride = space.wide.channels
    let grid = WindowGrid(
      height: space.x.height, width: space.x.width, window: (windowHeight, windowWidth),
      shift: isShifted ? (windowHeight / 2, windowWidth / 2) : (0, 0),
      multiple: max(windowHeight, windowWidth))
    let biases = grid.positionBiases(table: positionTable, heads: bias.heads)
    let masks = grid.masks()
    let tokens = grid.tokenCount
    let count = tokens * channels
    try context.map(
      grid.windowCount, by: 1,
      scratchCount: 4 * count
        + context.attentionScratchCount(tokens: tokens, headChannels: channels / bias.heads)
    ) { windows, scratch in
      let (q, k, v, out) = (scratch, scratch + count, scratch + 2 * count, scratch + 3 * count)
      try masks.withUnsafeBufferPointer { masks in
        for window in windows {
          for (index, target) in [q, k, v].enumerated() {
            grid.gather(
              window, from: space.wide.values + index * space.x.channels + firstChannel,
              stride: stride, channels: channels, to: target)
          }
          try context.attend(
            sites, tokens: tokens, heads: bias.heads, headChannels: channels / bias.heads, q: q,
            k: k, v: v, stride: channels, biases: biases,
            mask: grid.mask(window, in: masks.baseAddress), out: out, outStride: channels,
            scratch: scratch + 4 * count)
          grid.scatter(
            window, from: out, channels: channels, to: space.wide.values + firstChannel,
            stride: stride)
        }
      }
    }
  }
}
