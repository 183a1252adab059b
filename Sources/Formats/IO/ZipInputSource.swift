import CLibzip
import Foundation

/// Serves an `InputFile` to libzip as a seekable source.
///
/// Used under the lock of the archive, or by `ZipHandle`'s initializer before anyone else sees it.
final class ZipInputSource: ZipSource {
  private let file: InputFile
  private var position: Int = 0
  /// The error of the operating system that made a call fail, which libzip knows as a number only.
  private(set) var failure: FormatError?

  init(_ file: InputFile) { self.file = file }

  func takeFailure() -> FormatError? {
    defer { failure = nil }
    return failure
  }

  func handle(
    _ command: zip_source_cmd_t, _ data: UnsafeMutableRawPointer?, _ count: zip_uint64_t
  ) -> zip_int64_t {
    switch command {
    case ZIP_SOURCE_OPEN:
      position = 0
      return 0
    case ZIP_SOURCE_CLOSE: return 0
    case ZIP_SOURCE_TELL: return zip_int64_t(position)
    case ZIP_SOURCE_READ: return read(into: data, count: count)
    case ZIP_SOURCE_SEEK:
      let target = ZipSourceCommand.seek(from: position, byteCount: file.byteCount, data, count)
      guard let target else { return -1 }
      position = target
      return 0
    case ZIP_SOURCE_STAT: return ZipSourceCommand.stat(byteCount: file.byteCount, data, count)
    case ZIP_SOURCE_ERROR: return ZipSourceCommand.error(ZIP_ER_READ, data, count)
    case ZIP_SOURCE_SUPPORTS:
      return ZipSourceCommand.bitmap([
        ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR,
        ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_SUPPORTS,
      ])
    default: return -1
    }
  }

  private func read(into data: UnsafeMutableRawPointer?, count: zip_uint64_t) -> zip_int64_t {
    let wanted = min(Int(clamping: count), file.byteCount - position)
    guard wanted > 0, let data else { return 0 }
    do {
      let bytes = try file.bytes(at: position, count: wanted, purpose: "the zip archive")
      bytes.withUnsafeBytes { data.copyMemory(from: $0.baseAddress!, byteCount: wanted) }
    } catch {
      failure = error as? FormatError
      return -1
    }
    position += wanted
    return zip_int64_t(wanted)
  }
}
