/// The bytes that one or more tensors lie in, loaded when asked for.
///
/// Identity matters: two tensors share memory in their file exactly when they name the same
/// storage object.
package final class TensorStorage: Sendable {
  /// The storage's length, known from the file's index.
  package let byteCount: Int
  private let load: @Sendable () throws -> SharedBytes

  /// - Parameter load: gives exactly `byteCount` bytes, each time it is called. Nothing is cached,
  ///   so that memory is bounded by what callers hold.
  package init(byteCount: Int, load: @escaping @Sendable () throws -> SharedBytes) {
    self.byteCount = byteCount
    self.load = load
  }

  /// A storage whose bytes are in memory already.
  package convenience init(_ bytes: SharedBytes) {
    self.init(byteCount: bytes.count) { bytes }
  }

  /// All bytes, read anew.
  package func bytes() throws -> SharedBytes {
    let bytes = try load()
    guard bytes.count == byteCount else {
      throw FormatError(
        .truncated(
          expectedBytes: byteCount, foundBytes: bytes.count, purpose: "a tensor's storage"))
    }
    return bytes
  }
}
