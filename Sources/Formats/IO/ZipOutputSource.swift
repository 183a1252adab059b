import CLibzip

/// Lets libzip write an archive through a `PositionalFile`, so that an unfinished one has the same
/// single temporary file as any other output, and errors of the disk keep their number.
///
/// Used by one thread, inside `ZipWriter.write`.
final class ZipOutputSource: ZipSource {
  private let placement: PositionalFile
  /// Small pieces are collected; libzip goes back only to fill in a header.
  private var pending: [UInt8] = []
  private var pendingOffset = 0
  private var position = 0
  /// The end of what was written.
  private(set) var byteCount = 0
  /// The error that made a call fail, which libzip knows as a number only.
  private(set) var failure: (any Error)?

  private static let pendingLimit = 1 << 20

  init(_ placement: PositionalFile) { self.placement = placement }

  func handle(
    _ command: zip_source_cmd_t, _ data: UnsafeMutableRawPointer?, _ count: zip_uint64_t
  ) -> zip_int64_t {
    switch command {
    // As an archive to be read it is empty.
    case ZIP_SOURCE_OPEN, ZIP_SOURCE_CLOSE, ZIP_SOURCE_READ, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL:
      return 0
    case ZIP_SOURCE_BEGIN_WRITE, ZIP_SOURCE_ROLLBACK_WRITE, ZIP_SOURCE_REMOVE: return 0
    case ZIP_SOURCE_WRITE:
      guard let data else { return count == 0 ? 0 : -1 }
      return attempt {
        try write(UnsafeRawBufferPointer(start: data, count: Int(count)))
        return zip_int64_t(count)
      }
    case ZIP_SOURCE_COMMIT_WRITE:
      return attempt {
        try flush()
        return 0
      }
    case ZIP_SOURCE_TELL_WRITE: return zip_int64_t(position)
    case ZIP_SOURCE_SEEK_WRITE:
      let target = ZipSourceCommand.seek(from: position, byteCount: byteCount, data, count)
      guard let target else { return -1 }
      position = target
      return 0
    case ZIP_SOURCE_STAT: return ZipSourceCommand.stat(byteCount: 0, data, count)
    case ZIP_SOURCE_ERROR: return ZipSourceCommand.error(ZIP_ER_WRITE, data, count)
    case ZIP_SOURCE_SUPPORTS:
      return ZipSourceCommand.bitmap([
        ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR,
        ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_SUPPORTS,
        ZIP_SOURCE_BEGIN_WRITE, ZIP_SOURCE_COMMIT_WRITE, ZIP_SOURCE_ROLLBACK_WRITE,
        ZIP_SOURCE_WRITE, ZIP_SOURCE_SEEK_WRITE, ZIP_SOURCE_TELL_WRITE, ZIP_SOURCE_REMOVE,
      ])
    default: return -1
    }
  }

  private func attempt(_ body: () throws -> zip_int64_t) -> zip_int64_t {
    do {
      return try body()
    } catch {
      failure = failure ?? error
      return -1
    }
  }

  private func write(_ bytes: UnsafeRawBufferPointer) throws {
    if position != pendingOffset + pending.count || pending.count >= Self.pendingLimit {
      try flush()
    }
    pending.append(contentsOf: bytes)
    position += bytes.count
    byteCount = max(byteCount, position)
  }

  private func flush() throws {
    try pending.withUnsafeBytes { try placement.write($0, at: pendingOffset) }
    pending.removeAll(keepingCapacity: true)
    pendingOffset = position
  }
}
