import CLibzip

/// Writes a zip archive whose bytes depend on the entries alone.
///
/// Entries are written in the order they were added, one in memory at a time; their dates are all
/// 1980-01-01. Records larger than 4 GiB, and archives that grow beyond, use zip64.
package struct ZipWriter {
  package enum Compression: Sendable {
    case stored
    case deflated
  }

  private struct Entry {
    let name: String
    let byteCount: Int
    let compression: Compression
    let alignment: Int
    let content: () throws -> SharedBytes
  }

  private var entries: [Entry] = []
  private var hasDeflated = false

  package init() {}

  /// Adds an entry whose content is asked for while writing.
  ///
  /// - Parameters:
  ///   - name: must not have been added before.
  ///   - byteCount: of the content, before compression.
  ///   - alignment: the content of a stored entry begins at a multiple of this, by padding the local
  ///     header with an extra field `FB` as torch does. Every entry before an aligned one must be
  ///     stored, because only then its place is known in advance.
  ///   - content: gives exactly `byteCount` bytes; its error ends the writing and is rethrown.
  package mutating func add(
    _ name: String, byteCount: Int, compression: Compression = .stored, alignment: Int = 1,
    content: @escaping () throws -> SharedBytes
  ) {
    precondition((1...0x8000).contains(alignment), "a zip alignment is between 1 and 32768")
    hasDeflated = hasDeflated || compression == .deflated
    precondition(
      alignment == 1 || !hasDeflated, "an aligned zip entry and all before it are stored")
    entries.append(
      Entry(
        name: name, byteCount: byteCount, compression: compression, alignment: alignment,
        content: content))
  }

  /// Adds a stored or deflated entry that is in memory already.
  package mutating func add(
    _ name: String, _ bytes: SharedBytes, compression: Compression = .stored, alignment: Int = 1
  ) {
    add(name, byteCount: bytes.count, compression: compression, alignment: alignment) { bytes }
  }

  /// Writes the archive as the whole content of `writer`, which the caller finishes.
  package func write(to writer: inout AtomicFileWriter) throws {
    guard !entries.isEmpty else {
      // libzip removes an archive without entries; this is its end record.
      try writer.append([0x50, 0x4B, 0x05, 0x06] + [UInt8](repeating: 0, count: 18))
      return
    }
    let output = ZipOutputSource(writer.placement)
    let archive = try Self.open(output)
    let progress = Progress()
    do {
      var offset = 0
      for entry in entries {
        try locatingErrors(entry: entry.name) {
          try add(entry, to: archive, at: &offset, progress)
        }
      }
      try writer.preallocate(byteCount: offset + directoryByteCountLimit - deflatedByteCount)
      // Everything is written here: libzip calls the sources one after another.
      guard zip_close(archive) == 0 else {
        throw output.failure ?? failure(of: archive, progress)
      }
    } catch {
      zip_discard(archive)
      throw error
    }
    try writer.advance(to: output.byteCount)
  }

  /// Bytes of content whose length as stored nobody knows before.
  private var deflatedByteCount: Int {
    entries.reduce(0) { $0 + ($1.compression == .deflated ? $1.byteCount : 0) }
  }

  /// What follows the contents, at most: a header of 46 bytes for each entry, with its name and three
  /// lengths of zip64, and the two end records with the locator between them.
  private var directoryByteCountLimit: Int {
    entries.reduce(22 + 56 + 20) { $0 + 46 + $1.name.utf8.count + 28 }
  }

  private static func open(_ output: ZipOutputSource) throws -> OpaquePointer {
    var error = zip_error_t()
    zip_error_init(&error)
    defer { zip_error_fini(&error) }
    let source = output.handedToLibzip { zip_source_function_create($0, $1, &error) }
    guard let source else {
      throw ModelError.malformed("cannot write a zip archive: \(ZipError.message(&error))")
    }
    // ZIP_TRUNCATE: the temporary file exists already and is empty, which is no archive.
    guard let archive = zip_open_from_source(source, ZIP_CREATE | ZIP_TRUNCATE, &error) else {
      zip_source_free(source)
      throw ModelError.malformed("cannot write a zip archive: \(ZipError.message(&error))")
    }
    return archive
  }

  private func add(
    _ entry: Entry, to archive: OpaquePointer, at offset: inout Int, _ progress: Progress
  ) throws {
    let content = ZipContentSource(
      name: entry.name, byteCount: entry.byteCount, content: entry.content, progress: progress)
    guard let source = content.handedToLibzip({ zip_source_function(archive, $0, $1) }) else {
      throw failure(of: archive, progress)
    }
    let index = zip_file_add(archive, entry.name, source, zip_flags_t(ZIP_FL_ENC_UTF_8))
    guard index >= 0 else {
      zip_source_free(source)
      throw failure(of: archive, progress)
    }
    let position = zip_uint64_t(index)
    let method = entry.compression == .stored ? ZIP_CM_STORE : ZIP_CM_DEFLATE
    guard zip_set_file_compression(archive, position, method, 0) == 0,
      zip_file_set_dostime(archive, position, 0, 0x0021, 0) == 0
    else { throw failure(of: archive, progress) }

    // Where libzip will put the content: 30 bytes, the name, and 20 bytes of zip64 lengths where
    // they need more than 32 bits.
    let headerCount = 30 + entry.name.utf8.count + (entry.byteCount >= 0xFFFF_FFFF ? 20 : 0)
    var paddingCount = 0
    if entry.alignment > 1, !(offset + headerCount).isMultiple(of: entry.alignment) {
      let start = offset + headerCount + 4
      let fill = (entry.alignment - start % entry.alignment) % entry.alignment
      paddingCount = 4 + fill
      let padding = [UInt8](repeating: UInt8(ascii: "Z"), count: fill)
      guard
        zip_file_extra_field_set(
          archive, position, 0x4246, 0, padding, zip_uint16_t(fill), zip_flags_t(ZIP_FL_LOCAL)) == 0
      else { throw failure(of: archive, progress) }
    }
    offset += headerCount + paddingCount + entry.byteCount
  }

  private func failure(of archive: OpaquePointer, _ progress: Progress) -> any Error {
    if let error = progress.error { return error }
    let error = zip_get_error(archive)
    let system = zip_error_code_system(error)
    if zip_error_system_type(error) == ZIP_ET_SYS, system != 0 {
      return ModelError(.system(operation: "write", code: system))
    }
    return ModelError.malformed("cannot write a zip archive: \(ZipError.message(error))")
  }

  /// What happened inside libzip's callbacks, which cannot throw.
  package final class Progress {
    package var error: (any Error)?
  }
}

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
        throw ModelError(
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
