import CLibzip

/// Writes a zip archive whose bytes depend on the entries alone.
///
/// Entries are written in the order they were added, one in memory at a time; their dates are all
/// 1980-01-01. Records larger than 4 GiB, and archives that grow beyond, use zip64.
struct ZipWriter {
  enum Compression: Sendable {
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

  init() {}

  /// Adds an entry whose content is asked for while writing.
  ///
  /// - Parameters:
  ///   - name: must not have been added before.
  ///   - byteCount: of the content, before compression.
  ///   - alignment: the content of a stored entry begins at a multiple of this, by padding the local
  ///     header with an extra field `FB` as torch does. Every entry before an aligned one must be
  ///     stored, because only then its place is known in advance.
  ///   - content: gives exactly `byteCount` bytes; its error ends the writing and is rethrown.
  mutating func add(
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
  mutating func add(
    _ name: String, _ bytes: SharedBytes, compression: Compression = .stored, alignment: Int = 1
  ) {
    add(name, byteCount: bytes.count, compression: compression, alignment: alignment) { bytes }
  }

  /// Writes the archive as the whole content of `writer`, which the caller finishes.
  func write(to writer: inout AtomicFileWriter) throws {
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
      throw FormatError.malformed("cannot write a zip archive: \(ZipError.message(&error))")
    }
    // ZIP_TRUNCATE: the temporary file exists already and is empty, which is no archive.
    guard let archive = zip_open_from_source(source, ZIP_CREATE | ZIP_TRUNCATE, &error) else {
      zip_source_free(source)
      throw FormatError.malformed("cannot write a zip archive: \(ZipError.message(&error))")
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
      return FormatError(.system(operation: "write", code: system))
    }
    return FormatError.malformed("cannot write a zip archive: \(ZipError.message(error))")
  }

  /// What happened inside libzip's callbacks, which cannot throw.
  final class Progress {
    var error: (any Error)?
  }
}
