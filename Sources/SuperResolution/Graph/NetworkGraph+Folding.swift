import Formats

extension NetworkGraph {
  /// Returns the graph for inference, in which batch normalizations are a part of the convolutions
  /// before them.
  var foldingNormalizations: NetworkGraph {
    var folded = NetworkGraph()
    folded.sites = sites
    let consumers = consumers
    /// The values of the new graph, by the nodes of this one.
    var values: [Value] = []
    for (index, node) in nodes.enumerated() {
      let inputs = node.inputs.map { values[$0.node] }
      var operation = node.operation
      if case .normalizeChannels(let norm) = operation, consumers[inputNode(of: index)].count == 1,
        folded.fold(norm, into: inputs[0])
      {
        values.append(inputs[0])
        continue
      }
      if case .convolution(let shape, let groups, let weight, let bias, let site) = operation,
        bias == nil,
        consumers[index].count == 1, let next = consumers[index].first, next < nodes.count,
        case .normalizeChannels = nodes[next].operation
      {
        // A place for the normalization's offset.
        let zeros = GraphParameter(shape: [node.channels], of: []) { _ in
          [Float](repeating: 0, count: node.channels)
        }
        operation = .convolution(
          shape, groups: groups, weight: weight, bias: zeros, site: site)
      }
      values.append(folded.add(operation, inputs, channels: node.channels))
    }
    folded.output = output.map { values[$0.node] }
    folded.groups = groups.map { values[$0.node] }
    return folded
  }

  /// The sites of convolutions with which inference joins the normalization after them, so that it does
  /// not multiply the weights that a file has.
  var normalizedSites: Set<Int> {
    let consumers = consumers
    return Set(
      nodes.enumerated().compactMap { index, node in
        guard case .convolution(_, _, _, _, let site?) = node.operation,
          consumers[index].count == 1, let next = consumers[index].first, next < nodes.count,
          case .normalizeChannels = nodes[next].operation
        else { return nil }
        return site
      })
  }

  /// Returns the bias of every layer whose input is a site, by the site.
  ///
  /// - Throws: `ModelError` when a tensor cannot be read.
  func siteBiases(_ archive: TensorArchive) throws -> [Int: [Float]] {
    var weights = WeightReader(archive)
    var biases: [Int: [Float]] = [:]
    for node in nodes {
      switch node.operation {
      case .linear(_, let bias?, let site), .convolution(_, _, _, let bias?, let site?):
        biases[site] = try bias.values(&weights)
      default: break
      }
    }
    return biases
  }

  private func inputNode(of node: Int) -> Int { nodes[node].inputs[0].node }

  /// Multiplies and shifts the results of a convolution as `norm` does, and returns whether `value` is
  /// one.
  private mutating func fold(_ norm: BatchNormalization, into value: Value) -> Bool {
    guard
      case .convolution(let shape, let groups, let weight, let bias?, let site) =
        nodes[value.node].operation
    else { return false }
    let count = value.channels
    let moments = norm.scale.tensors + norm.variance.tensors
    let offsets = norm.offset.tensors + norm.mean.tensors
    let epsilon = norm.epsilon
    /// The factor of each channel, from the scale and the variance.
    @Sendable func factors(_ values: ArraySlice<[Float]>) -> [Float] {
      let values = Array(values)
      return zip(values[0], values[1]).map { $0 / ($1 + epsilon).squareRoot() }
    }
    let (weightCount, biasCount) = (weight.tensors.count, bias.tensors.count)
    let newWeight = GraphParameter(shape: weight.shape, of: weight.tensors + moments) { read in
      let values = weight.derivation?(Array(read.prefix(weightCount))) ?? read[0]
      let factors = factors(read.dropFirst(weightCount))
      return values.indices.map { values[$0] * factors[$0 / (values.count / count)] }
    }
    let newBias = GraphParameter(shape: bias.shape, of: bias.tensors + moments + offsets) { read in
      let values = bias.derivation?(Array(read.prefix(biasCount))) ?? read[0]
      let norms = Array(read.dropFirst(biasCount))
      let factors = factors(norms[..<2])
      let (offset, mean) = (norms[2], norms[3])
      return values.indices.map { values[$0] * factors[$0] + offset[$0] - mean[$0] * factors[$0] }
    }
    replace(
      value.node,
      .convolution(shape, groups: groups, weight: newWeight, bias: newBias, site: site))
    return true
  }
}
