import CLibzip
import Foundation

/// Serves an `InputFile` to libzip as a seekable source.
///
/// Used under the lock of the archive, or by `ZipHandle`'s initializer before anyone else sees it.
final class ZipInputSource {
  private let file: InputFile
  private var position: Int = 0
  /// The error of the operating system that made a call fail, which libzip knows as a number only.
  private(set) var failure: FormatError?

  init(_ file: InputFile) { self.file = file }

  func takeFailure() -> FormatError? {
    defer { failure = nil }
    return failure
  }

  /// The function that libzip calls with a retained `ZipInputSource`, until `ZIP_SOURCE_FREE`.
  static let callback: zip_source_callback = { state, data, count, command in
    guard let state else { return -1 }
    let source = Unmanaged<ZipInputSource>.fromOpaque(state)
    if command == ZIP_SOURCE_FREE {
      source.release()
      return 0
    }
    return source.takeUnretainedValue().handle(command, data, count)
  }

  private func handle(
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
      var error = zip_error_t()
      zip_error_init(&error)
      defer { zip_error_fini(&error) }
      guard let data else { return -1 }
      let target = zip_source_seek_compute_offset(
        zip_uint64_t(position), zip_uint64_t(file.byteCount), data, count, &error)
      guard target >= 0 else { return -1 }
      position = Int(target)
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

/// Answers to libzip's questions that every source gives alike.
enum ZipSourceCommand {
  /// The set of supported commands; libzip's own helper is variadic.
  static func bitmap(_ commands: [zip_source_cmd_t]) -> zip_int64_t {
    commands.reduce(0) { $0 | 1 << zip_int64_t($1.rawValue) }
  }

  static func stat(
    byteCount: Int, _ data: UnsafeMutableRawPointer?, _ count: zip_uint64_t
  ) -> zip_int64_t {
    guard let data, count >= MemoryLayout<zip_stat_t>.size else { return -1 }
    let status = data.assumingMemoryBound(to: zip_stat_t.self)
    zip_stat_init(status)
    status.pointee.size = zip_uint64_t(byteCount)
    status.pointee.valid = zip_uint64_t(ZIP_STAT_SIZE)
    return zip_int64_t(MemoryLayout<zip_stat_t>.size)
  }

  static func error(
    _ code: Int32, _ data: UnsafeMutableRawPointer?, _ count: zip_uint64_t
  ) -> zip_int64_t {
    guard let data, count >= 2 * MemoryLayout<Int32>.size else { return -1 }
    data.storeBytes(of: code, as: Int32.self)
    data.storeBytes(of: 0, toByteOffset: MemoryLayout<Int32>.size, as: Int32.self)
    return zip_int64_t(2 * MemoryLayout<Int32>.size)
  }
}
