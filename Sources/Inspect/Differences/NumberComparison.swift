import Formats
import Glibc

/// The numerical differences between tensor B and tensor A.
///
/// Pairs with a NaN or infinite number are excluded from everything but the counts. NaN equals NaN,
/// whatever its bits, unless the comparison distinguishes them; positive and negative zero are
/// equal.
package struct NumberComparison: Codable, Hashable, Sendable {
  /// The number of pairs compared.
  package var elementCount: Int
  /// The number of pairs that differ by more than the tolerance, including unequal pairs with a NaN
  /// or infinite number.
  package var changedElementCount: Int
  /// `changedElementCount / elementCount`; 0 if there are no elements.
  package var changedShare: Double
  /// The number of pairs that differ and contain at least one NaN or infinite number.
  package var nonFiniteDifferenceCount: Int
  /// The largest absolute difference, max |b − a|.
  package var maximumAbsolute: Double
  /// max |b − a| / |a| over the pairs with b ≠ a; infinite if a is zero in one of them.
  package var maximumRelative: Double
  /// The root-mean-square difference, √(mean (b − a)²).
  package var rootMeanSquare: Double
  /// Σ(b − a)² / Σa²: 0 if nothing differs, infinite if only a is zero.
  package var normalizedMeanSquare: Double
  /// 10 log₁₀(Σa² / Σ(b − a)²) in decibels; infinite if nothing differs.
  package var signalToNoise: Double
  /// Σab / √(Σa² Σb²): 1 if both are zero, 0 if one is; `nil` if products of the numbers lie
  /// outside the range of `Double`.
  package var cosine: Double?
  /// The largest distance between a and b in floating-point numbers of the tensors' type; `nil`
  /// unless both tensors have the same IEEE type: float16, bfloat16, float32 or float64.
  package var maximumUnitsInLastPlace: UInt64?
  /// The distribution of the magnitudes of b − a; `nil` if nothing differs.
  package var histogram: ChangeHistogram?
}

/// The number of differences between consecutive powers of two.
package struct ChangeHistogram: Codable, Hashable, Sendable {
  /// The exponent of the first bin. `counts[0]` counts 0 < |b − a| < 2^(lowestExponent + 1), and
  /// `counts[i]` counts magnitudes from 2^(lowestExponent + i) to twice that.
  package var lowestExponent: Int
  /// The counts in at most 32 bins; the first includes all smaller differences.
  package var counts: [Int]

  /// The largest number of bins, which together cover a factor of 2³² below the largest difference.
  static let binLimit = 32

  /// Creates a histogram.
  ///
  /// - Parameter counts: The counts for each exponent from `lowestExponent` on.
  /// - Returns: `nil` if all counts are zero.
  init?(lowestExponent: Int, counts: [Int]) {
    guard let first = counts.firstIndex(where: { $0 > 0 }),
      let last = counts.lastIndex(where: { $0 > 0 })
    else { return nil }
    let start = max(first, last - Self.binLimit + 1)
    self.lowestExponent = lowestExponent + start
    self.counts = Array(counts[start...last])
    self.counts[0] += counts[first..<start].reduce(0, +)
  }
}

/// Accumulates a `NumberComparison` in pieces. Pieces accumulated separately and then joined in
/// order give the same result on any number of threads.
struct NumberComparisonSum: Sendable {
  let tolerance: Double
  /// Whether NaN differs from NaN.
  let distinguishesNaN: Bool
  /// The type in which distances in units in the last place are measured; `nil` to not measure
  /// them.
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
  /// The number of differences by binary exponent.
  private var exponents: [Int: Int] = [:]

  /// Creates an empty sum.
  ///
  /// - Parameter tolerance: The largest absolute difference that is ignored.
  init(tolerance: Double, distinguishesNaN: Bool, unitsInLastPlace: UnitsInLastPlace?) {
    self.tolerance = tolerance
    self.distinguishesNaN = distinguishesNaN
    self.unitsInLastPlace = unitsInLastPlace
  }

  /// Adds pairs of elements.
  ///
  /// - Parameter differences: b − a for 64-bit integers, which doubles cannot represent exactly.
  mutating func add(_ a: [Double], _ b: [Double], differences: [Double]? = nil) {
    precondition(a.count == b.count, "pairs of elements come from equally many")
    elementCount += a.count
    // Exponents of doubles, including subnormal ones, are from -1074 to 1023.
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

  /// Adds the sum of the pieces that follow.
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

/// A sum of squares that neither overflows nor underflows for any finite numbers.
///
/// Large, ordinary and small numbers are summed separately, after Blue, "A portable Fortran program
/// to find the Euclidean norm of a vector", ACM TOMS 4(1), 1978.
private struct SquareSum: Sendable {
  /// A factor that scales large numbers, and whose inverse scales small ones, so that their squares
  /// are normal.
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

/// Measures distances in floating-point numbers of a type.
///
/// Numbers of one sign are ordered like their bits, so the distance is the difference of the bits;
/// across zero it is the sum of the magnitudes' bits. Both zeros count as one number.
enum UnitsInLastPlace: Sendable {
  case float16, bfloat16, float32, float64

  /// Creates the measure for a type.
  ///
  /// - Returns: `nil` for all types but these four.
  init?(_ elementType: ElementType) {
    switch elementType {
    case .float16: self = .float16
    case .bfloat16: self = .bfloat16
    case .float32: self = .float32
    case .float64: self = .float64
    default: return nil
    }
  }

  /// Returns the number of steps from `a` to `b`, both finite and exact in the type.
  func distance(_ a: Double, _ b: Double) -> UInt64 {
    let (x, y) = (magnitudeBits(a), magnitudeBits(b))
    return a.sign == b.sign ? max(x, y) - min(x, y) : x + y
  }

  private func magnitudeBits(_ value: Double) -> UInt64 {
    let magnitude = value.magnitude
    return switch self {
    case .float16: UInt64(Float16(magnitude).bitPattern)
    case .bfloat16: UInt64(Float(magnitude).bitPattern >> 16)
    case .float32: UInt64(Float(magnitude).bitPattern)
    case .float64: magnitude.bitPattern
    }
  }
}
