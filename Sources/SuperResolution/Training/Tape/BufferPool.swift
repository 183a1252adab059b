/// Memory of one thread's tape, kept for reuse.
///
/// Training steps take buffers of the same few sizes, so a freed buffer waits for the next request
/// of its size. With equal steps, memory does not grow beyond the needs of one step.
final class BufferPool {
  private var idle: [Int: [UnsafeMutablePointer<Float>]] = [:]

  deinit {
    for pointers in idle.values { for pointer in pointers { pointer.deallocate() } }
  }

  /// Returns a buffer of `count` uninitialized floats.
  func take(_ count: Int) -> Buffer {
    let pointer = idle[count]?.popLast() ?? .allocate(capacity: max(1, count))
    return Buffer(pointer: pointer, count: count, pool: self)
  }

  func takeZeros(_ count: Int) -> Buffer {
    let buffer = take(count)
    buffer.pointer.update(repeating: 0, count: count)
    return buffer
  }

  /// Calls `body` with `count` uninitialized floats.
  func withScratch<Result>(
    _ count: Int, _ body: (UnsafeMutablePointer<Float>) throws -> Result
  ) rethrows -> Result {
    let buffer = take(count)
    // The compiler may otherwise free the buffer after its last use, before that of the pointer.
    return try withExtendedLifetime(buffer) { try body(buffer.pointer) }
  }

  fileprivate func takeBack(_ pointer: UnsafeMutablePointer<Float>, _ count: Int) {
    idle[count, default: []].append(pointer)
  }

  /// Floats that return to their pool when nothing refers to them any more.
  final class Buffer {
    let pointer: UnsafeMutablePointer<Float>
    let count: Int
    private let pool: BufferPool

    fileprivate init(pointer: UnsafeMutablePointer<Float>, count: Int, pool: BufferPool) {
      self.pointer = pointer
      self.count = count
      self.pool = pool
    }

    deinit { pool.takeBack(pointer, count) }
  }
}
