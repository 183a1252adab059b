import Formats
import LinearAlgebra
import Storage

/// Statistics of the values at one site of a model.
package struct SiteStatistics: Hashable, Sendable {
  /// The distribution of values over all rows and columns.
  package var histogram: ActivationHistogram
  /// The distribution of values relative to their rows; `nil` if rows have no quantizer of their
  /// own or were not recorded.
  package var rows: RowHistogram?
  /// Moments of the rows; `nil` if rows have no meaning or were not recorded.
  package var moments: Moments?
  /// Moments of the quantized rows, by bit width.
  package var quantized: [Int: QuantizedMoments]

  /// Returns the granularity to use when `wanted` is requested: that of the recorded rows, if any.
  func scaling(for wanted: ActivationScaling) -> ActivationScaling {
    guard wanted != .tensor, let rows, !rows.isEmpty else { return .tensor }
    return rows.scaling
  }

  /// The group size, if rows or bounds were measured in groups.
  var groupSize: Int? {
    rows?.scaling.groupSize ?? quantized.values.lazy.compactMap(\.scaling.groupSize).first
  }

  /// The number of values.
  package var count: Int { histogram.count }

  package init(
    histogram: ActivationHistogram, rows: RowHistogram? = nil, moments: Moments? = nil,
    quantized: [Int: QuantizedMoments] = [:]
  ) {
    self.histogram = histogram
    self.rows = rows
    self.moments = moments
    self.quantized = quantized
  }

  /// Moments of rows `x` of `columnCount` values.
  package struct Moments: Hashable, Sendable {
    /// The first moment `μ = E[x]`.
    package var mean: [Double]
    /// The second moment `H = E[xxᵀ]`, `[columnCount, columnCount]` and symmetric.
    package var second: Matrix

    /// The number of values per row, which is the dimension of both moments.
    package var columnCount: Int { mean.count }

    package init(mean: [Double], second: Matrix) {
      self.mean = mean
      self.second = second
    }
  }

  /// Moments of the quantized rows `x̂ = Q(x)`, and cross moments with the rows themselves.
  package struct QuantizedMoments: Hashable, Sendable {
    /// The bounds of Q.
    package var lower: Float
    package var upper: Float
    /// The granularity of those bounds.
    package var scaling: ActivationScaling
    /// `E[x̂]`.
    package var mean: [Double]
    /// `E[x̂x̂ᵀ]`, symmetric.
    package var second: Matrix
    /// `E[xx̂ᵀ]`.
    package var cross: Matrix

    package init(
      lower: Float, upper: Float, scaling: ActivationScaling = .tensor, mean: [Double],
      second: Matrix, cross: Matrix
    ) {
      self.lower = lower
      self.upper = upper
      self.scaling = scaling
      self.mean = mean
      self.second = second
      self.cross = cross
    }
  }
}

/// Sums over the values of one site; their memory does not depend on the number of values.
struct SiteAccumulator: Sendable {
  private struct QuantizedSums: Sendable {
    let quantizer: ActivationQuantizer
    var sum: [Double]
    var second: Matrix
    var cross: Matrix
  }

  let site: ActivationSite
  private var rowCount = 0
  private var histogram = ActivationHistogram()
  private var rows: RowHistogram?
  private var sum: [Double]
  private var second: Matrix?
  private var quantized: [QuantizedSums]

  /// - Parameters:
  ///   - scaling: the granularity at which rows are recorded; for `tensor`, whole rows are
  ///     recorded.
  ///   - quantizers: the quantizers of the rows in a second run, when their bounds are known.
  init(
    _ site: ActivationSite, scaling: ActivationScaling = .row,
    quantizers: [ActivationQuantizer] = []
  ) {
    self.site = site
    let measure = site.nearest(to: scaling == .tensor ? .row : scaling)
    rows = measure == .tensor ? nil : RowHistogram(measure)
    let columns = site.columnCount
    let hasRows = columns > 1
    sum = [Double](repeating: 0, count: hasRows ? columns : 0)
    second = hasRows ? Matrix(zerosOfRows: columns, columns: columns) : nil
    quantized = (hasRows ? quantizers : []).map {
      QuantizedSums(
        quantizer: $0, sum: [Double](repeating: 0, count: columns),
        second: Matrix(zerosOfRows: columns, columns: columns),
        cross: Matrix(zerosOfRows: columns, columns: columns))
    }
  }

  /// The number of bytes of rows that are widened to Double at a time.
  private static let chunkByteCount = 1 << 20

  /// - Parameter columns: the length of a row in the model; that of the site unless it is 1.
  /// - Throws: `ModelError` when a value is not finite or the last row is incomplete.
  mutating func add(_ values: UnsafeBufferPointer<Float>, columns rowLength: Int) throws {
    let columns = site.columnCount
    guard rowLength > 0, columns == 1 || rowLength == columns,
      values.count.isMultiple(of: rowLength)
    else {
      throw error(
        "expected rows of \(columns), found \(counted(values.count, "value")) in rows of \(rowLength)"
      )
    }
    if let index = values.firstIndex(where: { !$0.isFinite }) {
      throw error("value \(index) is \(values[index])")
    }
    histogram.add(values)
    rows?.add(values, columns: rowLength)
    rowCount += values.count / columns
    guard second != nil else { return }
    let chunk = max(1, Self.chunkByteCount / (8 * columns)) * columns
    for start in stride(from: 0, to: values.count, by: chunk) {
      addRows(UnsafeBufferPointer(rebasing: values[start..<min(start + chunk, values.count)]))
    }
  }

  private mutating func addRows(_ values: UnsafeBufferPointer<Float>) {
    let rows = values.map(Double.init)
    Self.addRows(rows, to: &sum)
    rows.withUnsafeBufferPointer { second?.addProducts(ofRows: $0) }
    for index in quantized.indices {
      let images = quantized[index].quantizer.images(of: values, columns: site.columnCount)
      Self.addRows(images, to: &quantized[index].sum)
      images.withUnsafeBufferPointer { images in
        quantized[index].second.addProducts(ofRows: images)
        rows.withUnsafeBufferPointer { quantized[index].cross.addProducts($0, images) }
      }
    }
  }

  private static func addRows(_ rows: [Double], to sum: inout [Double]) {
    for start in stride(from: 0, to: rows.count, by: sum.count) {
      for column in sum.indices { sum[column] += rows[start + column] }
    }
  }

  /// Adds the sums of another accumulator of the same site and quantizers.
  mutating func merge(_ other: SiteAccumulator) {
    histogram.merge(other.histogram)
    if let added = other.rows { rows?.merge(added) }
    rowCount += other.rowCount
    for column in sum.indices { sum[column] += other.sum[column] }
    if let added = other.second { second = second?.adding(added) }
    for index in quantized.indices {
      let added = other.quantized[index]
      for column in sum.indices { quantized[index].sum[column] += added.sum[column] }
      quantized[index].second = quantized[index].second.adding(added.second)
      quantized[index].cross = quantized[index].cross.adding(added.cross)
    }
  }

  /// - Throws: `ModelError` when there were no values.
  func statistics() throws -> SiteStatistics {
    guard rowCount > 0 else { throw error("no values were seen") }
    let share = 1 / Double(rowCount)
    let moments = second.map {
      SiteStatistics.Moments(mean: sum.map { $0 * share }, second: $0.scaled(by: share))
    }
    let images = quantized.map { sums in
      (
        sums.quantizer.bitWidth,
        SiteStatistics.QuantizedMoments(
          lower: sums.quantizer.lower, upper: sums.quantizer.upper,
          scaling: sums.quantizer.scaling,
          mean: sums.sum.map { $0 * share }, second: sums.second.scaled(by: share),
          cross: sums.cross.scaled(by: share))
      )
    }
    return SiteStatistics(
      histogram: histogram, rows: rows, moments: moments,
      quantized: Dictionary(images) { first, _ in first })
  }

  private func error(_ reason: String) -> ModelError {
    ModelError(reason, tensor: site.name)
  }
}
