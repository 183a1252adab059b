/// Steps each of which takes the result of the one before, such as those that upscale features. They
/// run in bands of rows, so that results in between never exist as a whole.
struct GraphBands: Sendable {
  private let stages: [GraphInference.Runner]

  init(_ stages: [GraphInference.Runner]) {
    self.stages = stages
  }

  func size(of input: (height: Int, width: Int)) -> (height: Int, width: Int)? {
    var size: (height: Int, width: Int)? = input
    for stage in stages { size = size.flatMap { stage.kernel.size(of: [$0]) } }
    return size
  }

  /// Makes the whole result.
  ///
  /// - Parameter view: returns a result that was made before.
  func run(
    _ x: GraphInference.View, to y: GraphInference.View, _ context: ForwardContext,
    view: (Int) -> GraphInference.View
  ) throws {
    var sizes = [(height: x.height, width: x.width)]
    for stage in stages {
      guard let size = stage.kernel.size(of: [sizes[sizes.count - 1]]) else {
        preconditionFailure("the size of the image was checked")
      }
      sizes.append(size)
    }
    let following = stages.map { $0.bound(view) }
    let residuals = stages.map { $0.residual.map(view) }
    let factor = y.height / x.height
    // Enough rows that those made twice, by neighbouring bands, count little.
    let bandHeight = max(8, 2048 / x.width)
    let bands = stride(from: 0, to: x.height, by: bandHeight).map { start in
      ranges(start * factor..<min(x.height, start + bandHeight) * factor, sizes)
    }
    let largest = bands.reduce(0) { largest, ranges in
      stages.indices.dropLast().reduce(largest) {
        max($0, ranges[$1].count * sizes[$1 + 1].width * stages[$1].channels)
      }
    }
    let own = stages.indices.reduce(0) { most, index in
      let rows = bands.map { $0[index].count }.max() ?? 0
      return max(
        most,
        stages[index].kernel.scratchCount(
          rows: rows, width: sizes[index + 1].width, hasResidual: residuals[index] != nil))
    }
    let values = try stages.map { try $0.kernel.filterValues(context) }
    try context.map(
      bands.count, by: 1, scratchCount: 2 * largest + own
    ) { [sizes] places, scratch in
      for band in places {
        var input = x
        for (index, stage) in stages.enumerated() {
          let rows = bands[band][index]
          var target = y
          if index < stages.count - 1 {
            let (size, channels) = (sizes[index + 1], stage.channels)
            // Rows keep their numbers in the whole image.
            let start = scratch + (index % 2) * largest - rows.lowerBound * size.width * channels
            target = GraphInference.View(
              height: size.height, width: size.width, channels: channels, stride: channels,
              start: start)
          }
          try stage.kernel.make(
            rows, of: target, [input], residual: residuals[index], context, values: values[index],
            scratch: scratch + 2 * largest)
          for (following, other) in following[index] {
            following.apply(rows: rows, of: target, other: other)
          }
          input = target
        }
      }
    }
  }

  /// Returns the rows that each stage makes for `rows` of the result.
  private func ranges(
    _ rows: Range<Int>, _ sizes: [(height: Int, width: Int)]
  ) -> [Range<Int>] {
    var ranges = [rows]
    for index in stages.indices.dropFirst().reversed() {
      ranges.insert(
        stages[index].kernel.rowsNeeded(for: ranges[0], of: sizes[index].height), at: 0)
    }
    return ranges
  }
}
