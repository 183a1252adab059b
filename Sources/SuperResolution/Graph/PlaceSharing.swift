/// Finds results that can take the place of others which nothing needs any more.
struct PlaceSharing {
  private let graph: NetworkGraph
  private let isPixel: [Bool]
  private let made: [(step: GraphPlan.Step, reads: [Int])]
  private(set) var places: [GraphPlan.Place]
  /// The channels of each root's buffer.
  private(set) var channelCounts: [Int]
  /// Nodes whose result must be a whole buffer.
  private let wholes: Set<Int>

  init(
    _ graph: NetworkGraph, _ isPixel: [Bool],
    _ made: [(step: GraphPlan.Step, reads: [Int])], _ places: [GraphPlan.Place]
  ) {
    self.graph = graph
    self.isPixel = isPixel
    self.made = made
    self.places = places
    channelCounts = graph.nodes.map(\.channels)
    wholes = Set((graph.groups + [graph.output].compactMap { $0 }).map(\.node))
  }

  mutating func share() {
    for position in made.indices {
      // The largest choose first.
      let results = made[position].step.results.filter { places[$0].root == $0 }
      for result in results.sorted(by: { graph.nodes[$0].channels > graph.nodes[$1].channels }) {
        share(result, madeAt: position)
      }
      let result = made[position].step.result
      let root = places[result].root
      if root != result, case .concatenate = graph.nodes[root].operation, places[root].root == root
      {
        shareParts(of: root)
      }
    }
  }

  /// Gives a result the place of another one, if it finds one.
  private mutating func share(_ result: Int, madeAt position: Int) {
    let count = graph.nodes[result].channels
    let places = candidates(for: result, madeAt: position).filter {
      isFree($0, count, at: position, except: result)
    }
    /// By how much a buffer would become larger.
    func growth(_ place: GraphPlan.Place) -> Int {
      max(0, place.firstChannel + count - channelCounts[place.root])
    }
    if let place = places.min(by: { growth($0) < growth($1) }) { move(result, to: place) }
  }

  /// Gives a concatenation the place of what its parts can take the places of.
  private mutating func shareParts(of whole: Int) {
    var target: GraphPlan.Place?
    for (position, made) in made.enumerated() {
      let result = made.step.result
      guard places[result].root == whole else { continue }
      let offset = places[result].firstChannel
      guard made.step.target == nil,
        let place = candidates(for: result, madeAt: position).first(where: { place in
          place.firstChannel >= offset
            && (target.map {
              $0.root == place.root && $0.firstChannel + offset == place.firstChannel
            } ?? true) && isFree(place, graph.nodes[result].channels, at: position, except: result)
        })
      else { return }
      target = GraphPlan.Place(root: place.root, firstChannel: place.firstChannel - offset)
    }
    if let target, !wholes.contains(whole) { move(whole, to: target) }
  }

  private mutating func move(_ result: Int, to place: GraphPlan.Place) {
    let end = place.firstChannel + channelCounts[result]
    channelCounts[place.root] = max(channelCounts[place.root], end)
    for node in places.indices where places[node].root == result {
      places[node] = GraphPlan.Place(
        root: place.root, firstChannel: place.firstChannel + places[node].firstChannel)
    }
  }

  // MARK: Candidates

  /// Returns places that the kernel of a step can write a result to while it reads what lies there.
  private func candidates(for result: Int, madeAt position: Int) -> [GraphPlan.Place] {
    let (step, reads) = made[position]
    switch step.kernel {
    case .copy: return []
    case .node(let node):
      if case .channelAttention = graph.nodes[node].operation {
        return step.following.isEmpty ? [places[reads[0]]] : []
      }
      return residual(of: step, reads: graph.nodes[node].inputs.map(\.node))
    case .bands(let chain):
      guard let last = chain.last else { return [] }
      // The rows that others read are other bands'.
      let others = reads.filter { $0 != GraphPlan.residual(of: last, graph, isPixel) }
      return residual(of: last, reads: others)
    case .region(let region):
      if region.attention != nil {
        return region.inputs.map(\.node).filter {
          graph.nodes[$0].channels == graph.nodes[result].channels
        }.map { places[$0] }
      }
      return pixelCandidates(for: result, region)
    }
  }

  private func residual(of step: GraphPlan.Step, reads: [Int]) -> [GraphPlan.Place] {
    guard let residual = GraphPlan.residual(of: step, graph, isPixel) else { return [] }
    let place = places[residual]
    let isApart = reads.allSatisfy {
      !overlap(places[$0], graph.nodes[$0].channels, place, graph.nodes[residual].channels)
    }
    return isApart ? [place] : []
  }

  /// Returns places of inputs that a region of pixels has read before it writes `result`.
  private func pixelCandidates(
    for result: Int, _ region: GraphRegion
  ) -> [GraphPlan.Place] {
    guard let index = region.results.firstIndex(of: result) else { return [] }
    let write = region.firstWrite(of: index)
    let count = graph.nodes[result].channels
    var found: [GraphPlan.Place] = []
    for input in region.inputs where !isPixel[input.node] {
      let own = places[input.node]
      for place in [own, GraphPlan.Place(root: own.root, firstChannel: 0)]
      where !found.contains(place) {
        let fits = region.inputs.enumerated().allSatisfy { number, other in
          let there = places[other.node]
          let otherCount = graph.nodes[other.node].channels
          guard overlap(there, otherCount, place, count) else { return true }
          return region.isRead(number, beforeWriteOf: write)
            || region.isAdded(number, at: write) && there == place && otherCount == count
        }
        if fits { found.append(place) }
      }
    }
    return found
  }

  // MARK: Conflicts

  private func overlap(
    _ a: GraphPlan.Place, _ aCount: Int, _ b: GraphPlan.Place, _ bCount: Int
  ) -> Bool {
    a.root == b.root && a.firstChannel < b.firstChannel + bCount
      && b.firstChannel < a.firstChannel + aCount
  }

  /// Whether nothing that lies in a range of channels is needed after the step `position`, nor written
  /// by it or later, but for `result`.
  private func isFree(
    _ place: GraphPlan.Place, _ count: Int, at position: Int, except result: Int
  ) -> Bool {
    if case .input = graph.nodes[place.root].operation { return false }
    let end = place.firstChannel + count
    if wholes.contains(result), place.firstChannel != 0 || channelCounts[place.root] != count {
      return false
    }
    if end > channelCounts[place.root] {
      // A buffer becomes a little larger, rather than a small one much.
      if end > 2 * channelCounts[place.root]
        || wholes.contains(where: { places[$0].root == place.root })
      {
        return false
      }
    }
    func conflicts(_ node: Int) -> Bool {
      node != result && overlap(places[node], graph.nodes[node].channels, place, count)
    }
    if let output = graph.output?.node, conflicts(output) { return false }
    for (later, made) in made.enumerated().dropFirst(position) {
      if later > position, made.reads.contains(where: conflicts) { return false }
      if made.step.results.contains(where: conflicts) { return false }
      if let target = made.step.target, target.root == place.root { return false }
    }
    return true
  }
}
