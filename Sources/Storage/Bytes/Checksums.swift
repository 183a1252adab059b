import CCrypto
import CDeflate

/// The CRC-32 of zip, gzip and PNG (IEEE 802.3, reflected polynomial 0xEDB88320), by libdeflate.
package enum CRC32 {
  /// The checksum of `bytes`; those of pieces in order, where `seed` is the one of the pieces before.
  ///
  /// - Complexity: O(*n*), several times as fast as zlib's where the processor multiplies without
  ///   carry, which libdeflate looks up when it runs.
  package static func checksum(_ bytes: SharedBytes, seed: UInt32 = 0) -> UInt32 {
    bytes.withUnsafeBytes { checksum($0, seed: seed) }
  }

  /// Whether every stored checksum counts as right, which a fuzzer sets before its first input: it
  /// cannot guess checksums, and behind them lies most of what it is to try.
  package nonisolated(unsafe) static var acceptsEveryChecksum = false

  /// Whether a stored checksum is the computed one.
  package static func isMatch(_ found: UInt32, _ expected: UInt32) -> Bool {
    found == expected || acceptsEveryChecksum
  }

  package static func checksum(_ buffer: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
    // libdeflate takes a null pointer as "give me the initial value".
    guard let base = buffer.baseAddress else { return seed }
    return libdeflate_crc32(seed, base, buffer.count)
  }
}

/// A running SHA-256 (FIPS 180-4), by OpenSSL, which uses what the processor has for it.
struct SHA256: ~Copyable {
  private let context: OpaquePointer

  init() {
    // Both fail only where there is no memory left, as Swift's own allocations do.
    guard let context = EVP_MD_CTX_new(), EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else {
      fatalError("no memory for a digest")
    }
    self.context = context
  }

  deinit { EVP_MD_CTX_free(context) }

  mutating func update(_ bytes: UnsafeRawBufferPointer) {
    EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
  }

  /// The digest of all bytes in 64 lower-case hexadecimal digits, as `sha256sum` prints it.
  consuming func finalize() -> String {
    var digest = [UInt8](repeating: 0, count: 32)
    EVP_DigestFinal_ex(context, &digest, nil)
    return digest.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}
