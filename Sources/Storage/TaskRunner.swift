/// A function that runs `count` independent tasks on any number of threads.
///
/// Tasks may end in any order. Those that write a compressed archive wait for those before them, so
/// tasks are started in the order of their indices. If tasks fail, it throws the error of the failed task with the lowest index.
///
/// ```swift
/// let cancellable: TaskRunner = { count, task in
///   for index in 0..<count {
///     try Task.checkCancellation()
///     try task(index)
///   }
/// }
/// ```
public typealias TaskRunner = (
  _ count: Int, _ task: @escaping @Sendable (Int) throws -> Void
) throws -> Void

/// A `TaskRunner` that runs the tasks one after another.
///
/// ```swift
/// try sequentially(3) { print($0) }  // 0, 1, 2
/// ```
public let sequentially: @Sendable (Int, @Sendable (Int) throws -> Void) throws -> Void = {
  count, task in
  for index in 0..<count { try task(index) }
}
