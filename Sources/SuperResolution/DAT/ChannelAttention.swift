import CKernels

/// DAT's attention between channels: the channels of a head, as vectors over the whole image, are
/// compared with each other by the cosines of their angles.
///
/// Queries and keys are quantized as `√tokens` times their unit vectors. These values are around 1
/// in images of every size, so the same bounds hold for all of them.
struct ChannelAttention: Sendable {
  let channels: Int
  let heads: Int
  /// The factor of the cosines, one per head.
  let temperature: [Float]
  let sites: AttentionSites

  init(_ weights: inout WeightReader, _ name: String, channels: Int, sites: inout SiteList) throws {
    let temperatureName = "\(name).temperature"
    let heads = try weights.dimensions(of: temperatureName, rank: 3)[0]
    guard channels % heads == 0 else {
      throw WeightMismatch(
        tensor: temperatureName,
        problem: "has \(heads) heads, which do not divide \(channels) channels")
    }
    self.channels = channels
    self.heads = heads
    temperature = try weights.values(temperatureName, [heads, 1, 1])
    self.sites = sites.addAttention(
      name, columnCount: channels, heads: heads, comparesChannels: true)
  }

  /// Replaces the queries with the attention's result.
  func apply(_ space: DATWorkspace, _ context: ForwardContext) throws {
    var probabilities = try cosines(space, try inverseDeviations(space, context), context)
    let size = channels / heads
    for index in probabilities.indices {
      probabilities[index] *= temperature[index / (size * size)]
    }
    try probabilities.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      ck_softmax(base, channels, size)
      try context.visit(
        sites.probabilities, base, rows: channels, columns: size, stride: size)
    }
    try mix(probabilities, space, context)
  }

  /// Returns the reciprocal root mean square of every channel of the queries and keys.
  private func inverseDeviations(
    _ space: DATWorkspace, _ context: ForwardContext
  ) throws -> [Float] {
    let stride = space.wide.channels
    let sums = try context.map(
      space.tokenCount, by: DATWorkspace.tokensAtOnce, scratchCount: 0
    ) { tokens, _ in
      var sums = [Float](repeating: 0, count: 2 * channels)
      sums.withUnsafeMutableBufferPointer { sums in
        for token in tokens {
          let source = space.wide.values + token * stride
          for column in sums.indices { sums[column] += source[column] * source[column] }
        }
      }
      return sums
    }
    // PyTorch's `normalize` divides by a norm of at least 10⁻¹².
    let least = 1e-12 / Float(space.tokenCount).squareRoot()
    return space.averages(sums).map { 1 / max(least, $0.squareRoot()) }
  }

  /// Returns the average products of normalized queries and keys, `[heads, size, size]`.
  private func cosines(
    _ space: DATWorkspace, _ inverseDeviations: [Float], _ context: ForwardContext
  ) throws -> [Float] {
    let (stride, size) = (space.wide.channels, channels / heads)
    let atOnce = DATWorkspace.tokensAtOnce
    let parts = try context.map(
      space.tokenCount, by: atOnce, scratchCount: 2 * atOnce * channels
    ) { tokens, scratch in
      for (row, token) in tokens.enumerated() {
        let source = space.wide.values + token * stride
        let target = scratch + row * 2 * channels
        for column in 0..<2 * channels {
          target[column] = source[column] * inverseDeviations[column]
        }
      }
      for (index, site) in [sites.query, sites.key].enumerated() {
        try context.visit(
          site, scratch + index * channels, rows: tokens.count, columns: channels,
          stride: 2 * channels)
      }
      var products = [Float](repeating: 0, count: channels * size)
      products.withUnsafeMutableBufferPointer { products in
        guard let products = products.baseAddress else { return }
        for row in 0..<tokens.count {
          let query = scratch + row * 2 * channels
          for channel in 0..<channels {
            let key = query + channels + channel / size * size
            let target = products + channel * size
            for other in 0..<size { target[other] += query[channel] * key[other] }
          }
        }
      }
      return products
    }
    return space.averages(parts)
  }

  /// Mixes the values of every head, by a linear layer whose weight is zero between heads.
  private func mix(
    _ probabilities: [Float], _ space: DATWorkspace, _ context: ForwardContext
  ) throws {
    let (stride, size) = (space.wide.channels, channels / heads)
    var weight = [Float](repeating: 0, count: channels * channels)
    for channel in 0..<channels {
      for other in 0..<size {
        weight[channel * channels + channel / size * size + other] =
          probabilities[channel * size + other]
      }
    }
    let layer = LinearLayer(outputs: channels, inputs: channels, weight: weight, bias: nil)
    let atOnce = DATWorkspace.tokensAtOnce
    try context.map(
      space.tokenCount, by: atOnce, scratchCount: atOnce * channels
    ) { tokens, scratch in
      let rows = space.wide.token(tokens.lowerBound)
      let values = rows + 2 * channels
      guard context.isActive else {
        return layer.apply(rows: tokens.count, values, stride: stride, to: rows, stride: stride)
      }
      for row in 0..<tokens.count {
        (scratch + row * channels).update(from: values + row * stride, count: channels)
      }
      try context.visit(
        sites.value, scratch, rows: tokens.count, columns: channels, stride: channels)
      layer.apply(rows: tokens.count, scratch, stride: channels, to: rows, stride: stride)
    }
  }
}
