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
  /// Moments of the rows, or of a convolution's patches; `nil` if rows have no meaning or were not
  /// recorded.
  package var moments: Moments?
  /// Moments of the quantized rows, by bit width.
  package var quantized: [Int: QuantizedMoments]
  /// The rows of which a row of moments consists: the taps of a convolution.
  package var tapCount: Int
  /// Whether the values are known to come from a normalization.
  package var isAfterNormalization: Bool

  /// The number of values per row; `nil` without moments.
  package var columnCount: Int? { moments.map { $0.columnCount / tapCount } }

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
    quantized: [Int: QuantizedMoments] = [:], tapCount: Int = 1,
    isAfterNormalization: Bool = false
  ) {
    self.tapCount = tapCount
    self.isAfterNormalization = isAfterNormalization
    self.histogram = histogram
    self.rows = rows
    self.moments = moments
    self.quantized = quantized
  }

  /// Moments of rows `x` of `columnCount` values, which are in the order of a weight's columns: the
  /// taps of a convolution follow one another for each channel.
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
  /// The rows of which moments are taken, which for a convolution are patches.
  private var momentRowCount = 0
  private var sum: [Double]
  private var second: Matrix?
  private var quantized: [QuantizedSums]

  /// The longest patches of which moments are taken: those of 64 channels and 3×3 taps. Memory and
  /// time grow with the square.
  static let longestPatch = 576

  /// Returns the number of columns of a site's moments; 0 if none are taken.
  static func momentColumns(of site: ActivationSite) -> Int {
    guard let taps = site.tapCount, taps > 1 else {
      return site.columnCount > 1 ? site.columnCount : 0
    }
    return site.columnCount * taps <= longestPatch ? site.columnCount * taps : 0
  }

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
    let columns = Self.momentColumns(of: site)
    sum = [Double](repeating: 0, count: columns)
    second = columns > 0 ? Matrix(zerosOfRows: columns, columns: columns) : nil
    quantized = (columns > 0 ? quantizers : []).map {
      QuantizedSums(
        quantizer: $0, sum: [Double](repeating: 0, count: columns),
        second: Matrix(zerosOfRows: columns, columns: columns),
        cross: Matrix(zerosOfRows: columns, columns: columns))
    }
  }

  /// The number of bytes of rows that are widened to Double at a time.
  private static let chunkByteCount = 1 << 20

  /// - Parameter columns: the length of a row in the model; that of the site unless it is 1, or that
  ///   of a convolution's patch.
  /// - Throws: `ModelError` when a value is not finite or the last row is incomplete.
  mutating func add(_ values: UnsafeBufferPointer<Float>, columns rowLength: Int) throws {
    let columns = site.columnCount
    let taps = site.tapCount ?? 1
    let isPatch = taps > 1 && rowLength == columns * taps
    guard rowLength > 0, isPatch || columns == 1 || rowLength == columns,
      values.count.isMultiple(of: rowLength)
    else {
      throw error(
        "expected rows of \(columns), found \(counted(values.count, "value")) in rows of \(rowLength)"
      )
    }
    if let index = values.firstIndex(where: { !$0.isFinite }) {
      throw error("value \(index) is \(values[index])")
    }
    if !isPatch {
      histogram.add(values)
      rows?.add(values, columns: rowLength)
      rowCount += values.count / columns
    }
    guard second != nil, isPatch || taps == 1 else { return }
    momentRowCount += values.count / sum.count
    let chunk = max(1, Self.chunkByteCount / (8 * sum.count)) * sum.count
    for start in stride(from: 0, to: values.count, by: chunk) {
      addRows(UnsafeBufferPointer(rebasing: values[start..<min(start + chunk, values.count)]))
    }
  }

  private mutating func addRows(_ values: UnsafeBufferPointer<Float>) {
    let rows = values.map(Double.init)
    Self.addRows(rows, to: &sum)
    rows.withUnsafeBufferPointer { second?.addProducts(ofRows: $0) }
    for index in quantized.indices {
      // The pixels of a patch are rows of their own.
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
    momentRowCount += other.momentRowCount
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
    let order = columnOrder
    let share = 1 / Double(max(1, momentRowCount))
    func mean(_ sum: [Double]) -> [Double] { order.map { sum[$0] * share } }
    func moment(_ sums: Matrix) -> Matrix { sums.ordered(order).scaled(by: share) }
    // Images smaller than a kernel have no patches.
    let hasMoments = momentRowCount > 0
    let moments =
      hasMoments
      ? second.map { SiteStatistics.Moments(mean: mean(sum), second: moment($0)) } : nil
    let images = (hasMoments ? quantized : []).map { sums in
      (
        sums.quantizer.bitWidth,
        SiteStatistics.QuantizedMoments(
          lower: sums.quantizer.lower, upper: sums.quantizer.upper,
          scaling: sums.quantizer.scaling,
          mean: mean(sums.sum), second: moment(sums.second), cross: moment(sums.cross))
      )
    }
    return SiteStatistics(
      histogram: histogram, rows: rows, moments: moments,
      quantized: Dictionary(images) { first, _ in first },
      tapCount: moments == nil ? 1 : site.tapCount ?? 1,
      isAfterNormalization: site.origin?.isNormalization ?? false)
  }

  /// The columns of patches, which come tap by tap, in the order of a weight's columns.
  private var columnOrder: [Int] {
    let taps = site.tapCount ?? 1
    guard taps > 1, second != nil else { return Array(sum.indices) }
    return sum.indices.map { $0 % taps * site.columnCount + $0 / taps }
  }

  private func error(_ reason: String) -> ModelError {
    ModelError(reason, tensor: site.name)
  }
}

extension Matrix {
  /// Returns the matrix with its rows and columns in another order.
  fileprivate func ordered(_ order: [Int]) -> Matrix {
    guard order != Array(0..<columns) else { return self }
    return Matrix(
      rows: rows, columns: columns,
      values: order.flatMap { row in order.map { self[row, $0] } })
  }
}
