extension InputFile {
  /// The SHA-256 of the file's bytes, in hexadecimal, as `sha256sum` prints it.
  package func sha256() throws -> String {
    var hash = SHA256()
    let pieceByteCount = 1 << 22
    for start in stride(from: 0, to: byteCount, by: pieceByteCount) {
      let piece = try bytes(
        at: start, count: min(pieceByteCount, byteCount - start), purpose: "the digest")
      piece.withUnsafeBytes { hash.update($0) }
    }
    return hash.finalize()
  }
}

extension SharedBytes {
  /// The SHA-256 of the bytes, in hexadecimal, as `sha256sum` prints it.
  package var sha256: String {
    withUnsafeBytes { buffer in
      var hash = SHA256()
      hash.update(buffer)
      return hash.finalize()
    }
  }
}
