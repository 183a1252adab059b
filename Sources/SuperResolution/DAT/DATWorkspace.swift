/// The features of one forward pass of DAT, shared by all its blocks.
struct DATWorkspace: Sendable {
  /// The block's input, which it replaces with its output.
  let x: FeatureMap
  /// Queries, keys and values, then the hidden features of the feed-forward network. The result of
  /// attention replaces the queries.
  let wide: FeatureMap
  /// The result of the convolution branch.
  let convolved: FeatureMap

  init(x: FeatureMap, wideChannels: Int) {
    self.x = x
    wide = FeatureMap(height: x.height, width: x.width, channels: wideChannels)
    convolved = FeatureMap(height: x.height, width: x.width, channels: x.channels)
  }

  var tokenCount: Int { x.tokenCount }
  /// Tokens per piece of work.
  static let tokensAtOnce = 256
  /// Rows of the image per piece of work that needs whole rows: about 2,048 tokens.
  var rowsAtOnce: Int { max(1, 2048 / x.width) }

  /// Returns the columns' sums over all pieces of work, divided by the number of tokens.
  func averages(_ sums: [[Float]]) -> [Float] {
    var totals = [Double](repeating: 0, count: sums.first?.count ?? 0)
    for part in sums {
      for (column, sum) in part.enumerated() { totals[column] += Double(sum) }
    }
    return totals.map { Float($0 / Double(tokenCount)) }
  }
}
