/// The layout of a region while its operations are found.
struct RegionLayout {
  private let region: GraphRegion
  private let graph: NetworkGraph
  private let isPixel: [Bool]
  private(set) var inputs: [(node: Int, rows: GraphRegion.Rows)] = []
  private(set) var operations: [GraphRegion.Operation] = []
  private(set) var scratch = ScratchLayout()
  /// The rows of each node.
  private(set) var places: [Int: GraphRegion.Rows] = [:]
  /// The nodes that are computed, on their own or after others.
  private(set) var done: Set<Int> = []
  /// The uses of the rows of each node that are still to come, by the node that they belong to.
  private var uses: [Int: Int] = [:]

  init(_ region: GraphRegion, _ graph: NetworkGraph, _ isPixel: [Bool]) {
    self.region = region
    self.graph = graph
    self.isPixel = isPixel
    for node in region.nodes {
      if case .channels = graph.nodes[node].operation { continue }
      for input in rowInputs(node) { uses[owner(input), default: 0] += 1 }
    }
    // What is needed outside is never given back.
    for result in region.results { uses[result, default: 0] += 1 }
    // What comes from outside is there before the first operation.
    for node in region.nodes.sorted() {
      for input in rowInputs(node) where !region.nodes.contains(input) { _ = rows(input) }
    }
  }

  /// The node whose rows a node's are, or are a part of.
  private func owner(_ node: Int) -> Int {
    guard region.nodes.contains(node), case .channels = graph.nodes[node].operation else {
      return node
    }
    return owner(graph.nodes[node].inputs[0].node)
  }

  /// The inputs of a node that have one row per pixel.
  private func rowInputs(_ node: Int) -> [Int] {
    let inputs = graph.nodes[node].inputs.map(\.node)
    return node == region.attention ? Array(inputs.prefix(1)) : inputs
  }

  private var isWindowed: Bool { region.attention != nil }

  /// Returns the rows of a node's input.
  private mutating func rows(_ node: Int) -> GraphRegion.Rows {
    if let rows = places[node] { return rows }
    let channels = graph.nodes[node].channels
    let rows = GraphRegion.Rows(
      memory: isWindowed
        ? .scratch(start: scratch.take(channels), stride: channels) : .input(inputs.count))
    inputs.append((node, rows))
    places[node] = rows
    return rows
  }

  /// Notes a use of a node's rows, and gives them back after the last one.
  private mutating func used(_ node: Int) {
    let node = owner(node)
    uses[node, default: 0] -= 1
    if uses[node] == 0, let rows = places[node], case .scratch(let start, let stride) = rows.memory
    {
      scratch.giveBack(start, stride)
    }
  }

  /// Returns rows for the result of a node.
  private mutating func newRows(_ node: Int) -> GraphRegion.Rows {
    let channels = graph.nodes[node].channels
    if !isWindowed, let result = region.results.firstIndex(of: node) {
      return GraphRegion.Rows(memory: .result(result))
    }
    return GraphRegion.Rows(memory: .scratch(start: scratch.take(channels), stride: channels))
  }

  /// Whether a node's rows are scratch memory that nothing needs after one more use.
  private func isFree(_ node: Int) -> Bool {
    guard uses[owner(node)] == 1, owner(node) == node, let rows = places[node],
      case .scratch = rows.memory
    else { return false }
    return true
  }

  mutating func add(_ node: Int, _ consumers: [[Int]]) {
    let value = graph.nodes[node]
    let main = value.inputs[0].node
    switch value.operation {
    case .concatenate:
      // The parts' own rows serve.
      places[node] = places[main]
    case .channels(let range):
      var rows = rows(main)
      rows.firstChannel += range.lowerBound
      places[node] = rows
    case .windowAttention:
      addAttention(node)
    case .linear, .normalizePixels, .convolution:
      addRowOperator(node, consumers)
    default:
      addElementOperator(node)
    }
  }

  private mutating func addAttention(_ node: Int) {
    let input = graph.nodes[node].inputs[0].node
    let channels = graph.nodes[node].channels
    var parts: [GraphRegion.Rows] = []
    if region.nodes.contains(input), case .concatenate = graph.nodes[input].operation {
      parts = graph.nodes[input].inputs.map { rows($0.node) }
    } else {
      let all = rows(input)
      parts = (0..<3).map { part in
        var rows = all
        rows.firstChannel += part * channels
        return rows
      }
    }
    let target = newRows(node)
    places[node] = target
    used(input)
    operations.append(
      GraphRegion.Operation(
        node: node, source: parts[0], target: target, others: Array(parts.dropFirst())))
  }

  /// Adds an operator that needs the whole row, with what is computed in the same pass: a function,
  /// or the sum with another result.
  private mutating func addRowOperator(_ node: Int, _ consumers: [[Int]]) {
    let value = graph.nodes[node]
    let main = value.inputs[0].node
    let source = rows(main)
    var (last, epilogue) = (node, GraphRegion.Epilogue.none)
    var target: GraphRegion.Rows?
    if value.operation.hasEpilogue, consumers[node].count == 1, let next = consumers[node].first,
      region.nodes.contains(next)
    {
      switch graph.nodes[next].operation {
      case .function(let function):
        epilogue = .function(function)
        last = next
      case .add:
        if let other = graph.nodes[next].inputs.first(where: { $0.node != node })?.node,
          graph.nodes[other].channels == value.channels, let added = places[other]
        {
          epilogue = .add(added)
          last = next
          // The sum takes the place of what is added, if nothing else needs that.
          if isFree(other), isWindowed || !region.results.contains(last) {
            target = added
            uses[other] = 0
          } else {
            used(other)
          }
        }
      default: break
      }
    }
    if target == nil, case .normalizePixels = value.operation,
      let rows = partOfResult(main, usedBy: node)
    {
      target = rows
    }
    let rows = target ?? newRows(last)
    used(main)
    places[last] = rows
    done.insert(last)
    operations.append(
      GraphRegion.Operation(
        node: node, source: source, target: rows, epilogue: epilogue,
        keepsSource: uses[owner(main), default: 0] > 0 || isNeededOutside(owner(main), consumers)))
  }

  /// Whether an input in the image is read elsewhere.
  private func isNeededOutside(_ node: Int, _ consumers: [[Int]]) -> Bool {
    !isWindowed && !region.nodes.contains(node)
      && graph.readers(of: node, consumers).contains { !region.nodes.contains($0) }
  }

  /// Returns the rows of a part of a result that nothing but `node` needs: its own result, which is
  /// needed outside, takes their place.
  private func partOfResult(_ part: Int, usedBy node: Int) -> GraphRegion.Rows? {
    guard !isWindowed, region.results.contains(node), region.nodes.contains(part),
      case .channels(let range) = graph.nodes[part].operation, let rows = places[part],
      case .result = rows.memory, range.count == graph.nodes[node].channels
    else { return nil }
    let whole = graph.nodes[part].inputs[0].node
    let isShared = graph.nodes.indices.contains { other in
      let inputs = graph.nodes[other].inputs.map(\.node)
      guard other != node, other != part, inputs.contains(whole) || inputs.contains(part) else {
        return false
      }
      guard case .channels(let otherRange) = graph.nodes[other].operation else { return true }
      return otherRange.overlaps(range)
    }
    return isShared ? nil : rows
  }

  /// What makes a result the first operand of a sum or a product.
  private func rank(_ node: Int) -> Int {
    (isPixel[node] ? 0 : 4 * graph.nodes[node].channels) + (isFree(node) ? 1 : 0)
  }

  /// Adds an operator on single elements, in place of its input or of a copy where that is still
  /// needed.
  private mutating func addElementOperator(_ node: Int) {
    let value = graph.nodes[node]
    var inputs = value.inputs.map(\.node)
    // The operand with all pixels and channels comes first, then the one whose place can be taken.
    if inputs.count == 2, rank(inputs[1]) > rank(inputs[0]) { inputs.swapAt(0, 1) }
    let source = rows(inputs[0])
    let others = inputs.dropFirst().map { rows($0) }
    let isResult = !isWindowed && region.results.contains(node)
    var target = source
    if !isResult, isFree(inputs[0]) {
      uses[inputs[0]] = 0
    } else {
      target = newRows(node)
      used(inputs[0])
    }
    places[node] = target
    operations.append(
      GraphRegion.Operation(node: node, source: source, target: target, others: others))
    for other in inputs.dropFirst() { used(other) }
  }
}

/// The floats of a pixel's scratch memory that are in use.
struct ScratchLayout {
  private var taken: [Range<Int>] = []
  private(set) var channelCount = 0

  /// Returns the first channel of a free range of `count`.
  mutating func take(_ count: Int) -> Int {
    var start = 0
    for range in taken.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if range.lowerBound - start >= count { break }
      start = max(start, range.upperBound)
    }
    taken.append(start..<start + count)
    channelCount = max(channelCount, start + count)
    return start
  }

  mutating func giveBack(_ start: Int, _ count: Int) {
    taken.removeAll { $0 == start..<start + count }
  }
}
