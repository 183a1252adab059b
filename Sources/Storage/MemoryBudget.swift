/// A bound on the number of bytes that several threads load at the same time.
///
/// A request waits until it fits alongside the requests in progress. A request larger than the
/// bound runs alone, so the threads together use no more memory than the largest request needs
/// anyway.
// Sendable: the variables are only accessed under the condition's lock.
package final class MemoryBudget: @unchecked Sendable {
  private let limit: Int
  private var inUse = 0
  private var mostInUse = 0
  private let condition = Condition()

  /// - Parameter limit: The number of bytes that may be in use together.
  package init(limit: Int) {
    self.limit = limit
  }

  /// Returns a budget for matrices that are processed as a whole, each on one thread: 1 GiB, or the
  /// size of the largest matrix if that is more.
  package static func forMatrices(ofElementCounts counts: [Int]) -> MemoryBudget {
    MemoryBudget(limit: max(1 << 30, counts.map(matrixByteCount).max() ?? 0))
  }

  /// Returns the approximate size of a matrix in double precision together with its source
  /// elements.
  static func matrixByteCount(elementCount: Int) -> Int {
    let (byteCount, overflow) = elementCount.multipliedReportingOverflow(by: 12)
    return overflow ? .max : byteCount
  }

  /// The largest number of bytes that were in use together.
  package var peakByteCount: Int {
    condition.withLock { mostInUse }
  }

  /// Runs `body` once a matrix of `elementCount` elements fits the budget.
  package func using<Result>(
    elementCount: Int, _ body: () throws -> Result
  ) rethrows -> Result {
    try using(Self.matrixByteCount(elementCount: elementCount), body)
  }

  /// Runs `body` once `byteCount` bytes fit the budget.
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
