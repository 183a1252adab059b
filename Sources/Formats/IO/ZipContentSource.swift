import CLibzip

/// Serves one entry's content to libzip, holding the bytes only between open and close.
final class ZipContentSource: ZipSource {
  private let name: String
  private let byteCount: Int
  private let content: () throws -> SharedBytes
  private let progress: ZipWriter.Progress
  private var bytes = SharedBytes()
  private var position = 0

  init(
    name: String, byteCount: Int, content: @escaping () throws -> SharedBytes,
    progress: ZipWriter.Progress
  ) {
    self.name = name
    self.byteCount = byteCount
    self.content = content
    self.progress = progress
  }

  func handle(
    _ command: zip_source_cmd_t, _ data: UnsafeMutableRawPointer?, _ count: zip_uint64_t
  ) -> zip_int64_t {
    switch command {
    case ZIP_SOURCE_OPEN: return open()
    case ZIP_SOURCE_READ:
      let wanted = min(Int(clamping: count), bytes.count - position)
      guard wanted > 0, let data else { return 0 }
      bytes.withUnsafeBytes {
        data.copyMemory(from: $0.baseAddress! + position, byteCount: wanted)
      }
      position += wanted
      return zip_int64_t(wanted)
    case ZIP_SOURCE_CLOSE:
      bytes = SharedBytes()
      return 0
    case ZIP_SOURCE_STAT: return ZipSourceCommand.stat(byteCount: byteCount, data, count)
    case ZIP_SOURCE_ERROR: return ZipSourceCommand.error(ZIP_ER_READ, data, count)
    case ZIP_SOURCE_SUPPORTS:
      return ZipSourceCommand.bitmap([
        ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR,
        ZIP_SOURCE_FREE, ZIP_SOURCE_SUPPORTS,
      ])
    default: return -1
    }
  }

  private func open() -> zip_int64_t {
    do {
      bytes = try content()
      guard bytes.count == byteCount else {
        throw FormatError(
          .truncated(expectedBytes: byteCount, foundBytes: bytes.count, purpose: "a zip entry"),
          entry: name)
      }
      position = 0
      return 0
    } catch {
      progress.error = error
      return -1
    }
  }
}
