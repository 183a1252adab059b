import CCrypto
import CDeflate

/// The CRC-32 of zip, gzip and PNG (IEEE 802.3, reflected polynomial 0xEDB88320), by libdeflate.
package enum CRC32 {
  /// Returns the checksum of `bytes`, continuing from `seed`, the checksum of the preceding bytes.
  ///
  /// - Complexity: O(*n*). It is several times as fast as zlib's on processors with carry-less
  ///   multiplication, which libdeflate detects at run time.
  package static func checksum(_ bytes: SharedBytes, seed: UInt32 = 0) -> UInt32 {
    bytes.withUnsafeBytes { checksum($0, seed: seed) }
  }

  /// Whether every stored checksum is accepted.
  ///
  /// A fuzzer sets this before its first input: it cannot guess checksums, and most of the code
  /// under test lies behind them.
  package nonisolated(unsafe) static var acceptsEveryChecksum = false

  /// Whether a stored checksum equals the computed one.
  package static func isMatch(_ found: UInt32, _ expected: UInt32) -> Bool {
    found == expected || acceptsEveryChecksum
  }

  package static func checksum(_ buffer: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
    // libdeflate interprets a null pointer as a request for the initial value.
    guard let base = buffer.baseAddress else { return seed }
    return libdeflate_crc32(seed, base, buffer.count)
  }
}

/// A running SHA-256 (FIPS 180-4), by OpenSSL, which uses the processor's SHA instructions.
struct SHA256: ~Copyable {
  private let context: OpaquePointer

  init() {
    // Both fail only when memory is exhausted, where Swift's own allocations trap as well.
    guard let context = EVP_MD_CTX_new(), EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else {
      fatalError("no memory for a digest")
    }
    self.context = context
  }

  deinit { EVP_MD_CTX_free(context) }

  mutating func update(_ bytes: UnsafeRawBufferPointer) {
    EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
  }

  /// Returns the digest of all bytes as 64 lower-case hexadecimal digits, as printed by
  /// `sha256sum`.
  consuming func finalize() -> String {
    var digest = [UInt8](repeating: 0, count: 32)
    EVP_DigestFinal_ex(context, &digest, nil)
    return digest.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}
