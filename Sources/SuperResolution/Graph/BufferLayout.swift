/// Which buffer each result of a pass lies in, and how large the buffers are. A buffer is used again
/// once its result is no longer needed.
///
/// A pass allocates what this says, and a prediction of its memory adds it up.
struct BufferLayout {
  /// A buffer that holds a result `[height, width, channels]`, perhaps with room to spare.
  struct Region: Hashable {
    let buffer: Int
    let height: Int
    let width: Int
    let channels: Int
  }

  private let plan: GraphPlan
  /// By the node that is a buffer's root.
  private var regions: [Int: Region] = [:]
  private var idle: [Int] = []
  /// The floats of each buffer; `nil` once it is freed. The first is the image's.
  private(set) var floatCounts: [Int?]

  init(_ plan: GraphPlan, height: Int, width: Int) {
    self.plan = plan
    floatCounts = [nil]
    for (index, node) in plan.graph.nodes.enumerated() {
      guard case .input = node.operation else { continue }
      regions[index] = Region(buffer: 0, height: height, width: width, channels: node.channels)
      floatCounts[0] = height * width * node.channels
    }
  }

  /// The floats of all buffers that exist.
  var floatCount: Int { floatCounts.reduce(0) { $0 + ($1 ?? 0) } }

  /// Returns where the buffer with the result of `node` is.
  func region(of node: Int) -> Region { region(at: plan.places[node]) }

  /// Returns where the buffer of a place is.
  func region(at place: GraphPlan.Place) -> Region {
    guard let region = regions[place.root] else {
      preconditionFailure("a result is used after it is made")
    }
    return region
  }

  /// Finds room for a result of a step, in a new buffer if it is the first to write there.
  mutating func place(
    _ result: Int, of step: GraphPlan.Step, at position: Int, height: Int, width: Int
  ) {
    let root = (step.target ?? plan.places[result]).root
    guard regions[root] == nil else { return }
    if position == plan.steps.count - 1 {
      // The output may be large, and nothing comes after it.
      for buffer in idle { floatCounts[buffer] = nil }
      idle = []
    }
    let channels = plan.channelCounts[root]
    regions[root] = Region(
      buffer: buffer(of: height * width * channels), height: height, width: width,
      channels: channels)
  }

  private mutating func buffer(of count: Int) -> Int {
    func size(_ index: Int) -> Int { floatCounts[idle[index]] ?? 0 }
    // The smallest that fits, unless most of it would stay unused.
    let fitting = idle.indices.filter { size($0) >= count && size($0) <= 2 * count }
    if let index = fitting.min(by: { size($0) < size($1) }) { return idle.remove(at: index) }
    floatCounts.append(count)
    return floatCounts.count - 1
  }

  /// Gives back the buffers that no later step uses.
  mutating func release(after position: Int) {
    for (root, region) in regions.sorted(by: { $0.key < $1.key })
    where plan.lastUse[root] == position && region.buffer != 0 {
      idle.append(region.buffer)
      regions[root] = nil
    }
  }
}

/// The buffers of one pass.
struct GraphMemory {
  private let plan: GraphPlan
  private var layout: BufferLayout
  /// As in the layout; `nil` once it is freed.
  private var buffers: [FeatureBuffer?]

  init(_ plan: GraphPlan, _ pixels: FeatureMap) {
    self.plan = plan
    layout = BufferLayout(plan, height: pixels.height, width: pixels.width)
    buffers = [pixels.buffer]
  }

  func view(_ node: Int) -> GraphInference.View { view(plan.places[node], of: node) }

  private func view(_ place: GraphPlan.Place, of node: Int) -> GraphInference.View {
    let region = layout.region(at: place)
    return GraphInference.View(
      height: region.height, width: region.width, channels: plan.graph.nodes[node].channels,
      stride: region.channels, start: map(region).values + place.firstChannel)
  }

  /// Returns where a step writes a result, as `BufferLayout.place` says.
  mutating func target(
    _ result: Int, of step: GraphPlan.Step, at position: Int, height: Int, width: Int
  ) -> GraphInference.View {
    layout.place(result, of: step, at: position, height: height, width: width)
    // What is freed goes before what is new comes.
    for index in buffers.indices where layout.floatCounts[index] == nil { buffers[index] = nil }
    for count in layout.floatCounts.dropFirst(buffers.count) {
      buffers.append(count.map(FeatureBuffer.init))
    }
    let place = step.target ?? plan.places[result]
    if case .copy(let node) = step.kernel { return view(place, of: node) }
    return view(place, of: result)
  }

  /// Gives back the buffers that no later step uses.
  mutating func release(after position: Int) { layout.release(after: position) }

  private func map(_ region: BufferLayout.Region) -> FeatureMap {
    guard let buffer = buffers[region.buffer] else {
      preconditionFailure("a buffer is used before it is freed")
    }
    return FeatureMap(
      height: region.height, width: region.width, channels: region.channels, in: buffer)
  }

  /// Returns a result that is a whole buffer.
  func map(_ node: Int) -> FeatureMap {
    let region = layout.region(of: node)
    precondition(
      region.channels == plan.graph.nodes[node].channels,
      "the output of a network is no part of another result")
    return map(region)
  }
}
