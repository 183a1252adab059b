/// The features of one forward pass of DAT, shared by all its blocks.
struct DATWorkspace: Sendable {
  /// Changed by each block.
  let x: FeatureMap
  /// Queries, keys and values, then the hidden features of the feed-forward network; what attention
  /// gives takes the place of the queries.
  let wide: FeatureMap
  /// The convolution branch.
  let convolved: FeatureMap

  init(x: FeatureMap, wideChannels: Int) {
    self.x = x
    wide = FeatureMap(height: x.height, width: x.width, channels: wideChannels)
    convolved = FeatureMap(height: x.height, width: x.width, channels: x.channels)
  }

  var tokenCount: Int { x.tokenCount }
  /// Tokens that are one piece of work.
  static let tokensAtOnce = 256
  /// Tokens in bands of whole rows that are one piece of work.
  var rowsAtOnce: Int { max(1, 2048 / x.width) }

  /// The columns' sums over all pieces of work, divided by the number of tokens.
  func averages(_ sums: [[Float]]) -> [Float] {
    var totals = [Double](repeating: 0, count: sums.first?.count ?? 0)
    for part in sums {
      for (column, sum) in part.enumerated() { totals[column] += Double(sum) }
    }
    return totals.map { Float($0 / Double(tokenCount)) }
  }
}
