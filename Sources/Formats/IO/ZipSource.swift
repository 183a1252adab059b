import CLibzip

/// Something that libzip reads an archive or an entry from, or writes an archive to.
///
/// See `zip_source_function(3)` for the commands and what they return.
protocol ZipSource: AnyObject {
  func handle(
    _ command: zip_source_cmd_t, _ data: UnsafeMutableRawPointer?, _ count: zip_uint64_t
  ) -> zip_int64_t
}

extension ZipSource {
  /// Makes libzip's own source, which keeps this one until `ZIP_SOURCE_FREE`.
  ///
  /// - Parameter make: calls the function of libzip that takes a callback and its state.
  /// - Returns: what `make` returns; `nil` is its failure.
  func handedToLibzip(
    _ make: (zip_source_callback, UnsafeMutableRawPointer) -> OpaquePointer?
  ) -> OpaquePointer? {
    let state = Unmanaged.passRetained(ZipSourceState(self))
    let source = make(ZipSourceState.callback, state.toOpaque())
    if source == nil { state.release() }
    return source
  }
}

/// A source as libzip holds it: a function without a context, and a pointer without a type.
private final class ZipSourceState {
  private let source: any ZipSource

  init(_ source: any ZipSource) { self.source = source }

  static let callback: zip_source_callback = { state, data, count, command in
    guard let state else { return -1 }
    let reference = Unmanaged<ZipSourceState>.fromOpaque(state)
    if command == ZIP_SOURCE_FREE {
      reference.release()
      return 0
    }
    return reference.takeUnretainedValue().source.handle(command, data, count)
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

  /// The place that a seek asks for, or `nil` when it is outside.
  static func seek(
    from position: Int, byteCount: Int, _ data: UnsafeMutableRawPointer?, _ count: zip_uint64_t
  ) -> Int? {
    var error = zip_error_t()
    zip_error_init(&error)
    defer { zip_error_fini(&error) }
    guard let data else { return nil }
    let target = zip_source_seek_compute_offset(
      zip_uint64_t(position), zip_uint64_t(byteCount), data, count, &error)
    return target >= 0 ? Int(target) : nil
  }
}
