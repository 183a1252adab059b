/// Bounds the bytes that several threads load at the same time.
///
/// A request waits until it fits beside those that are under way; one that is larger than the bound
/// goes alone. So threads share the memory that the largest request takes anyway.
// Sendable: its variables are touched under the condition's lock only.
package final class MemoryBudget: @unchecked Sendable {
  private let limit: Int
  private var inUse = 0
  private var mostInUse = 0
  private let condition = Condition()

  /// - Parameter limit: bytes that may be in use together.
  package init(limit: Int) {
    self.limit = limit
  }

  /// A bound for matrices that are worked on as a whole, each on one thread: 1 GiB, or what the largest
  /// takes.
  package static func forMatrices(ofElementCounts counts: [Int]) -> MemoryBudget {
    MemoryBudget(limit: max(1 << 30, counts.map(matrixByteCount).max() ?? 0))
  }

  /// About what a matrix takes in double precision, with the elements that it is made of.
  static func matrixByteCount(elementCount: Int) -> Int {
    let (byteCount, overflow) = elementCount.multipliedReportingOverflow(by: 12)
    return overflow ? .max : byteCount
  }

  /// The most bytes that were in use together.
  package var peakByteCount: Int {
    condition.withLock { mostInUse }
  }

  /// Runs `body` while `elementCount` elements of a matrix are in memory.
  package func using<Result>(
    elementCount: Int, _ body: () throws -> Result
  ) rethrows -> Result {
    try using(Self.matrixByteCount(elementCount: elementCount), body)
  }

  /// Runs `body` while `byteCount` bytes count as in use.
  package func using<Result>(_ byteCount: Int, _ body: () throws -> Result) rethrows -> Result {
    condition.withLock {
      while inUse > 0, byteCount > limit - inUse { condition.wait() }
      inUse += byteCount
      mostInUse = max(mostInUse, inUse)
    }
    defer {
      condition.withLock {
        inUse -= byteCount
        condition.broadcast()
      }
    }
    return try body()
  }
}
