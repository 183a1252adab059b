import CLibzip

/// libzip's view of a zip file open for reading; one thread at a time.
struct ZipHandle: ~Copyable {
  private let archive: OpaquePointer
  private let source: ZipInputSource

  /// Opens `file` with libzip's own consistency checks.
  init(opening file: InputFile) throws {
    // Reading through `InputFile` instead of a descriptor: duplicates of a descriptor share one
    // file position, so two archives over one file would disturb each other.
    source = ZipInputSource(file)
    var error = zip_error_t()
    zip_error_init(&error)
    defer { zip_error_fini(&error) }
    let function = source.handedToLibzip { zip_source_function_create($0, $1, &error) }
    guard let function else {
      throw FormatError.malformed(ZipError.message(&error), path: file.path)
    }
    let flags = ZIP_RDONLY | ZIP_CHECKCONS
    guard let archive = zip_open_from_source(function, flags, &error) else {
      zip_source_free(function)
      throw source.failure
        ?? FormatError.malformed(
          "not a sound zip archive: \(ZipError.message(&error))", path: file.path)
    }
    self.archive = archive
  }

  deinit { zip_discard(archive) }

  /// Compares what libzip read of each entry with `entries`.
  ///
  /// - Throws: `FormatError` on the first difference: such a file shows different content to
  ///   different programs.
  func checkAgreement(with entries: [ZipArchive.Entry], path: String) throws {
    let count = zip_get_num_entries(archive, 0)
    guard count == entries.count else {
      throw FormatError.mismatch(
        expected: "\(entries.count) zip entries", found: "\(count)", path: path)
    }
    for entry in entries {
      var status = zip_stat_t()
      let flags = zip_flags_t(ZIP_FL_ENC_RAW)
      let needed = zip_uint64_t(
        ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_CRC | ZIP_STAT_COMP_METHOD)
      guard zip_stat_index(archive, zip_uint64_t(entry.index), flags, &status) == 0,
        status.valid & needed == needed, let name = status.name,
        String(cString: name).utf8.elementsEqual(entry.name.utf8),
        status.size == zip_uint64_t(entry.byteCount),
        status.comp_size == zip_uint64_t(entry.compressedByteCount),
        status.crc == entry.crc32,
        status.comp_method == entry.method.number
      else {
        throw FormatError.malformed(
          "the zip directory can be read in two ways", path: path, tensor: entry.name)
      }
    }
  }

  /// The content of a deflated entry, of exactly the declared length.
  func inflate(_ entry: ZipArchive.Entry) throws -> SharedBytes {
    // `ZipCentralHeader` compared the length with what deflate can reach, before this allocation.
    try SharedBytes(count: entry.byteCount) { try inflate(entry, into: $0) }
  }

  /// The most bytes that libzip is asked for at once.
  private static let pieceByteCount = 1 << 30

  private func inflate(
    _ entry: ZipArchive.Entry, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    guard let file = zip_fopen_index(archive, zip_uint64_t(entry.index), 0) else {
      throw source.takeFailure() ?? failure(at: entry)
    }
    defer { zip_fclose(file) }
    var done = 0
    while done < buffer.count {
      // libzip returns lengths of 4 GiB and more cut to 32 bits.
      let end = min(buffer.count, done + Self.pieceByteCount)
      let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<end])
      let count = zip_fread(file, rest.baseAddress, zip_uint64_t(rest.count))
      guard count >= 0 else { throw source.takeFailure() ?? failure(of: file, at: entry) }
      guard count > 0 else {
        throw FormatError(
          .truncated(
            expectedBytes: buffer.count, foundBytes: done, purpose: "a deflated zip entry"),
          offset: entry.dataOffset)
      }
      done += Int(count)
    }
    // libzip compares length and checksum when it meets the end.
    var extra: UInt8 = 0
    let excess = zip_fread(file, &extra, 1)
    guard excess >= 0 else { throw source.takeFailure() ?? failure(of: file, at: entry) }
    guard excess == 0 else {
      throw FormatError.mismatch(
        expected: "\(counted(entry.byteCount, "byte")) in a deflated zip entry", found: "more",
        offset: entry.dataOffset)
    }
  }

  private func failure(at entry: ZipArchive.Entry) -> FormatError {
    FormatError.malformed(
      "the zip entry cannot be read: \(ZipError.message(zip_get_error(archive)))",
      offset: entry.dataOffset)
  }

  private func failure(of file: OpaquePointer, at entry: ZipArchive.Entry) -> FormatError {
    FormatError.malformed(
      "the zip entry cannot be read: \(ZipError.message(zip_file_get_error(file)))",
      offset: entry.dataOffset)
  }
}

extension ZipArchive.Method {
  /// As the directory has it.
  fileprivate var number: UInt16 {
    switch self {
    case .stored: 0
    case .deflated: 8
    case .other(let number): UInt16(number)
    }
  }
}

/// libzip's message for an error.
enum ZipError {
  static func message(_ error: UnsafeMutablePointer<zip_error_t>?) -> String {
    error.flatMap(zip_error_strerror).map { String(cString: $0) } ?? "unknown zip error"
  }
}
