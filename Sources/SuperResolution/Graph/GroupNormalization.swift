/// Group normalization: over all pixels and the channels of each group.
struct GroupNormalization: Sendable {
  let groups: Int
  /// One per channel, as `offset`.
  let scale: [Float]
  let offset: [Float]
  let epsilon: Float

  /// Returns one factor and one addend per channel, by which each group gets a mean of zero and a
  /// variance of one before `scale` and `offset`.
  func factors(
    for x: GraphInference.View, _ context: ForwardContext
  ) throws -> (factors: [Float], additions: [Float]) {
    let sums = try self.sums(of: x, context)
    let size = sums.count / groups
    let count = Double(x.height * x.width * size)
    var (factors, additions) = ([Float](), [Float]())
    for group in 0..<groups {
      let channels = group * size..<(group + 1) * size
      let mean = channels.reduce(0) { $0 + sums[$1].sum } / count
      let variance = channels.reduce(0) { $0 + sums[$1].squares } / count - mean * mean
      let inverse = 1 / (max(0, variance) + Double(epsilon)).squareRoot()
      for channel in channels {
        factors.append(Float(inverse * Double(scale[channel])))
        additions.append(Float(Double(offset[channel]) - mean * inverse * Double(scale[channel])))
      }
    }
    return (factors, additions)
  }

  /// The sum of a channel over the image, and that of its squares.
  private typealias Sums = (sum: Double, squares: Double)

  /// Returns the sums of every channel, the same for any number of threads.
  private func sums(
    of x: GraphInference.View, _ context: ForwardContext
  ) throws -> [Sums] {
    let parts = try context.map(x.height, by: x.rowsAtOnce, scratchCount: 0) { rows, _ in
      var sums = [Sums](repeating: (0, 0), count: x.channels)
      for row in rows {
        for column in 0..<x.width {
          let pixel = x.pixel(row, column)
          for channel in 0..<x.channels {
            let value = Double(pixel[channel])
            sums[channel].sum += value
            sums[channel].squares += value * value
          }
        }
      }
      return sums
    }
    var total = [Sums](repeating: (0, 0), count: x.channels)
    for part in parts {
      for (channel, sums) in part.enumerated() {
        total[channel].sum += sums.sum
        total[channel].squares += sums.squares
      }
    }
    return total
  }
}
