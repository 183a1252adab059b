import Foundation

/// Sums up a `NumberComparison` piece by piece. Pieces that are summed apart and then joined in order
/// give the same on any number of threads.
struct NumberComparisonSum: Sendable {
  let tolerance: Double
  /// Whether NaN differs from NaN.
  let distinguishesNaN: Bool
  /// How far apart two numbers are, in units of their type's last place.
  let unitsInLastPlace: UnitsInLastPlace?
  private var elementCount = 0
  private var finiteCount = 0
  private var changedCount = 0
  private var nonFiniteDifferenceCount = 0
  private var maximumAbsolute = 0.0
  private var maximumRelative = 0.0
  private var maximumUnits: UInt64 = 0
  private var noise = SquareSum()
  private var signalA = SquareSum()
  private var signalB = SquareSum()
  private var product = 0.0
  /// Differences by their binary exponent.
  private var exponents: [Int: Int] = [:]

  /// - Parameter tolerance: absolute differences up to this many are none.
  init(tolerance: Double, distinguishesNaN: Bool, unitsInLastPlace: UnitsInLastPlace?) {
    self.tolerance = tolerance
    self.distinguishesNaN = distinguishesNaN
    self.unitsInLastPlace = unitsInLastPlace
  }

  /// Adds pairs of elements.
  ///
  /// - Parameter differences: b − a where doubles cannot hold it: of 64-bit integers.
  mutating func add(_ a: [Double], _ b: [Double], differences: [Double]? = nil) {
    precondition(a.count == b.count, "pairs of elements come from equally many")
    elementCount += a.count
    // Exponents of doubles, subnormal ones included, are from -1074 to 1023.
    var counts = [Int](repeating: 0, count: 1074 + 1024)
    a.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { b in
        counts.withUnsafeMutableBufferPointer { counts in
          for index in a.indices {
            add(
              a[index], b[index], difference: differences?[index] ?? b[index] - a[index], &counts)
          }
        }
      }
    }
    for (index, count) in counts.enumerated() where count > 0 {
      exponents[index - 1074, default: 0] += count
    }
  }

  @inline(__always)
  private mutating func add(
    _ a: Double, _ b: Double, difference: Double, _ counts: inout UnsafeMutableBufferPointer<Int>
  ) {
    guard a.isFinite && b.isFinite else {
      if a != b && (distinguishesNaN || !(a.isNaN && b.isNaN)) {
        nonFiniteDifferenceCount += 1
        changedCount += 1
      }
      return
    }
    finiteCount += 1
    signalA.add(a)
    signalB.add(b)
    product += a * b
    guard difference != 0 else { return }
    let magnitude = difference.magnitude
    if magnitude > tolerance { changedCount += 1 }
    maximumAbsolute = max(maximumAbsolute, magnitude)
    maximumRelative = max(maximumRelative, magnitude / a.magnitude)
    if let unitsInLastPlace {
      maximumUnits = max(maximumUnits, unitsInLastPlace.distance(a, b))
    }
    noise.add(difference)
    if magnitude.isFinite { counts[Int(magnitude.exponent) + 1074] += 1 }
  }

  /// Adds what comes after.
  mutating func add(_ other: NumberComparisonSum) {
    elementCount += other.elementCount
    finiteCount += other.finiteCount
    changedCount += other.changedCount
    nonFiniteDifferenceCount += other.nonFiniteDifferenceCount
    maximumAbsolute = max(maximumAbsolute, other.maximumAbsolute)
    maximumRelative = max(maximumRelative, other.maximumRelative)
    maximumUnits = max(maximumUnits, other.maximumUnits)
    noise.add(other.noise)
    signalA.add(other.signalA)
    signalB.add(other.signalB)
    product += other.product
    exponents.merge(other.exponents, uniquingKeysWith: +)
  }

  var comparison: NumberComparison {
    NumberComparison(
      elementCount: elementCount, changedElementCount: changedCount,
      changedShare: elementCount == 0 ? 0 : Double(changedCount) / Double(elementCount),
      nonFiniteDifferenceCount: nonFiniteDifferenceCount,
      maximumAbsolute: maximumAbsolute, maximumRelative: maximumRelative,
      rootMeanSquare: finiteCount == 0 ? 0 : noise.root / Double(finiteCount).squareRoot(),
      normalizedMeanSquare: noise.root == 0
        ? 0 : (noise.root / signalA.root) * (noise.root / signalA.root),
      signalToNoise: noise.root == 0 ? .infinity : 20 * log10(signalA.root / noise.root),
      cosine: cosine, maximumUnitsInLastPlace: unitsInLastPlace.map { _ in maximumUnits },
      histogram: histogram)
  }

  private var cosine: Double? {
    let (normA, normB) = (signalA.root, signalB.root)
    if normA == 0 || normB == 0 { return normA == normB ? 1 : 0 }
    guard product.isFinite, min(normA, normB) > SquareSum.small else { return nil }
    return max(-1, min(1, product / normA / normB))
  }

  private var histogram: ChangeHistogram? {
    guard let lowest = exponents.keys.min(), let highest = exponents.keys.max() else { return nil }
    return ChangeHistogram(
      lowestExponent: lowest, counts: (lowest...highest).map { exponents[$0] ?? 0 })
  }
}

/// A sum of squares that neither overflows nor vanishes for any finite numbers.
///
/// Large, ordinary and small numbers are summed apart, after Blue, "A portable Fortran program to
/// find the Euclidean norm of a vector", ACM TOMS 4(1), 1978.
private struct SquareSum: Sendable {
  /// Brings large numbers, and by its inverse small ones, to where their squares are normal.
  private static let unit = 0x1p-600
  private static let large = 0x1p480
  static let small = 0x1p-480

  private var largeSum = 0.0
  private var ordinarySum = 0.0
  private var smallSum = 0.0

  @inline(__always)
  mutating func add(_ value: Double) {
    let magnitude = value.magnitude
    if magnitude > Self.large {
      largeSum += (value * Self.unit) * (value * Self.unit)
    } else if magnitude >= Self.small {
      ordinarySum += value * value
    } else {
      smallSum += (value / Self.unit) * (value / Self.unit)
    }
  }

  mutating func add(_ other: SquareSum) {
    largeSum += other.largeSum
    ordinarySum += other.ordinarySum
    smallSum += other.smallSum
  }

  /// The square root of the sum.
  var root: Double {
    if largeSum > 0 {
      return (largeSum + ordinarySum * Self.unit * Self.unit).squareRoot() / Self.unit
    }
    if ordinarySum > 0 { return ordinarySum.squareRoot() }
    return smallSum.squareRoot() * Self.unit
  }
}
