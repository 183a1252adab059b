/// Memory of one thread's tape, kept from one use to the next.
///
/// A training step takes buffers of the same few sizes over and over, so freed ones wait, by their
/// size, for the next taker; memory never exceeds the largest step's.
final class BufferPool {
  private var idle: [Int: [UnsafeMutablePointer<Float>]] = [:]

  deinit {
    for pointers in idle.values { for pointer in pointers { pointer.deallocate() } }
  }

  /// A buffer of `count` floats that are not set.
  func take(_ count: Int) -> Buffer {
    let pointer = idle[count]?.popLast() ?? .allocate(capacity: max(1, count))
    return Buffer(pointer: pointer, count: count, pool: self)
  }

  func takeZeros(_ count: Int) -> Buffer {
    let buffer = take(count)
    buffer.pointer.update(repeating: 0, count: count)
    return buffer
  }

  /// Calls `body` with `count` floats that are not set.
  func withScratch<Result>(
    _ count: Int, _ body: (UnsafeMutablePointer<Float>) throws -> Result
  ) rethrows -> Result {
    let buffer = take(count)
    // The compiler may otherwise free the buffer after its last mention, before the pointer's.
    return try withExtendedLifetime(buffer) { try body(buffer.pointer) }
  }

  fileprivate func takeBack(_ pointer: UnsafeMutablePointer<Float>, _ count: Int) {
    idle[count, default: []].append(pointer)
  }

  /// Floats that go back to their pool when nobody refers to them any more.
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
