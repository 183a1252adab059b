/// One block of DAT on a tape.
struct TrainableDATBlock: Sendable {
  private enum Attention {
    case spatial([Branch], isShifted: Bool)
    case channel(temperature: ParameterReference, AttentionSites)
  }

  /// The attention within windows for one half of the channels.
  private struct Branch {
    let bias: TrainablePositionBias
    let heads: Int
    let sites: AttentionSites
  }

  private let normBeforeAttention: TrainableNorm
  private let queryKeyValue: TrainableLayer
  private let attention: Attention
  private let interaction: TrainableInteraction
  private let projection: TrainableLayer
  private let normBeforeFeedForward: TrainableNorm
  private let expansion: TrainableLayer
  private let gateNorm: TrainableNorm
  private let gateConvolution: TrainableLayer
  private let contraction: TrainableLayer

  /// - Parameter block: the corresponding block of the engine.
  init(_ name: String, _ block: DATBlock, _ finder: ParameterFinder) throws {
    let module = "\(name).attn"
    normBeforeAttention = try finder.norm("\(name).norm1")
    queryKeyValue = try finder.layer("\(module).qkv")
    switch block.attention {
    case .spatial(let spatial):
      attention = .spatial(
        try spatial.branches.enumerated().map { index, branch in
          let name = "\(module).attns.\(index)"
          return Branch(
            bias: try TrainablePositionBias("\(name).pos", finder), heads: branch.bias.heads,
            sites: try finder.attention(name))
        }, isShifted: spatial.isShifted)
    case .channel:
      attention = .channel(
        temperature: try finder.parameter("\(module).temperature"),
        try finder.attention(module))
    }
    interaction = try TrainableInteraction(module, finder)
    projection = try finder.layer("\(module).proj")
    normBeforeFeedForward = try finder.norm("\(name).norm2")
    expansion = try finder.layer("\(name).ffn.fc1")
    gateNorm = try finder.norm("\(name).ffn.sg.norm")
    gateConvolution = try finder.layer("\(name).ffn.sg.conv")
    contraction = try finder.layer("\(name).ffn.fc2")
  }

  func run(
    _ x: Variable, height: Int, _ layouts: [WindowLayout], _ split: DATConfiguration.Split,
    _ tape: Tape
  ) -> Variable {
    let all = queryKeyValue.apply(normBeforeAttention.apply(x, tape), tape)
    let channels = x.columns
    let convolved = interaction.convolve(
      tape.columns(2 * channels..<3 * channels, of: all), height: height, tape)
    let mixed: Variable
    switch attention {
    case .spatial(let branches, let isShifted):
      let attended = attend(all, branches, layouts[(isShifted ? 2 : 0)...].prefix(2), split, tape)
      mixed = tape.add(
        tape.multiplyColumns(attended, by: interaction.channelWeights(convolved, tape)),
        consuming: tape.multiplyRows(convolved, by: interaction.spatialWeights(attended, tape)))
    case .channel(let temperature, let sites):
      let attended = tape.channelAttention(all, temperature: temperature, sites: sites)
      mixed = tape.add(
        tape.multiplyRows(attended, by: interaction.spatialWeights(convolved, tape)),
        consuming: tape.multiplyColumns(
          convolved, by: interaction.channelWeights(attended, tape)))
    }
    let sum = tape.add(x, consuming: projection.apply(mixed, tape))
    return tape.add(sum, consuming: feedForward(sum, height: height, tape))
  }

  private func attend(
    _ x: Variable, _ branches: [Branch], _ layouts: ArraySlice<WindowLayout>,
    _ split: DATConfiguration.Split, _ tape: Tape
  ) -> Variable {
    let (channels, half) = (x.columns / 3, x.columns / 6)
    let parts = zip(branches, layouts).enumerated().map { index, pair in
      let (branch, layout) = pair
      let columns = (0..<3).map { part in
        let first = part * channels + index * half
        return first..<first + half
      }
      let (down, right) =
        index == 0 ? (split.height, split.width) : (split.width, split.height)
      let attended = tape.windowAttention(
        tape.gather(x, layout.order, columns: columns),
        table: branch.bias.run(windowHeight: down, windowWidth: right, tape),
        WindowAttentionSetting(layout: layout, heads: branch.heads, sites: branch.sites))
      return (rows: attended, order: layout.order)
    }
    return tape.scatter(parts)
  }

  /// One half of the hidden features, convolved, multiplies the other half.
  private func feedForward(_ x: Variable, height: Int, _ tape: Tape) -> Variable {
    let hidden = tape.gelu(
      consuming: expansion.apply(normBeforeFeedForward.apply(x, tape), tape))
    let half = hidden.columns / 2
    let gate = gateConvolution.convolveChannels(
      gateNorm.apply(tape.columns(half..<2 * half, of: hidden), tape), height: height, tape)
    return contraction.apply(
      tape.multiply(tape.columns(0..<half, of: hidden), gate), tape)
  }
}

/// DAT's adaptive interaction module on a tape.
struct TrainableInteraction: Sendable {
  private let convolution: TrainableLayer
  private let convolutionNorm: BatchStatistics
  private let channelMap: Map
  private let spatialMap: Map

  private struct Map {
    let squeeze: TrainableLayer
    let norm: BatchStatistics
    let excite: TrainableLayer

    func run(_ x: Variable, _ tape: Tape) -> Variable {
      let squeezed = tape.batchNormalization(squeeze.apply(x, tape), norm)
      return tape.sigmoid(consuming: excite.apply(tape.gelu(consuming: squeezed), tape))
    }
  }

  init(_ module: String, _ finder: ParameterFinder) throws {
    convolution = try finder.layer("\(module).dwconv.0")
    convolutionNorm = try finder.batchNorm("\(module).dwconv.1")
    func map(_ name: String, first: Int) throws -> Map {
      Map(
        squeeze: try finder.layer("\(module).\(name).\(first)"),
        norm: try finder.batchNorm("\(module).\(name).\(first + 1)"),
        excite: try finder.layer("\(module).\(name).\(first + 3)"))
    }
    channelMap = try map("channel_interaction", first: 1)
    spatialMap = try map("spatial_interaction", first: 0)
  }

  func convolve(_ values: Variable, height: Int, _ tape: Tape) -> Variable {
    let convolved = convolution.convolveChannels(values, height: height, tape)
    return tape.gelu(consuming: tape.batchNormalization(convolved, convolutionNorm))
  }

  /// Returns one weight from 0 to 1 per channel, `[1, channels]`.
  func channelWeights(_ x: Variable, _ tape: Tape) -> Variable {
    channelMap.run(tape.columnAverages(x), tape)
  }

  /// Returns one weight from 0 to 1 per token, `[tokens, 1]`.
  func spatialWeights(_ x: Variable, _ tape: Tape) -> Variable { spatialMap.run(x, tape) }
}

/// The perceptron that computes the bias of every relative position, on a tape, since its weights
/// may be learned.
struct TrainablePositionBias: Sendable {
  private let first: TrainableLayer
  private let stages: [(norm: TrainableNorm, layer: TrainableLayer)]

  init(_ name: String, _ finder: ParameterFinder) throws {
    first = try finder.layer("\(name).pos_proj")
    stages = try ["pos1", "pos2", "pos3"].map {
      (try finder.norm("\(name).\($0).0"), try finder.layer("\(name).\($0).2"))
    }
  }

  /// Returns the biases, `[(2·height − 1)·(2·width − 1), heads]`.
  func run(windowHeight: Int, windowWidth: Int, _ tape: Tape) -> Variable {
    let rows = (2 * windowHeight - 1) * (2 * windowWidth - 1)
    let offsets = tape.result(rows: rows, columns: 2, needsGradient: false)
    var row = 0
    for down in (1 - windowHeight)..<windowHeight {
      for right in (1 - windowWidth)..<windowWidth {
        offsets.values[2 * row] = Float(down)
        offsets.values[2 * row + 1] = Float(right)
        row += 1
      }
    }
    var x = first.apply(offsets, tape)
    for stage in stages {
      x = stage.layer.apply(tape.leakyReLU(consuming: stage.norm.apply(x, tape), slope: 0), tape)
    }
    return x
  }
}
