/// Steps each of which takes the result of the one before, such as those that upscale features. They
/// run in bands of rows, so that results in between never exist as a whole.
struct GraphBands: Sendable {
  private let stages: [GraphInference.Runner]

  init(_ stages: [GraphInference.Runner]) {
    self.stages = stages
  }

  func size(of input: (height: Int, width: Int)) -> (height: Int, width: Int)? {
    var size: (height: Int, width: Int)? = input
    for stage in stages { size = size.flatMap { stage.size(of: [$0]) } }
    return size
  }

  /// How the rows are divided, for an input of one size.
  private struct Division {
    /// The size of the input, and of every stage's result.
    var sizes: [(height: Int, width: Int)]
    /// The rows that each stage makes, by band.
    var bands: [[Range<Int>]] = []
    /// Floats of the largest result between two stages.
    var largest = 0
    /// Floats of scratch memory of a stage.
    var own = 0

    /// Floats of scratch memory of a band: results lie in two places in turn.
    var scratchCount: Int { 2 * largest + own }
  }

  /// - Parameter context: that of a run, whose quantizers need more memory; `nil` before one.
  private func division(
    height: Int, width: Int, _ context: ForwardContext? = nil
  ) -> Division {
    var division = Division(sizes: [(height, width)])
    for stage in stages {
      guard let size = stage.size(of: [division.sizes[division.sizes.count - 1]]) else {
        preconditionFailure("the size of the image was checked")
      }
      division.sizes.append(size)
    }
    let sizes = division.sizes
    let factor = sizes[sizes.count - 1].height / height
    // Enough rows that those made twice, by neighbouring bands, count little.
    let bandHeight = context?.observer == nil ? max(8, 2048 / width) : height
    division.bands = stride(from: 0, to: height, by: bandHeight).map { start in
      ranges(start * factor..<min(height, start + bandHeight) * factor, sizes)
    }
    for ranges in division.bands {
      for (index, stage) in stages.enumerated() {
        let (rows, width) = (ranges[index].count, sizes[index + 1].width)
        if index < stages.count - 1 {
          division.largest = max(division.largest, rows * width * stage.channels)
        }
        division.own = max(
          division.own,
          stage.kernel.scratchCount(
            rows: rows, width: width, hasResidual: stage.residual != nil,
            quantizing: stage.input, of: sizes[index], context))
      }
    }
    return division
  }

  /// Floats of scratch memory that `run` gives each thread, for an input of `height` × `width`.
  func scratchCount(height: Int, width: Int) -> Int {
    division(height: height, width: width).scratchCount
  }

  var filterValueCount: Int { stages.reduce(0) { $0 + $1.kernel.filterValueCount } }

  /// Makes the whole result.
  ///
  /// - Parameter view: returns a result that was made before.
  func run(
    _ x: GraphInference.View, to y: GraphInference.View, _ context: ForwardContext,
    view: (Int) -> GraphInference.View
  ) throws {
    let division = division(height: x.height, width: x.width, context)
    let (sizes, largest) = (division.sizes, division.largest)
    let following = stages.map { $0.bound(view) }
    let residuals = stages.map { $0.residual.map(view) }
    let values = try stages.map { try $0.kernel.filterValues(context) }
    try context.map(
      division.bands.count, by: 1, scratchCount: division.scratchCount
    ) { places, scratch in
      for band in places {
        var input = x
        for (index, stage) in stages.enumerated() {
          let rows = division.bands[band][index]
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
            rows, of: target, [input], residual: residuals[index], quantizing: stage.input,
            values: values[index], scratch: scratch + 2 * largest, context)
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
