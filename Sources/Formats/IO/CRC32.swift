import CZlib

/// The CRC-32 of zip and gzip (IEEE 802.3, reflected polynomial 0xEDB88320), by zlib.
enum CRC32 {
  /// - Complexity: O(*n*), about a gigabyte a second.
  static func checksum(_ bytes: SharedBytes) -> UInt32 {
    bytes.withUnsafeBytes { buffer in
      let start = buffer.baseAddress?.assumingMemoryBound(to: UInt8.self)
      // zlib takes a null pointer as "give me the initial value", which is right for no bytes too.
      return UInt32(truncatingIfNeeded: crc32_z(0, start, buffer.count))
    }
  }
}
