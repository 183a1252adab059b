import Formats
import Glibc

/// How far the numbers of tensor B are from those of tensor A.
///
/// Pairs in which a number is NaN or infinite are left out of everything but the counts. NaN equals
/// NaN, whatever its bits, unless the comparison tells them apart; zeros of both signs are equal.
public struct NumberComparison: Codable, Hashable, Sendable {
  /// Pairs of numbers compared.
  public var elementCount: Int
  /// Pairs that differ by more than the tolerance, or of which only one is NaN or infinite.
  public var changedElementCount: Int
  /// `changedElementCount / elementCount`; 0 when there are no elements.
  public var changedShare: Double
  /// Pairs that differ and in which at least one number is NaN or infinite.
  public var nonFiniteDifferenceCount: Int
  /// The largest absolute difference, max |b − a|.
  public var maximumAbsolute: Double
  /// max |b − a| / |a| over the pairs with b ≠ a; infinite when a is zero in one of them.
  public var maximumRelative: Double
  /// The root mean square difference, √(mean (b − a)²).
  public var rootMeanSquare: Double
  /// Σ(b − a)² / Σa²: 0 when nothing differs, infinite when only a is zero.
  public var normalizedMeanSquare: Double
  /// 10 log₁₀(Σa² / Σ(b − a)²) in decibels; infinite when nothing differs.
  public var signalToNoise: Double
  /// Σab / √(Σa² Σb²): 1 when both are zero, 0 when one is; `nil` when products of the numbers lie
  /// outside the range of `Double`.
  public var cosine: Double?
  /// The most floating-point numbers of the tensors' type that lie between a and b, b counted;
  /// `nil` unless both tensors are of one IEEE type: float16, bfloat16, float32 or float64.
  public var maximumUnitsInLastPlace: UInt64?
  /// How often which magnitudes of b − a occur; `nil` when nothing differs.
  public var histogram: ChangeHistogram?
}

/// How many differences lie between neighbouring powers of two.
public struct ChangeHistogram: Codable, Hashable, Sendable {
  /// `counts[0]` is of 0 < |b − a| < 2^(lowestExponent + 1), `counts[i]` of those from
  /// 2^(lowestExponent + i) to twice that.
  public var lowestExponent: Int
  /// At most 32 bins; smaller differences are counted in the first.
  public var counts: [Int]

  /// Bins from the largest difference on: a factor of 2³².
  static let binLimit = 32

  /// - Parameter counts: of each exponent from `lowestExponent` on.
  /// - Returns: `nil` when there are none.
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

/// Counts the floating-point numbers of a type from one to another.
///
/// Numbers of one sign are ordered as their bits are, so the count is the difference of the bits;
/// across zero, the sum of the magnitudes' bits. Both zeros are one number.
enum UnitsInLastPlace: Sendable {
  case float16, bfloat16, float32, float64

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

  /// How many steps from `a` to `b`, both finite and exact in the type.
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
