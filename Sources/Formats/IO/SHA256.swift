import CCrypto

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
