import Foundation

/// How far the numbers of tensor B are from those of tensor A.
///
/// Pairs in which a number is NaN or infinite are left out of everything but the counts. NaN equals
/// NaN, whatever its bits, and zeros of both signs are equal.
public struct NumberComparison: Codable, Hashable, Sendable {
  public var elementCount: Int
  /// Pairs that differ by more than the tolerance, or of which only one is NaN or infinite.
  public var changedElementCount: Int
  /// `changedElementCount / elementCount`; 0 when there are no elements.
  public var changedShare: Double
  /// Pairs that differ and in which at least one number is NaN or infinite.
  public var nonFiniteDifferenceCount: Int
  /// max |b − a|.
  public var maximumAbsolute: Double
  /// max |b − a| / |a| over the pairs with b ≠ a; infinite when a is zero in one of them.
  public var maximumRelative: Double
  /// √(mean (b − a)²).
  public var rootMeanSquare: Double
  /// 10 log₁₀(Σa² / Σ(b − a)²) in decibels; infinite when nothing differs.
  public var signalToNoise: Double
  /// Σab / √(Σa² Σb²): 1 when both are zero, 0 when one is; `nil` when products of the numbers lie
  /// outside the range of `Double`.
  public var cosine: Double?
}

/// Sums up a `NumberComparison` piece by piece.
struct NumberComparisonSum {
  let tolerance: Double
  private var elementCount = 0
  private var finiteCount = 0
  private var changedCount = 0
  private var nonFiniteDifferenceCount = 0
  private var maximumAbsolute = 0.0
  private var maximumRelative = 0.0
  private var noise = SquareSum()
  private var signalA = SquareSum()
  private var signalB = SquareSum()
  private var product = 0.0

  /// - Parameter tolerance: absolute differences up to this many are none.
  init(tolerance: Double) {
    self.tolerance = tolerance
  }

  /// Adds pairs of elements.
  ///
  /// - Parameter differences: b − a where doubles cannot hold it: of 64-bit integers.
  mutating func add(_ a: [Double], _ b: [Double], differences: [Double]? = nil) {
    precondition(a.count == b.count, "pairs of elements come from equally many")
    elementCount += a.count
    a.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { b in
        for index in a.indices {
          add(a[index], b[index], difference: differences?[index] ?? b[index] - a[index])
        }
      }
    }
  }

  private mutating func add(_ a: Double, _ b: Double, difference: Double) {
    guard a.isFinite && b.isFinite else {
      if a != b && !(a.isNaN && b.isNaN) {
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
    noise.add(difference)
  }

  var comparison: NumberComparison {
    return NumberComparison(
      elementCount: elementCount, changedElementCount: changedCount,
      changedShare: elementCount == 0 ? 0 : Double(changedCount) / Double(elementCount),
      nonFiniteDifferenceCount: nonFiniteDifferenceCount,
      maximumAbsolute: maximumAbsolute, maximumRelative: maximumRelative,
      rootMeanSquare: finiteCount == 0 ? 0 : noise.root / Double(finiteCount).squareRoot(),
      signalToNoise: noise.root == 0 ? .infinity : 20 * log10(signalA.root / noise.root),
      cosine: cosine)
  }

  private var cosine: Double? {
    let (normA, normB) = (signalA.root, signalB.root)
    if normA == 0 || normB == 0 { return normA == normB ? 1 : 0 }
    guard product.isFinite, min(normA, normB) > SquareSum.small else { return nil }
    return max(-1, min(1, product / normA / normB))
  }
}

/// A sum of squares that neither overflows nor vanishes for any finite numbers.
///
/// Large, ordinary and small numbers are summed apart, after Blue, "A portable Fortran program to
/// find the Euclidean norm of a vector", ACM TOMS 4(1), 1978.
private struct SquareSum {
  /// Brings large numbers, and by its inverse small ones, to where their squares are normal.
  private static let unit = 0x1p-600
  private static let large = 0x1p480
  static let small = 0x1p-480

  private var largeSum = 0.0
  private var ordinarySum = 0.0
  private var smallSum = 0.0

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

  /// The square root of the sum.
  var root: Double {
    if largeSum > 0 {
      return (largeSum + ordinarySum * Self.unit * Self.unit).squareRoot() / Self.unit
    }
    if ordinarySum > 0 { return ordinarySum.squareRoot() }
    return smallSum.squareRoot() * Self.unit
  }
}
