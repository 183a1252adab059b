/// DAT's feed-forward network: one half of the hidden features, convolved, multiplies the other
/// half (Chen et al. 2023, spatial-gate feed-forward network).
struct SpatialGateFeedForward: Sendable {
  let expansion: LinearLayer
  let norm: NormalizationLayer
  let convolution: DepthwiseLayer
  let contraction: LinearLayer
  private let expansionSite: Int
  private let contractionSite: Int

  /// - Parameter inputNorm: the name of the normalization before the network.
  init(
    _ weights: inout WeightReader, _ name: String, channels: Int, hidden: Int,
    normalizedBy inputNorm: String, sites: inout SiteList
  ) throws {
    let half = hidden / 2
    expansion = try LinearLayer(&weights, "\(name).fc1", outputs: hidden, inputs: channels)
    norm = try NormalizationLayer(&weights, "\(name).sg.norm", channels: half)
    convolution = try DepthwiseLayer(&weights, "\(name).sg.conv", channels: half)
    contraction = try LinearLayer(&weights, "\(name).fc2", outputs: channels, inputs: half)
    expansionSite = sites.addInput(
      of: "\(name).fc1", columnCount: channels, from: .normalization(inputNorm))
    contractionSite = sites.addInput(
      of: "\(name).fc2", columnCount: half, from: .gate("\(name).sg.conv"))
  }

  /// Computes the hidden features of some rows and normalizes the gate's half.
  func expand(
    rows: Int, _ x: UnsafeMutablePointer<Float>, stride: Int,
    to hidden: UnsafeMutablePointer<Float>, stride hiddenStride: Int, _ context: ForwardContext
  ) throws {
    try context.apply(
      expansion, at: expansionSite, rows: rows, x, stride: stride, to: hidden,
      stride: hiddenStride, then: .gelu)
    let gate = hidden + contraction.inputs
    norm.apply(rows: rows, gate, stride: hiddenStride, to: gate, stride: hiddenStride)
  }

  /// Adds the network's result for the hidden features in `space.wide` to `space.x`.
  func contract(_ space: DATWorkspace, _ context: ForwardContext) throws {
    let (half, stride, width) = (contraction.inputs, space.wide.channels, space.x.width)
    let bandCount = (space.rowsAtOnce + 2) * width * half
    try context.map(
      space.x.height, by: space.rowsAtOnce, scratchCount: bandCount
    ) { rows, scratch in
      // The convolution reads one more row on each side, except at the edges of the image.
      let outer = max(0, rows.lowerBound - 1)..<min(space.x.height, rows.upperBound + 1)
      let skipped = rows.lowerBound - outer.lowerBound
      convolution.apply(
        height: outer.count, width: width, rows: skipped..<skipped + rows.count,
        space.wide.token(outer.lowerBound * width) + half, stride: stride, to: scratch,
        stride: half)
      let gates = scratch + skipped * width * half
      let count = rows.count * width
      let hidden = space.wide.token(rows.lowerBound * width)
      for token in 0..<count {
        let (gate, source) = (gates + token * half, hidden + token * stride)
        for channel in 0..<half { gate[channel] *= source[channel] }
      }
      let x = space.x.token(rows.lowerBound * width)
      try context.apply(
        contraction, at: contractionSite, rows: count, gates, stride: half, to: x,
        stride: space.x.channels, then: .add(x, stride: space.x.channels))
    }
  }
}
