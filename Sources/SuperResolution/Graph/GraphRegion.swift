/// Nodes that are computed together, piece by piece, while a piece is in the cache: an attention and
/// the operators on single pixels around it, one window after another, or operators on single pixels
/// alone, some hundred pixels after others.
///
/// Inside a region, results are rows of scratch memory, one per pixel, which later results use again.
struct GraphRegion: Sendable {
  /// Where the rows of a value lie.
  struct Rows: Hashable, Sendable {
    enum Memory: Hashable, Sendable {
      /// Scratch memory, of which each pixel has so many floats before the rows; rows are `stride`
      /// apart.
      case scratch(start: Int, stride: Int)
      /// An input or a result of the region, in the image.
      case input(Int)
      case result(Int)
    }
    var memory: Memory
    var firstChannel = 0
  }

  /// An operator on rows.
  struct Operation: Sendable {
    let node: Int
    let source: Rows
    var target: Rows
    /// What follows in the same pass over the result.
    var epilogue: Epilogue = .none
    /// The second input of a sum or a product; the keys and values of an attention.
    var others: [Rows] = []
    /// Whether the rows of the input are needed later.
    var keepsSource = false
  }

  enum Epilogue: Sendable {
    case none
    case function(ElementFunction)
    /// Adds rows.
    case add(Rows)
  }

  /// The node of the attention; `nil` for operators on single pixels alone.
  let attention: Int?
  let nodes: Set<Int>
  /// The nodes whose results are needed outside, in order.
  let results: [Int]
  /// Results from outside. Those for windows are copied to scratch memory.
  private(set) var inputs: [(node: Int, rows: Rows)] = []
  private(set) var operations: [Operation] = []
  /// Where each result lies: that for a window in scratch memory.
  private(set) var resultRows: [Rows] = []
  /// The floats of scratch memory of a pixel.
  private(set) var scratchCount = 0

  /// Returns the regions of all attentions within windows.
  static func ofWindows(in graph: NetworkGraph) -> [GraphRegion] {
    let (consumers, isPixel) = (graph.consumers, graph.singlePixels)
    return graph.nodes.indices.compactMap { index in
      guard case .windowAttention = graph.nodes[index].operation else { return nil }
      return GraphRegion(around: index, in: graph, consumers: consumers, isPixel: isPixel)
    }
  }

  /// Finds the region of the attention `attention`.
  private init(
    around attention: Int, in graph: NetworkGraph, consumers: [[Int]], isPixel: [Bool]
  ) {
    self.attention = attention
    var nodes: Set = [attention]
    // Before it: what nothing else needs.
    let input = graph.nodes[attention].inputs[0].node
    var pending = [input]
    if case .concatenate = graph.nodes[input].operation {
      // Queries, keys and values from different places: they need not be brought together.
      pending = []
      if consumers[input].count == 1, graph.isTriple(input) { nodes.insert(input) }
    }
    while let node = pending.popLast() {
      guard graph.nodes[node].operation.isPixelwise, !nodes.contains(node),
        consumers[node].allSatisfy(nodes.contains)
      else { continue }
      nodes.insert(node)
      pending += graph.nodes[node].inputs.map(\.node)
    }
    // After it: as far as one result alone is needed outside.
    var leavers: Set<Int> = []
    var result = attention
    var grown = nodes
    for node in graph.nodes.indices.dropFirst(attention + 1) {
      let inputs = graph.nodes[node].inputs.map(\.node)
      guard inputs.contains(where: { grown.contains($0) || leavers.contains($0) }) else {
        continue
      }
      guard graph.nodes[node].operation.isPixelwise, !inputs.contains(where: leavers.contains)
      else {
        leavers.insert(node)
        continue
      }
      grown.insert(node)
      let isClosed = grown.allSatisfy { $0 == node || consumers[$0].allSatisfy(grown.contains) }
      if isClosed {
        nodes = grown
        result = node
      }
    }
    self.nodes = nodes
    results = [result]
    layOut(graph, consumers, isPixel)
  }

  /// Finds the region of operators on single pixels that begins with the node `first`, without nodes
  /// that are `taken`; `nil` where no two of them gain from being computed together.
  ///
  /// All that it takes is made before `first`, so that the region can be computed there.
  init?(
    from first: Int, in graph: NetworkGraph, consumers: [[Int]], taken: [Bool], isPixel: [Bool]
  ) {
    func belongs(_ node: Int) -> Bool {
      graph.nodes[node].operation.isPixelwiseWithParts && !taken[node] && !isPixel[node]
    }
    guard belongs(first), graph.nodes[first].operation.isOfWholeRows else { return nil }
    var nodes: Set = [first]
    // Nodes that could belong to it, if others need them that do.
    var beside: Set<Int> = []
    func insert(_ node: Int) {
      nodes.insert(node)
      for input in graph.nodes[node].inputs where beside.remove(input.node) != nil {
        insert(input.node)
      }
    }
    for node in graph.nodes.indices.dropFirst(first + 1) where belongs(node) {
      let inputs = graph.nodes[node].inputs.map(\.node)
      guard inputs.allSatisfy({ nodes.contains($0) || beside.contains($0) || $0 < first }) else {
        continue
      }
      if inputs.contains(where: nodes.contains) { insert(node) } else { beside.insert(node) }
    }
    // Parts of results that are needed outside alone are parts of what is stored.
    for node in nodes.sorted().reversed() {
      guard case .channels = graph.nodes[node].operation,
        !consumers[node].contains(where: nodes.contains)
      else { continue }
      nodes.remove(node)
    }
    let rowOperators = nodes.filter { graph.nodes[$0].operation.isOfWholeRows }
    let hasLinear = rowOperators.contains {
      if case .linear = graph.nodes[$0].operation { true } else { false }
    }
    guard hasLinear, rowOperators.count > 1 else { return nil }
    attention = nil
    self.nodes = nodes
    results = nodes.sorted().filter { node in
      if case .channels = graph.nodes[node].operation { return false }
      return graph.readers(of: node, consumers).contains { !nodes.contains($0) }
    }
    layOut(graph, consumers, isPixel)
  }

  /// Lays out the results.
  private mutating func layOut(
    _ graph: NetworkGraph, _ consumers: [[Int]], _ isPixel: [Bool]
  ) {
    var layout = RegionLayout(self, graph, isPixel)
    for node in nodes.sorted() where !layout.done.contains(node) {
      layout.add(node, consumers)
    }
    inputs = layout.inputs
    operations = layout.operations
    scratchCount = layout.scratch.channelCount
    resultRows = results.compactMap { layout.places[$0] }
  }

  // MARK: Order

  /// The operation that first writes a result.
  func firstWrite(of result: Int) -> Int {
    operations.firstIndex { $0.target.memory == .result(result) } ?? 0
  }

  /// Whether the rows of an input are read for the last time before operation `index` writes.
  func isRead(_ input: Int, beforeWriteOf index: Int) -> Bool {
    operations[index...].allSatisfy { operation in
      let isAdded =
        if case .add(let other) = operation.epilogue { other.memory == .input(input) } else {
          false
        }
      return !isAdded
        && ([operation.source] + operation.others).allSatisfy { $0.memory != .input(input) }
    }
  }

  /// Whether the rows of an input are read for the last time in adding them to the result of operation
  /// `index`.
  func isAdded(_ input: Int, at index: Int) -> Bool {
    guard case .add(let other) = operations[index].epilogue, other.memory == .input(input) else {
      return false
    }
    return operations[index].source.memory != .input(input)
      && isRead(input, beforeWriteOf: index + 1)
  }
}

extension NetworkGraph {
  /// Whether a concatenation has three parts of as many channels: queries, keys and values.
  fileprivate func isTriple(_ node: Int) -> Bool {
    let parts = nodes[node].inputs
    return parts.count == 3 && parts.allSatisfy { $0.channels == parts[0].channels }
      && Set(parts.map(\.node)).count == 3
  }

  /// The nodes that read the result of `node`, or a part of it.
  func readers(of node: Int, _ consumers: [[Int]]) -> [Int] {
    consumers[node].flatMap { consumer -> [Int] in
      guard consumer < nodes.count, case .channels = nodes[consumer].operation else {
        return [consumer]
      }
      return readers(of: consumer, consumers)
    }
  }
}

extension GraphOperation {
  /// Whether each pixel of the result depends on the same pixel of the inputs alone, and a region of
  /// windows can compute it.
  var isPixelwise: Bool {
    switch self {
    case .linear, .normalizePixels, .normalizeHeads, .function, .add: true
    default: false
    }
  }

  /// Whether a region of pixels can compute the operator.
  fileprivate var isPixelwiseWithParts: Bool {
    switch self {
    case .linear, .normalizePixels, .function, .add, .multiply, .channels: true
    case .convolution: isLinear
    default: false
    }
  }

  /// Whether it is a convolution that is a linear layer for every pixel.
  var isLinear: Bool {
    guard case .convolution(let shape, let groups, _, _, _) = self else { return false }
    return groups == 1 && shape.isPixelwise
  }

  /// Whether each result depends on all channels of a pixel.
  fileprivate var isOfWholeRows: Bool {
    switch self {
    case .linear, .normalizePixels: true
    default: isLinear
    }
  }

  /// Whether a function or a sum can follow in the same pass.
  var hasEpilogue: Bool {
    if case .normalizePixels = self { return false }
    return isOfWholeRows
  }
}
