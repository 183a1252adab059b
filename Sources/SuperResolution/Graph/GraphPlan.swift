/// The order of work on a graph: what is computed together, and where results lie.
///
/// Operators on single elements follow the step that makes their input, while its rows are in the
/// cache. Results that are concatenated are written where the concatenation lies, so that nothing is
/// copied.
struct GraphPlan: Sendable {
  /// A node whose operator is computed, and those of single elements that follow.
  struct Step: Sendable {
    let kernel: Kernel
    /// The operators that follow, in order.
    let following: [Link]
    /// The nodes whose results these are: one, after the last of `following`, or those of a region.
    let results: [Int]
    /// The only result, or the last.
    var result: Int { results[results.count - 1] }
    /// The place of the result in a concatenation that it is copied to; `nil` for its own place.
    var target: Place?
  }

  enum Kernel: Sendable {
    /// The operator of a node.
    case node(Int)
    /// A copy of a result.
    case copy(Int)
    /// Operators that are computed together, piece by piece.
    case region(GraphRegion)
    /// A chain of steps, each of which takes the result of the one before, in bands of rows.
    case bands([Step])
  }

  /// An operator on single elements of a result.
  enum Link: Sendable {
    /// The operator of a node, whose only input is the result.
    case node(Int)
    case add(other: Int)
    case multiply(other: Int)

    /// The other result that it takes.
    var other: Int? {
      switch self {
      case .node: nil
      case .add(let other), .multiply(let other): other
      }
    }
  }

  /// The channels of a buffer that hold a result.
  struct Place: Hashable, Sendable {
    /// The node whose result is the whole buffer.
    let root: Int
    let firstChannel: Int
  }

  let graph: NetworkGraph
  private(set) var steps: [Step] = []
  /// The place of each node's result; that of a node in the middle of a step is never used.
  private(set) var places: [Place]
  /// The last step that uses each buffer, by its root; `nil` for nodes that are no root.
  private(set) var lastUse: [Int?]
  /// The channels of each root's buffer.
  private(set) var channelCounts: [Int]
  /// Which results have but one pixel, whatever the size of the image.
  private(set) var isPixel: [Bool]

  /// The results that a step's kernel takes.
  func inputs(of step: Step) -> [Int] {
    switch step.kernel {
    case .copy(let node): [node]
    case .node(let node): graph.nodes[node].inputs.map(\.node)
    case .region(let region): region.inputs.map(\.node)
    case .bands(let chain): chain.first.map { inputs(of: $0) } ?? []
    }
  }

  /// The result with the biases of positions that a region of windows takes.
  func table(of step: Step) -> Int? {
    guard case .region(let region) = step.kernel, let attention = region.attention else {
      return nil
    }
    return graph.nodes[attention].inputs[1].node
  }

  init(_ graph: NetworkGraph) {
    self.graph = graph
    let nodes = graph.nodes
    let consumers = graph.consumers

    let isPixel = graph.singlePixels
    self.isPixel = isPixel
    func isLarger(_ a: Int, than b: Int) -> Bool {
      (isPixel[a] ? 0 : 1, nodes[a].channels, a) > (isPixel[b] ? 0 : 1, nodes[b].channels, b)
    }
    /// Returns what `node` does to the result `main`, if that has the size of the node's own result.
    func following(_ node: Int, _ main: Int) -> Link? {
      let inputs = nodes[node].inputs.map(\.node)
      guard nodes[main].channels == nodes[node].channels, isPixel[main] == isPixel[node] else {
        return nil
      }
      switch nodes[node].operation {
      case .function, .parametricReLU, .scale, .addChannels, .addPositions, .normalizeChannels,
        .normalizeHeads:
        return .node(node)
      case .add, .multiply:
        let other = inputs.first { $0 != main } ?? main
        if case .add = nodes[node].operation { return .add(other: other) }
        return .multiply(other: other)
      default: return nil
      }
    }

    var isAbsorbed = [Bool](repeating: false, count: nodes.count)
    var made: [(step: Step, reads: [Int])] = []
    places = nodes.indices.map { Place(root: $0, firstChannel: 0) }
    var isHomed = [Bool](repeating: false, count: nodes.count)
    var copies: [Int: [(part: Int, firstChannel: Int)]] = [:]

    // Regions of windows are computed when all that they take is there: where their results stand.
    var regions: [Int: GraphRegion] = [:]
    for region in GraphRegion.ofWindows(in: graph) {
      for node in region.nodes { isAbsorbed[node] = true }
      regions[region.results[0]] = region
    }
    // Regions of pixels are computed where they begin.
    for index in nodes.indices where !isAbsorbed[index] {
      guard
        let region = GraphRegion(
          from: index, in: graph, consumers: consumers, taken: isAbsorbed, isPixel: isPixel)
      else { continue }
      for node in region.nodes { isAbsorbed[node] = true }
      regions[index] = region
    }

    // Some results of a region lie in others.
    for region in regions.values {
      for (node, rows) in zip(region.results, region.resultRows) {
        if case .result(let other) = rows.memory, region.results[other] != node {
          places[node] = Place(root: region.results[other], firstChannel: rows.firstChannel)
        }
      }
    }

    // Results that are parts of a concatenation lie in it, those that are parts of others as well.
    for (index, node) in nodes.enumerated() where !isAbsorbed[index] {
      guard case .concatenate = node.operation else { continue }
      var channel = 0
      for part in node.inputs {
        switch nodes[part.node].operation {
        case .input, .channels: copies[index, default: []].append((part.node, channel))
        default:
          if isHomed[part.node] || places[part.node].root != part.node {
            copies[index, default: []].append((part.node, channel))
          } else {
            isHomed[part.node] = true
            places[part.node] = Place(root: index, firstChannel: channel)
          }
        }
        channel += part.channels
      }
    }

    for (index, node) in nodes.enumerated() {
      if let region = regions[index] {
        made.append(
          (
            Step(kernel: .region(region), following: [], results: region.results),
            region.inputs.map(\.node)
              + (region.attention.map { [nodes[$0].inputs[1].node] } ?? [])
          ))
      }
      guard !isAbsorbed[index] else { continue }
      var kernel = Kernel.node(index)
      var chain: [Link] = []
      var reads = node.inputs.map(\.node)
      switch node.operation {
      case .input, .channels: continue
      case .concatenate:
        for copy in copies[index] ?? [] {
          made.append(
            (
              Step(
                kernel: .copy(copy.part), following: [], results: [index],
                target: Place(root: index, firstChannel: copy.firstChannel)), [copy.part]
            ))
        }
        continue
      case .function, .parametricReLU, .scale, .addChannels, .addPositions, .normalizeChannels,
        .normalizeHeads, .add, .multiply:
        // On a copy of the input, which others need as it is.
        guard let main = reads.max(by: { isLarger($1, than: $0) }),
          let first = following(index, main)
        else {
          preconditionFailure("the inputs of an operator on single elements fit one another")
        }
        kernel = .copy(main)
        chain = [first]
      default: break
      }
      var last = index
      while consumers[last].count == 1, let next = consumers[last].first, next < nodes.count,
        !isAbsorbed[next], let link = following(next, last)
      {
        if let other = link.other {
          // It must be there before the step.
          guard other < index else { break }
          reads.append(other)
        }
        chain.append(link)
        isAbsorbed[next] = true
        last = next
      }
      made.append((Step(kernel: kernel, following: chain, results: [last]), reads))
    }

    /// Makes one step of several.
    func chain(_ range: Range<Int>) {
      let chain = made[range].map(\.step)
      let results = Set(chain.map(\.result))
      let reads = made[range].flatMap(\.reads).filter { !results.contains($0) }
      made.replaceSubrange(
        range,
        with: [
          (
            Step(kernel: .bands(chain), following: [], results: [chain[chain.count - 1].result]),
            reads
          )
        ])
    }
    if let start = Self.startOfUpscaling(made, graph, consumers, places) {
      chain(start..<made.count)
    }
    for index in made.indices.dropLast().reversed()
    where Self.isFiltered(made[index + 1], by: made[index].step, graph, consumers, places) {
      chain(index..<index + 2)
    }

    // Places of places: a concatenation may be a part of another one.
    for index in nodes.indices.reversed() {
      if places[index].root != index {
        let outer = places[places[index].root]
        places[index] = Place(
          root: outer.root, firstChannel: outer.firstChannel + places[index].firstChannel)
      }
    }
    for (index, node) in nodes.enumerated() {
      guard case .channels(let range) = node.operation else { continue }
      let whole = places[node.inputs[0].node]
      places[index] = Place(
        root: whole.root, firstChannel: whole.firstChannel + range.lowerBound)
    }

    var sharing = PlaceSharing(graph, isPixel, made, places)
    sharing.share()
    places = sharing.places
    channelCounts = sharing.channelCounts

    lastUse = [Int?](repeating: nil, count: nodes.count)
    for (position, (step, reads)) in made.enumerated() {
      var step = step
      if let target = step.target {
        let outer = places[target.root]
        step.target = Place(
          root: outer.root, firstChannel: outer.firstChannel + target.firstChannel)
      }
      steps.append(step)
      for node in reads + step.results { lastUse[places[node].root] = position }
    }
    if let output = graph.output { lastUse[places[output.node].root] = steps.count }
  }

  /// The result that the kernel of a step adds to its own.
  func residual(of step: Step) -> Int? {
    Self.residual(of: step, graph, isPixel)
  }

  static func residual(of step: Step, _ graph: NetworkGraph, _ isPixel: [Bool]) -> Int? {
    guard case .node(let node) = step.kernel, graph.nodes[node].operation.addsResidual else {
      return nil
    }
    var following = step.following[...]
    if case .node(let next)? = following.first, case .scale = graph.nodes[next].operation,
      case .convolution = graph.nodes[node].operation
    {
      // The weights have the factor.
      following.removeFirst()
    }
    guard case .add(let other)? = following.first, !isPixel[other],
      graph.nodes[other].channels == graph.nodes[node].channels
    else { return nil }
    return other
  }

  /// Whether a linear layer takes nothing but the result of the depthwise convolution before it.
  private static func isFiltered(
    _ made: (step: Step, reads: [Int]), by before: Step, _ graph: NetworkGraph,
    _ consumers: [[Int]], _ places: [Place]
  ) -> Bool {
    guard case .node(let filter) = before.kernel, case .node(let layer) = made.step.kernel,
      graph.nodes[filter].operation.isSimpleDepthwise,
      case .linear = graph.nodes[layer].operation
    else { return false }
    return made.reads.filter { $0 == before.result }.count == 1
      && made.reads.first == before.result && consumers[before.result].count == 1
      && places[before.result].root == before.result
  }

  /// Returns where the steps begin that upscale the features to the output: they run in bands of rows,
  /// so that upscaled features never exist as a whole. `nil` if there are no two such steps.
  private static func startOfUpscaling(
    _ made: [(step: Step, reads: [Int])], _ graph: NetworkGraph, _ consumers: [[Int]],
    _ places: [Place]
  ) -> Int? {
    guard made.last?.step.result == graph.output?.node else { return nil }
    func operation(_ step: Step) -> GraphOperation? {
      guard case .node(let node) = step.kernel, graph.nodes[node].operation.isMadeInBands else {
        return nil
      }
      return graph.nodes[node].operation
    }
    /// Whether the step takes the result of the one before, which nothing else needs.
    func follows(_ index: Int) -> Bool {
      let before = made[index - 1].step.result
      return made[index].reads.first == before && consumers[before].count == 1
        && places[before].root == before
    }
    var start = made.count
    while start > 0, operation(made[start - 1].step) != nil,
      start == made.count || follows(start)
    {
      start -= 1
    }
    // From the first step that upscales on, with the convolution that makes its pixels.
    guard
      let first = made[start...].firstIndex(where: {
        operation($0.step)?.isUpscaling == true
      })
    else { return nil }
    let begin = first > start ? first - 1 : first
    let results = Set(made[begin...].map(\.step.result))
    let isChain = made[begin...].allSatisfy { made in
      made.reads.dropFirst().allSatisfy { !results.contains($0) }
    }
    return isChain && made.count - begin > 1 ? begin : nil
  }
}
