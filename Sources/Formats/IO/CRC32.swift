import CZlib

/// The CRC-32 of zip, gzip and PNG (IEEE 802.3, reflected polynomial 0xEDB88320), by zlib.
package enum CRC32 {
  /// The checksum of `bytes`; those of pieces in order, where `seed` is the one of the pieces before.
  ///
  /// - Complexity: O(*n*), about a gigabyte a second.
  package static func checksum(_ bytes: SharedBytes, seed: UInt32 = 0) -> UInt32 {
    bytes.withUnsafeBytes { checksum($0, seed: seed) }
  }

  static func checksum(_ buffer: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
    // zlib takes a null pointer as "give me the initial value".
    guard let base = buffer.baseAddress else { return seed }
    return UInt32(
      truncatingIfNeeded: crc32_z(
        UInt(seed), base.assumingMemoryBound(to: UInt8.self), buffer.count))
  }
}
