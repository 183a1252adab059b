import Storage

/// A network of a graph, on a tape; equal to what inference computes, up to rounding.
struct TrainableGraph: Sendable {
  let channelCount: Int
  let scale: Int
  /// The conversion of samples into the network's range.
  let range: PixelRange
  /// The conversion of the result into samples.
  let outputRange: PixelRange
  /// Images are mirrored at the right and lower edges up to multiples of this number.
  let paddingMultiple: Int
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

  /// - Throws: `ModelError` when an operator has no derivative, or a parameter is missing.
  init(_ graph: NetworkGraph, _ traits: NetworkTraits, _ finder: ParameterFinder) throws {
    self.graph = graph
    channelCount = traits.range.mean.count
    scale = traits.scale
    range = traits.range
    outputRange = traits.outputRange ?? traits.range
    paddingMultiple = traits.multiple
    guard !traits.padsWithZeros else {
      throw DifferentiableNetwork.cannotBeTrained
    }
    parameters = try graph.nodes.map { node in
      guard node.operation.isDifferentiable else { throw DifferentiableNetwork.cannotBeTrained }
      return try node.operation.parameters.map { parameter in
        guard parameter.tensors.count == 1, parameter.derivation == nil else {
          let name = parameter.tensors.first.map { "'\($0.name)'" } ?? "a constant"
          throw ModelError(
            "\(name) is one of several tensors that make up a weight: the network can be run, but "
              + "not trained"
          ).offering(.noLearning)
        }
        return try finder.parameter(parameter.tensors[0].name)
      }
    }
    statistics = try graph.nodes.map { node in
      guard case .normalizeChannels(let norm) = node.operation else { return nil }
      return try finder.statistics(of: norm)
    }
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

  /// The windows of all attentions, each kind once.
  private var shapes: [WindowAttentionShape] {
    var shapes: [WindowAttentionShape] = []
    for case .windowAttention(let shape, _) in graph.nodes.map(\.operation)
    where !shapes.contains(where: shape.hasSameWindows) { shapes.append(shape) }
    return shapes
  }

  /// Returns the window layouts, which depend only on the size of an image.
  func layouts(height: Int, width: Int) -> [WindowLayout] {
    shapes.map { WindowLayout($0.grid(height: height, width: width)) }
  }

  /// - Parameters:
  ///   - pixels: `[height · width, channels]`, in the network's range.
  ///   - layouts: the result of `layouts(height:width:)`.
  /// - Returns: the upscaled pixels, in the network's range, and the features after each residual
  ///   group.
  func run(_ pixels: Variable, height: Int, _ layouts: [WindowLayout], _ tape: Tape) -> (
    output: Variable, groups: [Variable]
  ) {
    guard let sizes = graph.sizes(height: height, width: pixels.rows / height) else {
      preconditionFailure("the size of the image was checked")
    }
    var pass = Pass(uses: uses)
    let shapes = shapes
    func layout(_ attention: Int) -> WindowLayout {
      guard case .windowAttention(let shape, _) = graph.nodes[attention].operation,
        let index = shapes.firstIndex(where: shape.hasSameWindows)
      else { preconditionFailure("an attention has windows") }
      return layouts[index]
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
          index, inputs, pixels, layout: index == attention ? layout(attention) : nil, sizes,
          &pass, tape)
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
      pass.put(index, self.result(index, inputs, pixels, layout: nil, sizes, &pass, tape))
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
    _ index: Int, _ inputs: [Input], _ pixels: Variable,
    layout: WindowLayout?, _ sizes: [(height: Int, width: Int)], _ pass: inout Pass, _ tape: Tape
  ) -> Variable {
    let (node, parameters) = (graph.nodes[index], parameters[index])
    switch node.operation {
    case .input: return pixels
    case .constant: return tape.variable(parameters[0], columns: node.channels)
    case .offsets(let height, let width): return tape.offsets(height: height, width: width)
    default: break
    }
    let (x, height) = (inputs[0].variable, inputs[0].size.height)
    /// The input for an operation that consumes it, a copy where others need it.
    func consumed(_ place: Int = 0) -> Variable {
      let input = node.inputs[place].node
      return uses[input] == 1 && graph.nodes[input].operation.ownsResult
        && (attentions[index] == nil || attentions[input] == attentions[index])
        ? inputs[place].variable : tape.copy(inputs[place].variable)
    }
    switch node.operation {
    case .linear(_, let bias, let site):
      return tape.linear(
        tape.quantize(x, at: site), parameters[0], bias == nil ? nil : parameters[1],
        outputs: node.channels)
    case .convolution(let shape, let groups, _, let bias, let site):
      let offset = bias == nil ? nil : parameters[1]
      let x = site.map { tape.quantize(x, at: $0) } ?? x
      if groups > 1 {
        return tape.depthwiseConvolution(x, height: height, parameters[0], offset)
      }
      return shape.isPixelwise
        ? tape.linear(x, parameters[0], offset, outputs: node.channels)
        : tape.convolution(x, height: height, parameters[0], offset, shape: shape)
    case .windowAttention(let shape, let sites):
      guard let layout else { preconditionFailure("an attention is in a region") }
      return tape.windowAttention(
        x, table: inputs[1].variable,
        WindowAttentionSetting(layout: layout, heads: shape.heads, sites: sites))
    case .normalizePixels(_, _, let epsilon):
      return tape.layerNormalization(x, parameters[0], parameters[1], epsilon: epsilon)
    case .channelAttention(_, _, _, let sites?):
      return tape.channelAttention(x, temperature: parameters[0], sites: sites)
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
    case .bilinear, .move(.nearestTo), .largest, .largestInGrid:
      return node.operation.resample(x, inputs[0].size, to: sizes[index], tape)
    default: preconditionFailure("the operator was found to have a derivative")
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

extension WindowAttentionShape {
  /// Whether the windows are the same, whatever the heads.
  fileprivate func hasSameWindows(as other: WindowAttentionShape) -> Bool {
    var same = other
    same.heads = heads
    return same == self
  }
}

extension GraphOperation {
  /// Whether a tape has the operator with its derivative.
  fileprivate var isDifferentiable: Bool {
    switch self {
    case .channelAttention(let division, _, let temperature, let sites):
      return division == .count(1) && temperature != nil && sites != nil
    case .convolution(let shape, let groups, _, _, _):
      let isDepthwise = groups > 1 && shape.inputs == 1 && shape.outputs == 1
      return groups == 1 || isDepthwise && shape.isSimple
    case .input, .constant, .offsets, .linear, .windowAttention, .normalizePixels,
      .normalizeChannels, .function, .scale, .addPositions, .add, .multiply, .channels, .average,
      .pixelShuffle, .move(.nearest), .move(.nearestTo), .pixelUnshuffle, .parametricReLU,
      .addChannels, .concatenate, .repeatChannels, .normalizeGroups, .bilinear, .largest,
      .largestInGrid:
      return true
    default: return false
    }
  }

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
