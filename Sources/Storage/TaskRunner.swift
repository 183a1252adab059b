/// A function that runs `count` independent tasks, in any order and on any number of threads.
///
/// If tasks fail, it throws the error of the failed task with the lowest index.
///
/// ```swift
/// let onAllCores: TaskRunner = { count, task in try parallelMap(0..<count, threads: 8, task) }
/// ```
public typealias TaskRunner = (
  _ count: Int, _ task: @escaping @Sendable (Int) throws -> Void
) throws -> Void

/// A `TaskRunner` that runs the tasks one after another.
public let sequentially: @Sendable (Int, @Sendable (Int) throws -> Void) throws -> Void = {
  count, task in
  for index in 0..<count { try task(index) }
}
