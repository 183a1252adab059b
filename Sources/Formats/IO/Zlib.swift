import CZlib

/// Compression by zlib.
package enum Zlib {
  /// Deflate cannot expand its input more than this: a stored block of a bit per 258-byte match.
  static let largestExpansion = 1032

  /// `bytes` as one zlib stream (RFC 1950) at level 9: the same for the same zlib version.
  static func compress(_ bytes: SharedBytes) -> [UInt8] {
    var stream = z_stream()
    precondition(condi_deflate_init(&stream, 9, 15) == Z_OK, "out of memory in zlib")
    defer { deflateEnd(&stream) }
    return bytes.withUnsafeBytes { input in
      var output: [UInt8] = []
      var consumed = 0
      var status = Z_OK
      while status != Z_STREAM_END {
        let piece = min(input.count - consumed, chunkByteCount)
        let isLast = consumed + piece == input.count
        status = step(
          &stream, input, from: consumed, count: piece, appendingTo: &output
        ) { deflate(&$0, isLast ? Z_FINISH : Z_NO_FLUSH) }
        precondition(status >= Z_OK || status == Z_BUF_ERROR, "zlib lost its state")
        consumed += piece - Int(stream.avail_in)
      }
      return output
    }
  }

  /// The content of the zlib stream `bytes`.
  ///
  /// - Parameter byteCount: the declared length, which is checked before memory is taken.
  /// - Throws: `FormatError` when the stream is damaged, is not all of `bytes`, or has another
  ///   length than declared.
  static func decompress(_ bytes: SharedBytes, byteCount: Int, purpose: String) throws
    -> SharedBytes
  {
    let largest = bytes.count.multipliedReportingOverflow(by: largestExpansion)
    guard largest.overflow || byteCount <= largest.partialValue else {
      throw FormatError.mismatch(
        expected: "at most \(largest.partialValue) bytes from \(bytes.count) compressed for "
          + purpose,
        found: "\(byteCount) declared")
    }
    var stream = z_stream()
    guard condi_inflate_init(&stream, 15) == Z_OK else {
      throw FormatError(.system(operation: "inflate \(purpose)", code: 12))
    }
    defer { inflateEnd(&stream) }
    return try bytes.withUnsafeBytes { input in
      try SharedBytes(count: byteCount) { output in
        try inflateAll(input, into: output, stream: &stream, purpose: purpose)
      }
    }
  }

  /// What surrounds deflated data.
  package enum Wrapping: Int32 {
    case none = -15
    /// RFC 1950.
    case zlib = 15
    /// RFC 1952.
    case gzip = 31
  }

  /// The content of deflated data as far as it can be had, for looking into what is damaged or not
  /// vouched for.
  ///
  /// - Returns: at most `limit` bytes.
  package static func inflateWhatCanBe(
    _ bytes: SharedBytes, in wrapping: Wrapping = .none, limit: Int
  ) -> SharedBytes {
    var stream = z_stream()
    guard condi_inflate_init(&stream, wrapping.rawValue) == Z_OK else { return SharedBytes() }
    defer { inflateEnd(&stream) }
    var output: [UInt8] = []
    bytes.withUnsafeBytes { input in
      let count = min(input.count, chunkByteCount)
      stream.next_in = UnsafeMutablePointer(
        mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
      stream.avail_in = UInt32(count)
      var status = Z_OK
      while status == Z_OK, output.count < limit {
        let before = output.count
        output += [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, written in
          stream.next_out = buffer.baseAddress
          stream.avail_out = UInt32(buffer.count)
          status = inflate(&stream, Z_NO_FLUSH)
          written = buffer.count - Int(stream.avail_out)
        }
        if output.count == before { break }
      }
    }
    return SharedBytes(output.prefix(limit))
  }

  /// Whether the two bytes at `position` can be the first of a zlib stream (RFC 1950, 2.2) with the
  /// largest window and without a preset dictionary.
  static func mayBegin(_ bytes: SharedBytes, at position: Int) -> Bool {
    bytes.withUnsafeBytes { buffer in
      guard position + 1 < buffer.count, buffer[position] == 0x78 else { return false }
      let flags = buffer[position + 1]
      return flags & 0x20 == 0 && (0x7800 + Int(flags)).isMultiple(of: 31)
    }
  }

  /// Inflates `bytes` without keeping what comes out.
  ///
  /// - Returns: how many bytes came out, at most about `limit`, and whether `bytes` are one whole and
  ///   sound zlib stream of no more than that, with nothing after it.
  static func probe(_ bytes: SharedBytes, limit: Int) -> (byteCount: Int, isWhole: Bool) {
    var stream = z_stream()
    guard bytes.count <= chunkByteCount, condi_inflate_init(&stream, 15) == Z_OK else {
      return (0, false)
    }
    defer { inflateEnd(&stream) }
    return bytes.withUnsafeBytes { input in
      stream.next_in = UnsafeMutablePointer(
        mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
      stream.avail_in = UInt32(input.count)
      return withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 1) { scratch in
        var byteCount = 0
        while byteCount <= limit {
          stream.next_out = scratch.baseAddress?.assumingMemoryBound(to: UInt8.self)
          stream.avail_out = UInt32(scratch.count)
          let status = inflate(&stream, Z_NO_FLUSH)
          byteCount += scratch.count - Int(stream.avail_out)
          if status == Z_STREAM_END {
            return (byteCount, stream.avail_in == 0 && byteCount <= limit)
          }
          guard status == Z_OK else { break }
        }
        return (byteCount, false)
      }
    }
  }

  private static let chunkByteCount = 1 << 30  // zlib counts input in 32 bits

  private static func inflateAll(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer,
    stream: inout z_stream, purpose: String
  ) throws {
    var consumed = 0
    var produced = 0
    // One byte more than declared, so that a longer stream is noticed without being inflated.
    var surplus: UInt8 = 0
    while true {
      let inputCount = min(input.count - consumed, chunkByteCount)
      let outputCount = min(output.count - produced, chunkByteCount)
      let status = withUnsafeMutablePointer(to: &surplus) { surplus in
        stream.next_in = UnsafeMutablePointer(
          mutating: input.baseAddress?.advanced(by: consumed).assumingMemoryBound(to: UInt8.self))
        stream.avail_in = UInt32(inputCount)
        stream.next_out =
          outputCount > 0
          ? output.baseAddress!.advanced(by: produced).assumingMemoryBound(to: UInt8.self)
          : surplus
        stream.avail_out = outputCount > 0 ? UInt32(outputCount) : 1
        return inflate(&stream, Z_NO_FLUSH)
      }
      consumed += inputCount - Int(stream.avail_in)
      let written = (outputCount > 0 ? outputCount : 1) - Int(stream.avail_out)
      guard outputCount > 0 || written == 0 else {
        throw FormatError.mismatch(
          expected: "\(counted(output.count, "byte")) for \(purpose)",
          found: "more in the compressed data")
      }
      produced += written
      if status == Z_STREAM_END { break }
      guard status == Z_OK else {
        throw FormatError.malformed("the compressed data of \(purpose) is damaged")
      }
    }
    guard produced == output.count else {
      throw FormatError(
        .truncated(expectedBytes: output.count, foundBytes: produced, purpose: purpose))
    }
    guard consumed == input.count else {
      throw FormatError.malformed(
        "\(counted(input.count - consumed, "byte")) after the compressed data of \(purpose)")
    }
  }

  /// Feeds one piece of input and appends what comes out.
  private static func step(
    _ stream: inout z_stream, _ input: UnsafeRawBufferPointer, from start: Int, count: Int,
    appendingTo output: inout [UInt8], _ body: (inout z_stream) -> Int32
  ) -> Int32 {
    stream.next_in = UnsafeMutablePointer(
      mutating: input.baseAddress?.advanced(by: start).assumingMemoryBound(to: UInt8.self))
    stream.avail_in = UInt32(count)
    var status = Z_OK
    repeat {
      let piece = [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, written in
        stream.next_out = buffer.baseAddress
        stream.avail_out = UInt32(buffer.count)
        status = body(&stream)
        written = buffer.count - Int(stream.avail_out)
      }
      output += piece
    } while stream.avail_out == 0
    return status
  }
}
