/// A float32 matrix on a tape, `[rows, columns]`, row-major, with the loss's gradient by it.
///
/// Features of a picture have a row for each pixel, counted by rows of the picture.
final class Variable {
  let rows: Int
  let columns: Int
  /// Whether anything that is learned has had a part in it.
  let needsGradient: Bool
  private let owner: BufferPool.Buffer?
  let values: UnsafeMutablePointer<Float>
  private(set) var gradient: BufferPool.Buffer?

  /// Values that `buffer` owns.
  init(rows: Int, columns: Int, needsGradient: Bool, _ buffer: BufferPool.Buffer) {
    precondition(buffer.count == rows * columns, "a buffer of another size")
    self.rows = rows
    self.columns = columns
    self.needsGradient = needsGradient
    owner = buffer
    values = buffer.pointer
  }

  /// Values that someone else owns for longer than the tape lives, and that no operation changes.
  init(borrowing values: UnsafePointer<Float>, rows: Int, columns: Int, needsGradient: Bool) {
    self.rows = rows
    self.columns = columns
    self.needsGradient = needsGradient
    owner = nil
    self.values = UnsafeMutablePointer(mutating: values)
  }

  var count: Int { rows * columns }

  /// The buffer of the values, for an operation whose result may lie in it because the operation
  /// that made this variable does not look at them again.
  func buffer() -> BufferPool.Buffer {
    guard let owner else { preconditionFailure("borrowed values are not given away") }
    return owner
  }

  // MARK: Gradient

  /// The gradient, which is given away with this: nothing can be added any more.
  func takeGradient() -> BufferPool.Buffer? {
    defer { gradient = nil }
    return gradient
  }

  /// Adds `part`, which may become the gradient itself.
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

  /// The gradient to add to, all zeros if there was none yet.
  func gradientToAddTo(_ pool: BufferPool) -> BufferPool.Buffer {
    if let gradient { return gradient }
    let fresh = pool.takeZeros(count)
    gradient = fresh
    return fresh
  }
}
