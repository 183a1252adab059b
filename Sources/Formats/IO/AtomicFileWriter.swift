import Foundation

/// A file that appears at its path whole or not at all.
///
/// Bytes go to a temporary file in the same folder; `finish()` makes them durable and renames the
/// file into place. A writer that is dropped before that removes its temporary file, so nothing is
/// left behind and an existing file stays as it was. What a process leaves that is killed without
/// warning, the next writer in the same folder removes.
public struct AtomicFileWriter: ~Copyable {
  /// The path as the user gave it.
  public let path: String
  private let destination: OutputDestination
  private let temporary: TemporaryFile
  private var position: Int
  private var isFinished: Bool

  /// Begins a file, under another name in the folder of `path` until it is finished.
  ///
  /// - Parameter replacesExisting: when false, an existing file at `path` is an error, both now
  ///   and at `finish()`.
  /// - Throws: `FormatError` when something is in the way, and when the folder cannot be written.
  public init(path: String, replacesExisting: Bool = false) throws {
    let destination = try OutputDestination(path: path, replacesExisting: replacesExisting)
    let temporary = try TemporaryFile(for: destination, path: path)
    self.path = path
    self.destination = destination
    self.temporary = temporary
    self.position = 0
    self.isFinished = false
  }

  deinit {
    if !isFinished { temporary.remove() }
  }

  /// Bytes appended so far: the offset of what is appended next.
  public var byteCount: Int { position }

  /// Sets the file's length, reserving the space: what every writer does before its first tensor.
  ///
  /// - Parameter byteCount: the file's length; one that may grow less calls `advance(to:)` at its end.
  /// - Throws: `FormatError` when the disk has not enough space, before anything is written.
  func preallocate(byteCount: Int) throws {
    try placement.reserve(byteCount: byteCount)
  }

  /// For placing bytes at offsets, from several threads where it helps; valid until `finish()`.
  package var placement: PositionalFile {
    PositionalFile(path: path, descriptor: temporary.descriptor)
  }

  /// Appends `bytes`.
  public mutating func append(_ bytes: SharedBytes) throws {
    try placement.write(bytes, at: position)
    position += bytes.count
  }

  /// Appends `bytes`.
  public mutating func append(_ bytes: [UInt8]) throws {
    try bytes.withUnsafeBytes { try placement.write($0, at: position) }
    position += bytes.count
  }

  /// Counts bytes that were put at offsets as appended, up to `end`; what was reserved beyond is given
  /// back.
  mutating func advance(to end: Int) throws {
    try placement.truncate(toByteCount: end)
    position = end
  }

  /// Makes the bytes durable and puts the file at its path.
  ///
  /// - Throws: `FormatError` when the disk fails, when something appeared at the path meanwhile, and
  ///   when bytes of a mapped input turned out to be missing.
  public consuming func finish() throws {
    try SignalHandlers.checkInputs()
    guard fsync(temporary.descriptor) == 0 else {
      throw FormatError(.system(operation: "write", code: errno), path: path)
    }
    try destination.place(temporary.path, calledBy: path)
    temporary.remove()
    isFinished = true
    destination.synchronizeFolder()
  }
}
