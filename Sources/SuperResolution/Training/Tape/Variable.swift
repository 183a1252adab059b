/// A float32 matrix on a tape, `[rows, columns]`, row-major, with the gradient of the loss with
/// respect to it.
///
/// Features of an image have one row per pixel, in row-major order.
final class Variable {
  let rows: Int
  let columns: Int
  /// Whether the variable depends on anything that is learned.
  let needsGradient: Bool
  private let owner: BufferPool.Buffer?
  let values: UnsafeMutablePointer<Float>
  private(set) var gradient: BufferPool.Buffer?

  /// Creates a variable whose values `buffer` owns.
  init(rows: Int, columns: Int, needsGradient: Bool, _ buffer: BufferPool.Buffer) {
    precondition(buffer.count == rows * columns, "a buffer of another size")
    self.rows = rows
    self.columns = columns
    self.needsGradient = needsGradient
    owner = buffer
    values = buffer.pointer
  }

  /// Creates a variable whose values belong to an owner that outlives the tape. No operation
  /// changes them.
  init(borrowing values: UnsafePointer<Float>, rows: Int, columns: Int, needsGradient: Bool) {
    self.rows = rows
    self.columns = columns
    self.needsGradient = needsGradient
    owner = nil
    self.values = UnsafeMutablePointer(mutating: values)
  }

  var count: Int { rows * columns }

  /// Returns the buffer of the values, for an operation that may store its result there because the
  /// operation that made this variable does not read them again.
  func buffer() -> BufferPool.Buffer {
    guard let owner else { preconditionFailure("borrowed values are not given away") }
    return owner
  }

  // MARK: Gradient

  /// Gives the gradient away; nothing can be added to it any more.
  func takeGradient() -> BufferPool.Buffer? {
    defer { gradient = nil }
    return gradient
  }

  /// Adds `part`, which may itself become the gradient.
  func add(gradient part: BufferPool.Buffer) {
    guard needsGradient else { return }
    precondition(part.count == count, "a gradient of another size")
    guard let gradient else {
      self.gradient = part
      return
    }
    let (sum, addend) = (gradient.pointer, part.pointer)
    for index in 0..<count { sum[index] += addend[index] }
  }

  /// Returns the gradient for accumulation, initialized to zeros if there was none.
  func gradientToAddTo(_ pool: BufferPool) -> BufferPool.Buffer {
    if let gradient { return gradient }
    let fresh = pool.takeZeros(count)
    gradient = fresh
    return fresh
  }
}
