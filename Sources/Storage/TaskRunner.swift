/// Runs a number of independent tasks, in any order and on any number of threads, and throws the first
/// error by index.
///
/// ```swift
/// let onAllCores: TaskRunner = { count, task in try parallelMap(0..<count, threads: 8, task) }
/// ```
public typealias TaskRunner = (
  _ count: Int, _ task: @escaping @Sendable (Int) throws -> Void
) throws -> Void

/// A `TaskRunner` that runs one task after the other.
public let sequentially: @Sendable (Int, @Sendable (Int) throws -> Void) throws -> Void = {
  count, task in
  for index in 0..<count { try task(index) }
}
