/// Nodes that are computed together, one window of an attention after another, while its pixels are in
/// the cache: the attention, and the operators on single pixels before and after it.
///
/// Inside a region, results are rows of a window's pixels in scratch memory, which later results use
/// again.
struct GraphRegion: Sendable {
  /// An operator on rows, and where its input and its result lie: the first channel of each, of the
  /// `channels` that the scratch memory of a pixel has.
  struct Operation: Sendable {
    let node: Int
    let source: Int
    let target: Int
    /// What follows in the same pass over the result.
    var epilogue: Epilogue = .none
    /// The place of the second input of a sum.
    var other = 0
  }

  enum Epilogue: Sendable {
    case none
    case function(ElementFunction)
    /// Adds rows at the given channel.
    case add(Int)
  }

  /// The node of the attention.
  let attention: Int
  let nodes: Set<Int>
  /// The node whose result is that of the region.
  let result: Int
  /// Results from outside, each with the channel at which its rows are put.
  private(set) var inputs: [(node: Int, channel: Int)] = []
  private(set) var operations: [Operation] = []
  /// The channel at which the rows of the result lie in the end.
  private(set) var resultChannel = 0
  /// The channels of scratch memory of a pixel.
  private(set) var channelCount = 0

  /// Finds the region of the attention `attention`.
  init(around attention: Int, in graph: NetworkGraph, consumers: [[Int]]) {
    self.attention = attention
    var nodes: Set = [attention]
    // Before it: what nothing else needs.
    var pending = graph.nodes[attention].inputs.map(\.node)
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
    self.result = result
    assignChannels(graph, consumers)
  }

  /// Lays out the results in scratch memory.
  private mutating func assignChannels(_ graph: NetworkGraph, _ consumers: [[Int]]) {
    var layout = ScratchLayout()
    var places: [Int: Int] = [:]
    /// The uses of a result that are still to come.
    var uses: [Int: Int] = [:]
    let order = nodes.sorted()
    for node in order {
      for input in graph.nodes[node].inputs { uses[input.node, default: 0] += 1 }
    }
    uses[result, default: 0] += 1
    for node in order {
      for input in graph.nodes[node].inputs where !nodes.contains(input.node) {
        guard places[input.node] == nil else { continue }
        let channel = layout.take(input.channels)
        places[input.node] = channel
        inputs.append((input.node, channel))
      }
    }
    /// Notes a use, and gives back the memory of a result after its last one.
    func used(_ value: NetworkGraph.Value) {
      uses[value.node, default: 0] -= 1
      if uses[value.node] == 0, let channel = places[value.node] {
        layout.giveBack(channel, value.channels)
      }
    }
    var done: Set<Int> = []
    for node in order where !done.contains(node) {
      let value = graph.nodes[node]
      guard let main = value.inputs.first, let source = places[main.node] else {
        preconditionFailure("an operator on pixels has an input")
      }
      switch value.operation {
      case .linear, .normalizePixels, .windowAttention:
        // What follows is computed with it: a function, or the sum with another result.
        var last = node
        var epilogue = Epilogue.none
        var target: Int?
        if case .linear = value.operation, consumers[node].count == 1,
          let next = consumers[node].first, nodes.contains(next)
        {
          let following = graph.nodes[next]
          switch following.operation {
          case .function(let function):
            epilogue = .function(function)
            last = next
          case .add:
            if let other = following.inputs.first(where: { $0.node != node }),
              other.channels == value.channels, let place = places[other.node],
              uses[other.node] == 1
            {
              // The sum takes the place of what is added.
              epilogue = .add(place)
              target = place
              last = next
              uses[other.node] = 0
            }
          default: break
          }
        }
        let channel = target ?? layout.take(value.channels)
        used(main)
        places[last] = channel
        operations.append(
          Operation(node: node, source: source, target: channel, epilogue: epilogue))
        done.insert(last)
      default:
        // In place of the input, or of a copy where it is still needed.
        var channel = source
        if uses[main.node] == 1 {
          uses[main.node] = 0
        } else {
          channel = layout.take(value.channels)
          used(main)
        }
        places[node] = channel
        let other = value.inputs.dropFirst().first.flatMap { places[$0.node] }
        operations.append(
          Operation(node: node, source: source, target: channel, other: other ?? 0))
        for other in value.inputs.dropFirst() { used(other) }
      }
    }
    resultChannel = places[result] ?? 0
    channelCount = layout.channelCount
  }
}

/// The channels of a pixel's scratch memory that are in use.
private struct ScratchLayout {
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

extension GraphOperation {
  /// Whether each pixel of the result depends on the same pixel of the inputs alone, and a region can
  /// compute it.
  var isPixelwise: Bool {
    switch self {
    case .linear, .normalizePixels, .function, .add: true
    default: false
    }
  }
}
