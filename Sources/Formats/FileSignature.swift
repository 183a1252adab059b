/// What a file that no format recognizes looks like, to say more than "unknown".
enum FileSignature {
  static func describe(_ file: InputFile) -> String {
    guard file.byteCount > 0 else { return "the file is empty" }
    let count = min(16, file.byteCount)
    guard let head = try? file.bytes(at: 0, count: count, purpose: "the signature").array else {
      return "its first bytes cannot be read"
    }
    for (signature, name) in known where head.starts(with: signature) {
      return "it looks like \(name)"
    }
    let digits = head.prefix(8).map { byte in
      (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }
    return "it begins with the bytes \(digits.joined(separator: " "))"
  }

  private static let known: [(signature: [UInt8], name: String)] = [
    (Array("PK".utf8), "a zip archive that holds neither PyTorch nor NumPy data"),
    ([0x80], "a Python pickle that is not inside a PyTorch archive"),
    ([0x89] + Array("HDF".utf8), "an HDF5 file"),
    ([0x89] + Array("PNG".utf8), "a PNG picture"),
    ([0x1F, 0x8B], "a gzip file"),
    ([0x37, 0x7A, 0xBC, 0xAF], "a 7-Zip archive"),
    ([0xFF, 0xD8], "a JPEG picture"),
    (Array("{".utf8), "a JSON text"),
    (Array("<".utf8), "a web page or XML text, perhaps an error page saved by a download"),
    (Array("version https://git-lfs".utf8), "a Git LFS pointer; the file itself is elsewhere"),
  ]
}
