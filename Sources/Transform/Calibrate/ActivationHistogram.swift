import Foundation

/// Counts of values in 2,048 bins of equal width.
///
/// Made by adding values, bins are aligned at zero and as wide as a power of two, the least for
/// which all values fit: a value lies in bin `floor(value / width)`. Two neighbouring bins of one
/// width are exactly a bin of twice that width, so the histogram depends on the values alone, not on
/// their order or on how they were split before merging. Read from a file, bins may lie anywhere.
public struct ActivationHistogram: Hashable, Sendable {
  static let binCount = 2048

  /// The smallest value; `+∞` without values.
  public private(set) var minimum: Double
  /// The largest value; `−∞` without values.
  public private(set) var maximum: Double
  /// Where the first bin begins and the last one ends.
  public private(set) var edges: ClosedRange<Double>
  /// Values in each of the 2,048 bins.
  public private(set) var counts: [Int]

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

  /// How many values there are in all bins.
  public var count: Int { counts.reduce(0, +) }
  /// The width of one bin, in the values' own unit.
  public var binWidth: Double { (edges.upperBound - edges.lowerBound) / Double(Self.binCount) }

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
    let first = Int(edges.lowerBound / width)
    // Widths are powers of two, so the product is the exact quotient.
    let inverse = 1 / width
    counts.withUnsafeMutableBufferPointer { counts in
      for value in values {
        let place = Double(value) * inverse
        // Rounded down; `rounded(.down)` is a call on processors without SSE 4.1.
        let towardsZero = Int(place)
        let bin = Double(towardsZero) > place ? towardsZero - 1 : towardsZero
        counts[bin - first] += 1
      }
    }
  }

  /// Adds the values of a histogram that was made by adding, too.
  package mutating func merge(_ other: ActivationHistogram) {
    guard other.minimum <= other.maximum else { return }
    widen(to: other.minimum, other.maximum)
    addCounts(of: other)
  }

  /// Finds the bins for all values so far and those between `low` and `high`, and moves counts.
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

  /// The least power of two for which values from `low` to `high` need at most `binCount` bins, and
  /// bin numbers stay far below 2^53.
  private static func leastWidth(_ low: Double, _ high: Double) -> Double {
    let largest = max(abs(low), abs(high))
    guard largest > 0 else { return Double(sign: .plus, exponent: -140, significand: 1) }
    var width = Double(sign: .plus, exponent: Int(largest.exponent) - 40, significand: 1)
    while (high / width).rounded(.down) - (low / width).rounded(.down) >= Double(binCount) {
      width *= 2
    }
    return width
  }

  /// Bins that have values: the values they stand for and how many there are.
  ///
  /// A bin stands for its middle, or for `points` values spread evenly over it, each with its share
  /// of the count; never for one outside `minimum…maximum`.
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
