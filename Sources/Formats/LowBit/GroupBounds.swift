import CKernels
import Storage

extension TensorEncoder {
  /// Returns parameters of groups that nearly minimize `Σ h (w − ŵ)²`, with each group's scale and
  /// lower bound searched together.
  ///
  /// A group's bounds are first the best of a few starts, each followed by least squares for both
  /// bounds given the codes, and codes given the bounds. With `QuantizationParameterType.scaled6`,
  /// the places around them that have codes are then compared by the error that they give. (Joint
  /// search of scale and real zero point: NeUQI, arXiv:2505.17595.) The result is the same at every
  /// vector level.
  ///
  /// - Parameter importance: `h` of each column of the layout, not negative and finite; `nil` if all
  ///   count the same.
  /// - Precondition: the layout has groups, and elements are finite.
  /// - Throws: `ModelError` as `encode(lower:scale:)` does.
  package func groupParameters(importance: [Float]? = nil) throws -> AffineParameters {
    let layout = spec.layout
    guard case .group(let groupSize) = layout.granularity else {
      preconditionFailure("only groups have parameters of groups")
    }
    precondition(importance.map { $0.count == layout.columns } ?? true, "one weight per column")
    let search = GroupBounds(layout, groupSize: groupSize, bitWidth: spec.bitWidth, importance)
    var (lower, scale, units) = ([Float](), [Float](), [Float]())
    lower.reserveCapacity(layout.cellCount)
    scale.reserveCapacity(layout.cellCount)
    let height = min(layout.rows, max(1, Self.blockCount / layout.columns))
    for row in stride(from: 0, to: layout.rows, by: height) {
      let rows = row..<min(row + height, layout.rows)
      withValues(rows.lowerBound * layout.columns..<rows.upperBound * layout.columns) { values in
        var found = search.bounds(of: values, rows: rows.count)
        if spec.parameterType == .scaled6 {
          let own = AffineParameters.units(holding: found.lower, found.scale, spec)
          search.moveToCodes(&found, of: values, units: own)
          units += own
        }
        lower += found.lower
        scale += found.scale
      }
    }
    guard spec.parameterType == .scaled6 else {
      return try AffineParameters(rounding: lower, scale, to: spec)
    }
    return AffineParameters(lower: lower, scale: scale, units: units)
  }
}

/// The search for bounds of the groups in some rows.
private struct GroupBounds {
  private let layout: AffineLayout
  private let bitWidth: Int
  private let importance: [Float]?
  /// The groups of a row that are equally long: their common length, the columns at which they
  /// start, and the place of the first one. The last group of a row may be shorter.
  private let runs: [(length: Int, starts: [Int], first: Int)]

  /// The lower bounds and scales of all groups, in the order of the cells.
  typealias Bounds = (lower: [Float], scale: [Float])

  init(_ layout: AffineLayout, groupSize: Int, bitWidth: Int, _ importance: [Float]?) {
    self.layout = layout
    self.bitWidth = bitWidth
    self.importance = importance
    let wholeCount = layout.columns / groupSize
    let end = wholeCount * groupSize
    runs = [
      (groupSize, (0..<wholeCount).map { $0 * groupSize }, 0),
      (layout.columns - end, end < layout.columns ? [end] : [], wholeCount),
    ].filter { !$0.1.isEmpty }
  }

  func bounds(of values: UnsafeBufferPointer<Float>, rows: Int) -> Bounds {
    let count = rows * layout.cellsPerRow
    var found = Bounds([Float](repeating: 0, count: count), [Float](repeating: 0, count: count))
    forEachRun(of: values, rows: rows, &found) { groups, _, room, lower, scale in
      ck_group_bounds(&groups, room, &lower, &scale)
    }
    return found
  }

  /// Moves bounds to ones that have codes under the units of their rows.
  func moveToCodes(
    _ bounds: inout Bounds, of values: UnsafeBufferPointer<Float>, units: [Float]
  ) {
    forEachRun(of: values, rows: units.count, &bounds) { groups, cells, room, lower, scale in
      let own = cells.map { units[$0 / layout.cellsPerRow] }
      ck_group_codes(&groups, own, room, &lower, &scale)
    }
    for index in bounds.scale.indices where bounds.scale[index] == 0 {
      (bounds.lower[index], bounds.scale[index]) = constant(
        bounds.lower[index], unit: units[index / layout.cellsPerRow])
    }
  }

  /// Returns parameters of a group whose values all equal `value`: some multiple of its scale above
  /// a lower bound comes nearer to the value than lower bounds alone do.
  private func constant(_ value: Float, unit: Float) -> (lower: Float, scale: Float) {
    guard unit > 0, value != 0 else { return (0, 0) }
    let step = unit * Float(1 << bitWidth)
    let lowerCodes = AffineParameters.lowerCodes
    let largestScale = Float(AffineParameters.scaleCodes.upperBound)
    let lowerCode = (value / step).rounded(.down)
    let lower =
      step * min(max(lowerCode, Float(lowerCodes.lowerBound)), Float(lowerCodes.upperBound))
    let rest = max(0, (value - lower) / unit)
    let code = min(max(1, (rest / largestScale).rounded(.up)), Float(1 << bitWidth - 1))
    return (lower, unit * min((rest / code).rounded(.toNearestOrEven), largestScale))
  }

  private func forEachRun(
    of values: UnsafeBufferPointer<Float>, rows: Int, _ bounds: inout Bounds,
    _ body: (
      inout ck_groups, _ cells: [Int], UnsafeMutablePointer<Float>, inout [Float], inout [Float]
    ) -> Void
  ) {
    for run in runs {
      let starts = (0..<rows).flatMap { row in run.starts.map { row * layout.columns + $0 } }
      let cells = (0..<rows).flatMap { row in
        run.starts.indices.map { row * layout.cellsPerRow + run.first + $0 }
      }
      var lower = cells.map { bounds.lower[$0] }
      var scale = cells.map { bounds.scale[$0] }
      withUnsafeTemporaryAllocation(of: Float.self, capacity: CK_GROUP_ROOM * run.length) { room in
        room.initialize(repeating: 0)
        starts.withUnsafeBufferPointer { starts in
          (importance ?? []).withUnsafeBufferPointer { weights in
            var groups = ck_groups(
              values: values.baseAddress, starts: starts.baseAddress, count: starts.count,
              size: run.length, weights: importance == nil ? nil : weights.baseAddress,
              columns: layout.columns, bits: UInt32(bitWidth))
            guard let start = room.baseAddress else { return }
            body(&groups, cells, start, &lower, &scale)
          }
        }
      }
      for (index, cell) in cells.enumerated() {
        bounds.lower[cell] = lower[index]
        bounds.scale[cell] = scale[index]
      }
    }
  }
}
