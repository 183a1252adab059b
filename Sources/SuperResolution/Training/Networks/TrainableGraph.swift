import Storage

/// A network of a graph, on a tape; equal to what inference computes, up to rounding.
struct TrainableGraph: Sendable {
  let traits: NetworkTraits
  private let graph: NetworkGraph
  /// The parameters of each node's operator, in the order in which it names them.
  private let parameters: [[ParameterReference]]
  /// What a batch normalization takes from the original training.
  private let statistics: [BatchStatistics?]
  /// The regions in which rows are in the order of windows, by the node of the attention.
  private let regions: [Int: GraphRegion]
  /// The attention of the region that a node is in; `nil` outside regions.
  private let attentions: [Int?]
  private let uses: [Int]
  /// Parts of results, and results of regions, that are made by what takes them.
  private let isDeferred: [Bool]
  /// Concatenations of results of regions.
  private let joined: Set<Int>

  /// - Throws: `ModelError` when operators are joined in a way that has no derivative here, or a
  ///   parameter cannot be read.
  init(
    _ graph: NetworkGraph, _ traits: NetworkTraits, _ finder: inout ParameterFinder
  ) throws {
    self.graph = graph
    self.traits = traits
    var parameters: [[ParameterReference]] = []
    var statistics: [BatchStatistics?] = []
    let isPixel = graph.singlePixels
    for node in graph.nodes {
      if case .add = node.operation {
        let (first, second) = (node.inputs[0], node.inputs[1])
        guard first.channels == second.channels, isPixel[first.node] == isPixel[second.node] else {
          throw DifferentiableNetwork.cannotBeTrained
        }
      }
      if case .normalizeChannels(let norm) = node.operation {
        statistics.append(try finder.statistics(of: norm))
        parameters.append([])
      } else {
        statistics.append(nil)
        parameters.append(try node.operation.parameters.map { try finder.reference($0) })
      }
    }
    (self.parameters, self.statistics) = (parameters, statistics)
    let consumers = graph.consumers
    uses = consumers.map(\.count)
    var regions: [Int: GraphRegion] = [:]
    var attentions = [Int?](repeating: nil, count: graph.nodes.count)
    for region in GraphRegion.ofWindows(in: graph) {
      for node in region.nodes { attentions[node] = region.attention }
      if let attention = region.attention { regions[attention] = region }
    }
    self.regions = regions
    self.attentions = attentions
    // Parts are taken from the whole, and put together, while rows change their order.
    var isDeferred = [Bool](repeating: false, count: graph.nodes.count)
    var joined: Set<Int> = []
    let ends = Set(regions.values.map { $0.results[0] })
    for (index, node) in graph.nodes.enumerated() {
      guard case .concatenate = node.operation else { continue }
      let inputs = node.inputs.map(\.node)
      if attentions[index] != nil {
        for input in inputs where consumers[input].allSatisfy({ attentions[$0] != nil }) {
          if case .channels = graph.nodes[input].operation { isDeferred[input] = true }
        }
      } else if inputs.allSatisfy({ ends.contains($0) && consumers[$0].count == 1 }) {
        joined.insert(index)
        for input in inputs { isDeferred[input] = true }
      }
    }
    self.isDeferred = isDeferred
    self.joined = joined
    for (index, node) in graph.nodes.enumerated() where attentions[index] != nil {
      guard case .concatenate = node.operation else { continue }
      let inputs = node.inputs.map(\.node)
      guard inputs.allSatisfy({ isDeferred[$0] }),
        Set(inputs.map { graph.nodes[$0].inputs[0].node }).count == 1
      else { throw DifferentiableNetwork.cannotBeTrained }
    }
  }

  var channelCount: Int { traits.range.mean.count }
  var scale: Int { traits.scale }
  /// The conversion of the result into samples.
  var outputRange: PixelRange { traits.outputRange ?? traits.range }

  /// - Throws: `ModelError` when the network does not accept padded images of this size.
  func check(height: Int, width: Int) throws {
    guard graph.sizes(height: height, width: width) != nil else {
      throw ModelError(
        "the image has \(width) × \(height) pixels with its padding, too few for the network")
    }
    guard let count = graph.positionCount, count != height * width else { return }
    throw ModelError(
      "the image has \(height * width) pixels with its padding, the network's position "
        + "embedding is for \(count)")
  }

  /// Returns the window layouts, which depend only on the size of an image.
  func layouts(height: Int, width: Int) -> AttentionLayouts {
    var layouts: AttentionLayouts = [:]
    guard let sizes = graph.sizes(height: height, width: width) else { return layouts }
    for (index, node) in graph.nodes.enumerated() {
      guard let key = AttentionKey(node, sizes[index]), layouts[key] == nil else { continue }
      layouts[key] = key.layout
    }
    return layouts
  }

  /// - Parameters:
  ///   - pixels: `[height · width, channels]`, in the network's range.
  ///   - layouts: the result of `layouts(height:width:)`.
  /// - Returns: the upscaled pixels, in the network's range, and the features after each residual
  ///   group.
  func run(_ pixels: Variable, height: Int, _ layouts: AttentionLayouts, _ tape: Tape) -> (
    output: Variable, groups: [Variable]
  ) {
    guard let sizes = graph.sizes(height: height, width: pixels.rows / height) else {
      preconditionFailure("the size of the image was checked")
    }
    var pass = Pass(uses: uses)
    func layout(_ attention: Int) -> WindowLayout {
      guard
        let layout = AttentionKey(graph.nodes[attention], sizes[attention]).flatMap({ layouts[$0] })
      else { preconditionFailure("an attention has windows") }
      return layout
    }
    for (index, node) in graph.nodes.enumerated() {
      if case .channels = node.operation, isDeferred[index] { continue }
      if joined.contains(index) {
        pass.put(index, tape.scatter(node.inputs.map { pass.takePending($0.node) }))
        continue
      }
      if let attention = attentions[index], case .concatenate = node.operation {
        pass.put(index, gathered(node, layout(attention).order, &pass, tape))
        continue
      }
      var inputs = node.inputs.map {
        Input(variable: pass.take($0.node), size: sizes[$0.node])
      }
      if let attention = attentions[index], let region = regions[attention] {
        // Inside a region, rows are in the order of windows.
        for (place, input) in node.inputs.enumerated()
        where !region.nodes.contains(input.node) && (index != attention || place == 0) {
          inputs[place].variable = pass.gathered(
            input.node, inputs[place].variable, for: attention, layout(attention).order, tape)
        }
        let result = self.result(
          index, inputs, pixels, layouts, sizes, &pass, tape)
        guard index == region.results[0] else {
          pass.put(index, result)
          continue
        }
        let part = (rows: result, order: layout(attention).order)
        pass.forget(attention)
        if isDeferred[index] {
          pass.putPending(index, part)
        } else {
          pass.put(index, tape.scatter([part]))
        }
        continue
      }
      pass.put(index, self.result(index, inputs, pixels, layouts, sizes, &pass, tape))
    }
    guard let output = graph.output else { preconditionFailure("a graph has an output") }
    return (pass.take(output.node), graph.groups.map { pass.take($0.node) })
  }

  /// Returns the rows of queries, keys and values in the order of windows.
  private func gathered(
    _ node: NetworkGraph.Node, _ order: RowOrder, _ pass: inout Pass, _ tape: Tape
  ) -> Variable {
    var columns: [Range<Int>] = []
    var whole: Variable?
    for input in node.inputs {
      guard case .channels(let range) = graph.nodes[input.node].operation else {
        preconditionFailure("the operator was found to have a derivative")
      }
      columns.append(range)
      whole = pass.take(graph.nodes[input.node].inputs[0].node)
    }
    guard let whole else { preconditionFailure("a concatenation has parts") }
    return tape.gather(whole, order, columns: columns)
  }

  /// A result that an operator takes, with its size as an image.
  private struct Input {
    var variable: Variable
    let size: (height: Int, width: Int)
  }

  /// Computes the operator of a node.
  private func result(
    _ index: Int, _ inputs: [Input], _ pixels: Variable, _ layouts: AttentionLayouts,
    _ sizes: [(height: Int, width: Int)], _ pass: inout Pass, _ tape: Tape
  ) -> Variable {
    let (node, parameters) = (graph.nodes[index], parameters[index])
    switch node.operation {
    case .input: return pixels
    case .constant: return tape.variable(parameters[0], columns: node.channels)
    case .offsets(let height, let width): return tape.offsets(height: height, width: width)
    default: precondition(!inputs.isEmpty, "all other operators have an input")
    }
    let (x, height) = (inputs[0].variable, inputs[0].size.height)
    let layout = AttentionKey(node, sizes[index]).flatMap { layouts[$0] }
    /// The input for an operation that consumes it, a copy where others need it.
    func consumed(_ place: Int = 0) -> Variable {
      let input = node.inputs[place].node
      return uses[input] == 1 && graph.nodes[input].operation.ownsResult
        && (attentions[index] == nil || attentions[input] == attentions[index])
        ? inputs[place].variable : tape.copy(inputs[place].variable)
    }
    switch node.operation {
    case .input, .constant, .offsets: preconditionFailure("the operator has an input")
    case .linear(_, let bias, let site):
      return tape.linear(
        tape.quantize(x, at: site), parameters[0], bias == nil ? nil : parameters[1],
        outputs: node.channels)
    case .convolution(let shape, let groups, _, let bias, let site):
      let offset = bias == nil ? nil : parameters[1]
      let x = site.map { tape.quantize(x, at: $0) } ?? x
      guard groups == 1 else {
        return tape.convolution(
          x, height: height, parameters[0], offset, shape: shape, groups: groups)
      }
      return shape.isPixelwise
        ? tape.linear(x, parameters[0], offset, outputs: node.channels)
        : tape.convolution(x, height: height, parameters[0], offset, shape: shape)
    case .windowAttention(let shape, let sites):
      guard let layout else { preconditionFailure("an attention has windows") }
      return tape.windowAttention(
        x, table: inputs[1].variable,
        WindowAttentionSetting(layout: layout, heads: shape.heads, sites: sites))
    case .normalizePixels(_, _, let epsilon):
      return tape.layerNormalization(x, parameters[0], parameters[1], epsilon: epsilon)
    case .overlapAttention(let shape, _):
      guard let layout else { preconditionFailure("an attention has windows") }
      let columns = node.channels
      let attended = tape.windowAttention(
        tape.gather(x, layout.order, columns: [0..<columns]),
        keys: tape.gather(x, layout.keyOrder, columns: [columns..<3 * columns]),
        table: tape.variable(parameters[0], columns: shape.heads), columns: columns,
        WindowAttentionSetting(layout: layout, heads: shape.heads, sites: nil))
      return tape.scatter([(attended, layout.order)])
    case .channelAttention(let division, let heads, _, let sites):
      guard let window = division.window(height: height, width: inputs[0].size.width) else {
        preconditionFailure("the size of the image was checked")
      }
      let windows = x.rows / (window.height * window.width)
      func attention(_ x: Variable) -> Variable {
        tape.channelAttention(
          x, windows: windows, heads: heads, temperature: parameters.first, sites: sites)
      }
      return windows == 1
        ? attention(x)
        : tape.reordered(
          x, .windows(window, height: height, width: inputs[0].size.width), attention)
    case .correlation(let shape):
      let (size, keySize) = (inputs[0].size, inputs[1].size)
      let keys = tape.gather(
        inputs[1].variable,
        .windows((shape.keys, shape.keys), height: keySize.height, width: keySize.width),
        columns: [0..<inputs[1].variable.columns])
      return tape.reordered(
        x, .windows((shape.window, shape.window), height: size.height, width: size.width)
      ) { tape.correlation($0, keys: keys, table: inputs[2].variable, shape) }
    case .normalizeHeads: return tape.normalizeHeads(x, parameters[0])
    case .normalizeChannels:
      guard let statistics = statistics[index] else {
        preconditionFailure("a batch normalization has statistics")
      }
      return tape.batchNormalization(x, statistics)
    case .average: return tape.columnAverages(x)
    case .channels(let range): return tape.columns(range, of: x)
    case .multiply: return tape.product(x, inputs[1].variable)
    case .function(let function): return tape.apply(function, consuming: consumed())
    case .scale(let factor): return tape.scale(x, by: factor)
    case .addPositions:
      return tape.add(tape.variable(parameters[0], columns: x.columns), consuming: consumed())
    case .add:
      // The sum takes the place of an input that nothing else needs.
      let first = uses[node.inputs[0].node] == 1 && uses[node.inputs[1].node] != 1
      return tape.add(inputs[first ? 1 : 0].variable, consuming: consumed(first ? 0 : 1))
    case .pixelShuffle(let factor):
      return tape.pixelShuffle(x, height: height, factor: factor)
    case .move(.nearest(let factor)): return tape.repeatPixels(x, height: height, factor: factor)
    case .pixelUnshuffle(let factor):
      return tape.pixelUnshuffle(x, height: height, factor: factor)
    case .parametricReLU: return tape.parametricReLU(x, parameters[0])
    case .addChannels: return tape.addToColumns(x, parameters[0])
    case .concatenate: return tape.concatenate(inputs.map(\.variable))
    case .repeatChannels(let count): return tape.repeatColumns(x, count)
    case .normalizeGroups(let groups, _, _, let epsilon):
      return tape.groupNormalization(
        x, groups: groups, parameters[0], parameters[1], epsilon: epsilon)
    case .mergePixels(let factor): return tape.mergePixels(x, height: height, factor: factor)
    case .sample(let factor, let groups):
      return tape.sample(
        x, height: height, at: inputs[1].variable, factor: factor, groups: groups)
    case .bilinear, .bicubic, .move, .largest, .largestInGrid:
      return node.operation.resample(x, inputs[0].size, to: sizes[index], tape)
    }
  }

  /// The variables of one pass, each until its last use.
  private struct Pass {
    private var variables: [Int: Variable] = [:]
    private var uses: [Int]
    /// The inputs of a region in the order of its windows, by region and node.
    private var gathered: [Int: [Int: Variable]] = [:]
    /// Results of regions that are put back in order together.
    private var pending: [Int: (rows: Variable, order: RowOrder)] = [:]

    init(uses: [Int]) {
      self.uses = uses
    }

    mutating func put(_ node: Int, _ variable: Variable) { variables[node] = variable }

    mutating func take(_ node: Int) -> Variable {
      guard let variable = variables[node] else {
        preconditionFailure("a result is used after it is made")
      }
      uses[node] -= 1
      if uses[node] == 0 { variables[node] = nil }
      return variable
    }

    mutating func putPending(_ node: Int, _ part: (rows: Variable, order: RowOrder)) {
      pending[node] = part
    }

    mutating func takePending(_ node: Int) -> (rows: Variable, order: RowOrder) {
      guard let part = pending.removeValue(forKey: node) else {
        preconditionFailure("a result is used after it is made")
      }
      return part
    }

    mutating func gathered(
      _ node: Int, _ variable: Variable, for region: Int, _ order: RowOrder, _ tape: Tape
    ) -> Variable {
      if let found = gathered[region]?[node] { return found }
      let made = tape.gather(variable, order, columns: [0..<variable.columns])
      gathered[region, default: [:]][node] = made
      return made
    }

    mutating func forget(_ region: Int) { gathered[region] = nil }
  }
}

/// The layouts of all attentions within windows, for images of one size.
typealias AttentionLayouts = [AttentionKey: WindowLayout]

/// What the layout of an attention within windows depends on.
struct AttentionKey: Hashable {
  private enum Windows: Hashable {
    case equal(WindowAttentionShape)
    case overlapping(OverlapAttentionShape)
  }
  private let windows: Windows
  private let height: Int
  private let width: Int

  /// - Parameter size: that of the node's result.
  /// - Returns: `nil` for other operators.
  init?(_ node: NetworkGraph.Node, _ size: (height: Int, width: Int)) {
    switch node.operation {
    // The heads of both share their windows.
    case .windowAttention(var shape, _):
      shape.heads = 1
      windows = .equal(shape)
    case .overlapAttention(var shape, _):
      shape.heads = 1
      windows = .overlapping(shape)
    default: return nil
    }
    (height, width) = size
  }

  var layout: WindowLayout {
    switch windows {
    case .equal(let shape): WindowLayout(shape.grid(height: height, width: width))
    case .overlapping(let shape): WindowLayout(shape, height: height, width: width)
    }
  }
}

extension GraphOperation {
  /// Whether the result is a new variable, which may be consumed.
  fileprivate var ownsResult: Bool {
    switch self {
    case .input, .constant: false
    default: true
    }
  }

  /// The parameters, in the order of the operator's own.
  var parameters: [GraphParameter] {
    switch self {
    case .convolution(_, _, let weight, let bias, _), .linear(let weight, let bias, _):
      [weight] + (bias.map { [$0] } ?? [])
    case .constant(let parameter), .overlapAttention(_, let parameter),
      .channelAttention(_, _, let parameter?, _), .normalizeHeads(let parameter):
      [parameter]
    case .normalizeChannels(let norm): [norm.scale, norm.offset]
    case .parametricReLU(let parameter), .addChannels(let parameter),
      .addPositions(let parameter):
      [parameter]
    case .normalizePixels(let scale, let offset, _),
      .normalizeGroups(_, let scale, let offset, _):
      [scale, offset]
    default: []
    }
  }
}
