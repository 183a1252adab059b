import Formats
import LinearAlgebra
import Storage

/// Reads the arrays of one site and checks their consistency.
struct SiteReader {
  private let tensors: [String: Tensor]

  /// The largest asymmetry of a moment's elements, and the most its eigenvalues may be below zero,
  /// relative to the largest element. A moment summed in Float32 stays within it.
  private static let tolerance = 1e-5

  init(_ tensors: [String: Tensor]) {
    self.tensors = tensors
  }

  /// - Throws: `ModelError` without the site's name.
  func statistics() throws -> SiteStatistics {
    try checkFields()
    let scaling = try rowScaling()
    var statistics = SiteStatistics(
      histogram: try histogram(), rows: try rowHistogram(scaling),
      isAfterNormalization: try flag("is_after_normalization"))
    guard let mean = try optionalVector("mean") else { return statistics }
    guard mean.count > 1 else { throw refused("'mean' has fewer than 2 values") }
    let moments = SiteStatistics.Moments(
      mean: mean, second: try moment("second_moment", columns: mean.count))
    statistics.moments = moments
    statistics.tapCount = try tapCount(columns: mean.count)
    // Patches are a part of the pixels, and see some of them several times.
    if statistics.tapCount == 1, let rows = statistics.rows {
      try check(rows, moments, count: statistics.count)
    }
    for bits in 1...8 where tensors["quantized/\(bits)/bounds"] != nil {
      statistics.quantized[bits] = try images(
        "quantized/\(bits)", scaling, columns: mean.count)
    }
    return statistics
  }

  private func checkFields() throws {
    var known: Set<String> = [
      "count", "range", "histogram", "edges", "row_histogram", "group_size", "tap_count", "mean",
      "second_moment", "is_after_normalization",
    ]
    for bits in 1...8 {
      for field in ["bounds", "is_row_scaled", "mean", "second_moment", "cross_moment"] {
        known.insert("quantized/\(bits)/\(field)")
      }
    }
    if let unknown = tensors.keys.sorted().first(where: { !known.contains($0) }) {
      throw refused("the array '\(unknown)' is unknown")
    }
    for bits in 1...8 where tensors["quantized/\(bits)/bounds"] == nil {
      if let orphan = tensors.keys.sorted().first(where: { $0.hasPrefix("quantized/\(bits)/") }) {
        throw refused("there is '\(orphan)' but no 'quantized/\(bits)/bounds'")
      }
    }
    if tensors["mean"] == nil,
      let orphan = tensors.keys.sorted().first(where: {
        $0 == "second_moment" || $0 == "tap_count" || $0.hasPrefix("quantized/")
      })
    {
      throw refused("there is '\(orphan)' but no 'mean'")
    }
  }

  private func histogram() throws -> ActivationHistogram {
    let range = try vector("range", count: 2)
    let edges = try vector("edges", count: 2)
    let counts = try vector("histogram", count: ActivationHistogram.binCount)
    let total = try vector("count", count: 1, isScalar: true)[0]
    guard range[0] <= range[1] else { throw refused("'range' is not in order") }
    guard edges[0] < edges[1] else { throw refused("'edges' are not in order") }
    let slack = (edges[1] - edges[0]) * 1e-9
    guard edges[0] <= range[0] + slack, range[1] <= edges[1] + slack else {
      throw refused("'edges' do not enclose 'range'")
    }
    guard range.allSatisfy({ Float($0).isFinite }) else {
      throw refused("'range' is beyond Float32")
    }
    let wholes = counts.map { Int(exactly: $0) ?? -1 }
    guard wholes.allSatisfy({ (0..<1 << 53).contains($0) }) else {
      throw refused("'histogram' has a count that is negative or not an integer")
    }
    // Below 2^53 the sum of 2,048 counts fits in 64 bits.
    let sum = wholes.reduce(0, +)
    guard sum > 0, Double(sum) == total else {
      throw refused("the counts of 'histogram' add up to \(sum), but 'count' is \(total)")
    }
    return ActivationHistogram(
      minimum: range[0], maximum: range[1], edges: edges[0]...edges[1], counts: wholes)
  }

  /// Returns the granularity of recorded rows.
  private func rowScaling() throws -> ActivationScaling {
    guard tensors["group_size"] != nil else { return .row }
    let size = try vector("group_size", count: 1, isScalar: true)[0]
    guard let size = Int(exactly: size), ActivationScaling.groupSizes.contains(size) else {
      let sizes = ActivationScaling.groupSizes
      throw refused(
        "'group_size' is \(size), not an integer from \(sizes.lowerBound) to \(sizes.upperBound)"
      )
    }
    let isOfUse = tensors.keys.contains { $0 == "row_histogram" || $0.hasSuffix("/is_row_scaled") }
    guard isOfUse else { throw refused("there is 'group_size' but nothing measured in groups") }
    return .group(size)
  }

  /// Returns the number of rows that make up a row of moments.
  private func tapCount(columns: Int) throws -> Int {
    guard tensors["tap_count"] != nil else { return 1 }
    let found = try vector("tap_count", count: 1, isScalar: true)[0]
    guard let count = Int(exactly: found), count >= 1, columns.isMultiple(of: count) else {
      throw refused("'tap_count' is \(found), which does not divide the \(columns) of 'mean'")
    }
    return count
  }

  private func rowHistogram(_ scaling: ActivationScaling) throws -> RowHistogram? {
    guard let tensor = tensors["row_histogram"] else { return nil }
    guard tensor.elementType == .float64 else {
      throw refused("'row_histogram' is \(tensor.elementType), whose sums are too coarse")
    }
    let energies = try vector("row_histogram", count: RowHistogram.binCount)
    guard energies.allSatisfy({ $0 >= 0 }) else {
      throw refused("'row_histogram' has an energy that is negative")
    }
    guard energies.reduce(0, +).isFinite else {
      throw refused("the energies of 'row_histogram' add up to more than Float64 holds")
    }
    return RowHistogram(energies: energies, scaling: scaling)
  }

  /// Checks that both agree on the sum of the squares of all values. Bins resolve values to half a
  /// thousandth of their row's largest. For groups, the squares are at least twice the square of
  /// half the group's range.
  private func check(_ rows: RowHistogram, _ moments: SiteStatistics.Moments, count: Int) throws {
    let expected =
      moments.second.diagonal.reduce(0, +) * Double(count) / Double(moments.columnCount)
    if let size = rows.scaling.groupSize {
      let energy = rows.energies.reduce(0, +)
      guard energy <= 0.505 * Double(size) * expected else {
        throw refused(
          "the groups of 'row_histogram' are too wide for the squares of all values in "
            + "'second_moment', which add up to \(expected)")
      }
      return
    }
    let found = rows.energy
    // Zeros lie in bins of small values, and rows with tiny magnitudes count as zeros.
    let zeros = rows.energies.reduce(0, +) * 0x1p-22 + Double(count) * 1e-60
    guard abs(found - expected) <= 0.01 * max(found, expected) + zeros else {
      throw refused(
        "the squares of all values add up to \(found) in 'row_histogram', but in "
          + "'second_moment' to \(expected)")
    }
  }

  /// - Parameter rows: the granularity of bounds that are relative to rows.
  private func scaling(
    _ prefix: String, _ rows: ActivationScaling
  ) throws -> ActivationScaling {
    try flag("\(prefix)/is_row_scaled") ? rows : .tensor
  }

  /// Returns whether a field is 1; 0 is its default.
  private func flag(_ field: String) throws -> Bool {
    guard tensors[field] != nil else { return false }
    let flag = try vector(field, count: 1, isScalar: true)[0]
    guard flag == 0 || flag == 1 else { throw refused("'\(field)' is \(flag), not 0 or 1") }
    return flag == 1
  }

  private func images(
    _ prefix: String, _ rows: ActivationScaling, columns: Int
  ) throws -> SiteStatistics.QuantizedMoments {
    let bounds = try vector("\(prefix)/bounds", count: 2)
    guard bounds[0] <= bounds[1], bounds.allSatisfy({ Float($0).isFinite }) else {
      throw refused("'\(prefix)/bounds' are not in order or beyond Float32")
    }
    return SiteStatistics.QuantizedMoments(
      lower: Float(bounds[0]), upper: Float(bounds[1]), scaling: try scaling(prefix, rows),
      mean: try vector("\(prefix)/mean", count: columns),
      second: try moment("\(prefix)/second_moment", columns: columns),
      cross: try square("\(prefix)/cross_moment", columns: columns))
  }

  /// Reads a square matrix that is symmetric and positive semidefinite up to rounding.
  private func moment(_ field: String, columns: Int) throws -> Matrix {
    var matrix = try square(field, columns: columns)
    let largest = matrix.values.reduce(0) { max($0, $1.magnitude) }
    guard largest > 0 else { return matrix }
    for row in 0..<columns {
      for column in 0..<row {
        guard abs(matrix[row, column] - matrix[column, row]) <= Self.tolerance * largest else {
          throw refused("'\(field)' is not symmetric at row \(row), column \(column)")
        }
        let middle = (matrix[row, column] + matrix[column, row]) / 2
        (matrix[row, column], matrix[column, row]) = (middle, middle)
      }
    }
    do {
      _ = try Cholesky(of: matrix.addingToDiagonal(Self.tolerance * largest))
    } catch LAPACKError.noConvergence {
      throw refused("'\(field)' is not positive semidefinite")
    }
    return matrix
  }

  private func square(_ field: String, columns: Int) throws -> Matrix {
    let tensor = try tensor(field)
    guard tensor.shape == Shape([columns, columns]) else {
      throw refused("'\(field)' has the shape \(tensor.shape), not [\(columns), \(columns)]")
    }
    return Matrix(rows: columns, columns: columns, values: try values(field, tensor))
  }

  private func vector(_ field: String, count: Int, isScalar: Bool = false) throws -> [Double] {
    let tensor = try tensor(field)
    guard tensor.shape == (isScalar ? .scalar : Shape([count])) else {
      throw refused(
        "'\(field)' has the shape \(tensor.shape), not \(isScalar ? "[]" : "[\(count)]")")
    }
    return try values(field, tensor)
  }

  private func optionalVector(_ field: String) throws -> [Double]? {
    guard let tensor = tensors[field] else { return nil }
    guard tensor.shape.rank == 1 else {
      throw refused("'\(field)' has the shape \(tensor.shape), which is not a vector")
    }
    return try values(field, tensor)
  }

  private func tensor(_ field: String) throws -> Tensor {
    guard let tensor = tensors[field] else { throw refused("the array '\(field)' is missing") }
    return tensor
  }

  private func values(_ field: String, _ tensor: Tensor) throws -> [Double] {
    let values = try tensor.doubleValues()
    if let index = values.firstIndex(where: { !$0.isFinite }) {
      throw refused("element \(index) of '\(field)' is \(values[index])")
    }
    return values
  }

  private func refused(_ reason: String) -> ModelError { .malformed(reason) }
}
