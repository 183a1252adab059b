import CKernels
import Formats

/// Counts of values in 2,048 bins of equal width.
///
/// When values are added, bins are aligned at zero, and their width is the least power of two for
/// which all values fit: a value lies in bin `floor(value / width)`. Two adjacent bins of one width
/// make exactly one bin of twice that width, so the histogram depends only on the values, not on
/// their order or on how they were split before merging. Bins read from a file may lie anywhere.
package struct ActivationHistogram: Hashable, Sendable {
  static let binCount = Int(CK_HISTOGRAM_BINS)

  /// The smallest value; `+∞` without values.
  package private(set) var minimum: Double
  /// The largest value; `−∞` without values.
  package private(set) var maximum: Double
  /// The lower edge of the first bin and the upper edge of the last one.
  package private(set) var edges: ClosedRange<Double>
  /// The number of values in each of the 2,048 bins.
  package private(set) var counts: [Int]

  package init() {
    minimum = .infinity
    maximum = -.infinity
    edges = 0...1
    counts = [Int](repeating: 0, count: Self.binCount)
  }

  /// - Precondition: there are `binCount` counts.
  init(minimum: Double, maximum: Double, edges: ClosedRange<Double>, counts: [Int]) {
    precondition(counts.count == Self.binCount, "a histogram has \(Self.binCount) bins")
    self.minimum = minimum
    self.maximum = maximum
    self.edges = edges
    self.counts = counts
  }

  /// The number of values in all bins.
  package var count: Int { counts.reduce(0, +) }
  /// The width of one bin, in the values' own unit.
  package var binWidth: Double { (edges.upperBound - edges.lowerBound) / Double(Self.binCount) }

  /// Adds finite values.
  package mutating func add(_ values: UnsafeBufferPointer<Float>) {
    guard !values.isEmpty else { return }
    var low = values[0]
    var high = values[0]
    for value in values {
      low = min(low, value)
      high = max(high, value)
    }
    widen(to: Double(low), Double(high))
    let width = binWidth
    // Widths are powers of two, so products with the inverse are exact quotients.
    counts.withUnsafeMutableBufferPointer {
      ck_count_values(
        values.baseAddress, values.count, 1 / width, Int(edges.lowerBound / width), $0.baseAddress)
    }
  }

  /// Adds the values of another histogram that was also made by adding values.
  package mutating func merge(_ other: ActivationHistogram) {
    guard other.minimum <= other.maximum else { return }
    widen(to: other.minimum, other.maximum)
    addCounts(of: other)
  }

  /// Chooses bins for all values so far and those between `low` and `high`, and moves the counts.
  private mutating func widen(to low: Double, _ high: Double) {
    let before = self
    minimum = min(minimum, low)
    maximum = max(maximum, high)
    let width = Self.leastWidth(minimum, maximum)
    let start = (minimum / width).rounded(.down) * width
    let newEdges = start...start + width * Double(Self.binCount)
    guard newEdges != edges || before.minimum > before.maximum else { return }
    edges = newEdges
    counts = [Int](repeating: 0, count: Self.binCount)
    if before.minimum <= before.maximum { addCounts(of: before) }
  }

  private mutating func addCounts(of other: ActivationHistogram) {
    let (width, otherWidth) = (binWidth, other.binWidth)
    let first = Int(edges.lowerBound / width)
    let otherFirst = Int(other.edges.lowerBound / otherWidth)
    let steps = Int((width / otherWidth).exponent)
    for (index, count) in other.counts.enumerated() where count > 0 {
      counts[(index + otherFirst) >> steps - first] += count
    }
  }

  /// Returns the least power of two for which values from `low` to `high` need at most `binCount`
  /// bins and bin numbers stay far below 2^53.
  private static func leastWidth(_ low: Double, _ high: Double) -> Double {
    let largest = max(abs(low), abs(high))
    guard largest > 0 else { return Double(sign: .plus, exponent: -140, significand: 1) }
    var width = Double(sign: .plus, exponent: Int(largest.exponent) - 40, significand: 1)
    while (high / width).rounded(.down) - (low / width).rounded(.down) >= Double(binCount) {
      width *= 2
    }
    return width
  }

  /// Returns the values that nonempty bins represent, and their counts.
  ///
  /// A bin represents its middle, or `points` values spread evenly over it, each with its share of
  /// the count; values are clamped to `minimum…maximum`.
  func weightedValues(points: Int = 1) -> (values: [Float], weights: [Double]) {
    var values: [Float] = []
    var weights: [Double] = []
    let width = binWidth
    for (index, count) in counts.enumerated() where count > 0 {
      for point in 0..<points {
        let middle =
          edges.lowerBound + (Double(index) + (Double(point) + 0.5) / Double(points)) * width
        values.append(Float(min(max(middle, minimum), maximum)))
        weights.append(Double(count) / Double(points))
      }
    }
    return (values, weights)
  }
}

/// The distribution of values relative to their row or group: 2,048 bins of equal width from −1 to
/// 1, each with `Σ m²` of the values `(x − c) / m` that lie in it.
///
/// For whole rows `c` is 0 and `m = max |x|`; for groups `c` is the middle between the least and
/// the greatest value and `m` is half their distance. The error of a quantizer
/// `c + m · Q((x − c) / m)` on all rows is then `Σ energy · (t − Q(t))²` over the bins.
package struct RowHistogram: Hashable, Sendable {
  static let binCount = Int(CK_HISTOGRAM_BINS)

  /// The granularity: rows or groups.
  package let scaling: ActivationScaling
  /// `Σ m²` of the values in each of the 2,048 bins, in the square of the activation's unit.
  package private(set) var energies: [Double]

  /// - Precondition: `scaling` is not `tensor`.
  init(_ scaling: ActivationScaling = .row) {
    self.init(energies: [Double](repeating: 0, count: Self.binCount), scaling: scaling)
  }

  /// - Precondition: there are `binCount` energies, none of them negative, and their sum is finite.
  init(energies: [Double], scaling: ActivationScaling = .row) {
    precondition(scaling != .tensor, "rows are measured in rows or groups")
    self.scaling = scaling
    precondition(energies.count == Self.binCount, "a row histogram has \(Self.binCount) bins")
    precondition(energies.allSatisfy { $0 >= 0 } && energies.reduce(0, +).isFinite)
    self.energies = energies
  }

  /// An approximation of `Σ (x − c)²` over all values; for rows, of `Σ x²`.
  var energy: Double {
    let (values, energies) = weightedValues()
    return zip(values, energies).reduce(0) { $0 + $1.1 * Double($1.0) * Double($1.0) }
  }

  /// Whether all rows were zero.
  var isEmpty: Bool { energies.allSatisfy { $0 == 0 } }

  /// Adds rows of `columns` finite values each.
  mutating func add(_ values: UnsafeBufferPointer<Float>, columns: Int) {
    energies.withUnsafeMutableBufferPointer {
      ck_add_row_energies(
        values.baseAddress, values.count / columns, columns, scaling.groupSize ?? 0, $0.baseAddress)
    }
  }

  /// Adds the values of another histogram of the same scaling.
  mutating func merge(_ other: RowHistogram) {
    for bin in energies.indices { energies[bin] += other.energies[bin] }
  }

  /// The range of values, from bin edge to bin edge.
  ///
  /// - Precondition: the histogram is not empty.
  var range: ClosedRange<Float> {
    guard let first = energies.firstIndex(where: { $0 > 0 }),
      let last = energies.lastIndex(where: { $0 > 0 })
    else { preconditionFailure("a histogram without rows") }
    return Self.edge(first)...Self.edge(last + 1)
  }

  private static func edge(_ bin: Int) -> Float { Float(bin) / Float(binCount / 2) - 1 }

  /// Returns the values that nonempty bins represent, and their energies; see
  /// `ActivationHistogram`.
  func weightedValues(points: Int = 1) -> (values: [Float], weights: [Double]) {
    var (values, weights) = ([Float](), [Double]())
    for (bin, energy) in energies.enumerated() where energy > 0 {
      for point in 0..<points {
        let place = Float(bin) + (Float(point) + 0.5) / Float(points)
        values.append(place / Float(Self.binCount / 2) - 1)
        weights.append(energy / Double(points))
      }
    }
    return (values, weights)
  }
}
