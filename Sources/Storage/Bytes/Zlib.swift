import CZlib

/// Compression with zlib.
package enum Zlib {
  /// The largest expansion of deflated data: a match of 258 bytes takes at least two bits.
  package static let largestExpansion = 1032

  /// Returns `bytes` as one deflated stream at level 9, reproducibly for one zlib version.
  package static func compress(_ bytes: SharedBytes, in wrapping: Wrapping = .zlib) -> [UInt8] {
    let stream = ZlibStream(deflating: wrapping)
    return bytes.withUnsafeBytes { input in
      var rest = input[...]
      var output: [UInt8] = []
      var status = Z_OK
      while status != Z_STREAM_END {
        output += [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, written in
          (status, written) = stream.deflate(&rest, into: UnsafeMutableRawBufferPointer(buffer))
        }
        precondition(status == Z_OK || status == Z_STREAM_END, "zlib lost its state")
      }
      return output
    }
  }

  /// Returns the most bytes that `byteCount` bytes take once deflated without a wrapping: zlib's `deflateBound`
  /// for any settings, with its allowance for blocks that are stored.
  package static func deflatedLimit(_ byteCount: Int) -> Int {
    byteCount + byteCount >> 3 + byteCount >> 8 + byteCount >> 9 + 64
  }

  /// Returns the content of the zlib stream `bytes`.
  ///
  /// - Parameter byteCount: The declared length, which is checked before memory is allocated.
  /// - Throws: `ModelError` if the stream is damaged, does not span all of `bytes`, or differs from
  ///   the declared length.
  package static func decompress(_ bytes: SharedBytes, byteCount: Int, purpose: String) throws
    -> SharedBytes
  {
    let largest = bytes.count.multipliedReportingOverflow(by: largestExpansion)
    guard largest.overflow || byteCount <= largest.partialValue else {
      throw ModelError.mismatch(
        expected: "at most \(largest.partialValue) bytes from \(bytes.count) compressed for "
          + purpose,
        found: "\(byteCount) declared")
    }
    return try bytes.withUnsafeBytes { input in
      try SharedBytes(count: byteCount) { try inflateAll(input, into: $0, purpose: purpose) }
    }
  }

  /// The container format around deflated data.
  package enum Wrapping: Int32 {
    case none = -15
    /// RFC 1950.
    case zlib = 15
    /// RFC 1952.
    case gzip = 31
  }

  /// Inflates as much of `bytes` as possible, to look into damaged or unverified data.
  ///
  /// - Returns: At most `limit` bytes.
  package static func inflateWhatCanBe(
    _ bytes: SharedBytes, in wrapping: Wrapping = .none, limit: Int
  ) -> SharedBytes {
    let stream = ZlibStream(inflating: wrapping)
    var output: [UInt8] = []
    bytes.withUnsafeBytes { input in
      var rest = input[...]
      var status = Z_OK
      while status == Z_OK, output.count < limit {
        let before = output.count
        output += [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, written in
          (status, written) = stream.inflate(&rest, into: UnsafeMutableRawBufferPointer(buffer))
        }
        if output.count == before { break }
      }
    }
    return SharedBytes(output.prefix(limit))
  }

  /// Whether the two bytes at `position` can begin a zlib stream (RFC 1950, 2.2) with the largest
  /// window and without a preset dictionary.
  package static func mayBegin(_ bytes: SharedBytes, at position: Int) -> Bool {
    bytes.withUnsafeBytes { buffer in
      guard position + 1 < buffer.count, buffer[position] == 0x78 else { return false }
      let flags = buffer[position + 1]
      return flags & 0x20 == 0 && (0x7800 + Int(flags)).isMultiple(of: 31)
    }
  }

  /// Inflates `bytes` and discards the output.
  ///
  /// - Returns: The number of bytes inflated, at most about `limit`, and whether `bytes` are
  ///   exactly one complete and valid zlib stream whose content does not exceed `limit`.
  package static func probe(_ bytes: SharedBytes, limit: Int) -> (byteCount: Int, isWhole: Bool) {
    let stream = ZlibStream(inflating: .zlib)
    return bytes.withUnsafeBytes { input in
      withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 1) { scratch in
        var rest = input[...]
        var byteCount = 0
        while byteCount <= limit {
          let (status, written) = stream.inflate(&rest, into: scratch)
          byteCount += written
          if status == Z_STREAM_END { return (byteCount, rest.isEmpty && byteCount <= limit) }
          guard status == Z_OK else { break }
        }
        return (byteCount, false)
      }
    }
  }

  private static func inflateAll(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, purpose: String
  ) throws {
    let stream = ZlibStream(inflating: .zlib)
    var rest = input[...]
    var produced = 0
    // One byte more than declared, so that a longer stream is detected without inflating all of it.
    var surplus: UInt8 = 0
    var status = Z_OK
    while status != Z_STREAM_END {
      let written: Int
      if produced < output.count {
        (status, written) = stream.inflate(
          &rest, into: UnsafeMutableRawBufferPointer(rebasing: output[produced...]))
        produced += written
      } else {
        (status, written) = withUnsafeMutableBytes(of: &surplus) { stream.inflate(&rest, into: $0) }
        guard written == 0 else {
          throw ModelError.mismatch(
            expected: "\(counted(output.count, "byte")) for \(purpose)",
            found: "more in the compressed data")
        }
      }
      guard status == Z_OK || status == Z_STREAM_END else {
        throw ModelError.malformed("the compressed data of \(purpose) is damaged")
      }
    }
    guard produced == output.count else {
      throw ModelError(
        .truncated(expectedBytes: output.count, foundBytes: produced, purpose: purpose))
    }
    guard rest.isEmpty else {
      throw ModelError.malformed(
        "\(counted(rest.count, "byte")) after the compressed data of \(purpose)")
    }
  }
}

/// A `z_stream` at a fixed address.
///
/// zlib's internal state points back to the `z_stream` and rejects any other address, and an
/// `inout` argument may be a copy.
private struct ZlibStream: ~Copyable {
  private let stream: UnsafeMutablePointer<z_stream>
  private let end: (z_streamp) -> Int32

  /// A stream that deflates at level 9 with the largest window.
  init(deflating wrapping: Zlib.Wrapping) {
    self.init(end: deflateEnd) { condi_deflate_init($0, 9, wrapping.rawValue) }
  }

  init(inflating wrapping: Zlib.Wrapping) {
    self.init(end: inflateEnd) { condi_inflate_init($0, wrapping.rawValue) }
  }

  private init(end: @escaping (z_streamp) -> Int32, begin: (z_streamp) -> Int32) {
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    self.end = end
    precondition(begin(stream) == Z_OK, "out of memory in zlib")
  }

  deinit {
    _ = end(stream)
    stream.deallocate()
  }

  /// Consumes `input` and fills `output` as far as possible, finishing the stream with the last
  /// input.
  func deflate(
    _ input: inout Slice<UnsafeRawBufferPointer>, into output: UnsafeMutableRawBufferPointer
  ) -> (status: Int32, written: Int) {
    step(&input, output) { CZlib.deflate($0, $1 ? Z_FINISH : Z_NO_FLUSH) }
  }

  /// Consumes `input` and fills `output` as far as possible.
  func inflate(
    _ input: inout Slice<UnsafeRawBufferPointer>, into output: UnsafeMutableRawBufferPointer
  ) -> (status: Int32, written: Int) {
    step(&input, output) { stream, _ in CZlib.inflate(stream, Z_NO_FLUSH) }
  }

  private func step(
    _ input: inout Slice<UnsafeRawBufferPointer>, _ output: UnsafeMutableRawBufferPointer,
    _ body: (_ stream: z_streamp, _ isLast: Bool) -> Int32
  ) -> (status: Int32, written: Int) {
    let largestCount = 1 << 30  // zlib counts in 32 bits
    let given = min(input.count, largestCount)
    let free = min(output.count, largestCount)
    let start = UnsafeRawBufferPointer(rebasing: input).baseAddress
    stream.pointee.next_in = UnsafeMutablePointer(
      mutating: start?.assumingMemoryBound(to: UInt8.self))
    stream.pointee.avail_in = UInt32(given)
    stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_out = UInt32(free)
    let status = body(stream, given == input.count)
    input = input.dropFirst(given - Int(stream.pointee.avail_in))
    return (status, free - Int(stream.pointee.avail_out))
  }
}
