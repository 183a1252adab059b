import Foundation

/// Bytes as a file that nobody else sees, for readers that need one.
enum TemporaryCopy {
  /// Calls `body` with the file, which has no name and is gone afterwards, however the program ends.
  ///
  /// - Throws: `FormatError` when the file cannot be written.
  static func withFile(of bytes: SharedBytes, _ body: (InputFile) -> Void) throws {
    var template = Array("\(FileManager.default.temporaryDirectory.path)/condi-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    let path = template.withUnsafeBufferPointer { buffer in
      String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
    guard descriptor >= 0 else {
      throw FormatError(.system(operation: "make a temporary file", code: errno))
    }
    unlink(path)
    defer { close(descriptor) }
    try bytes.withUnsafeBytes { buffer in
      var done = 0
      while done < buffer.count {
        let count = write(descriptor, buffer.baseAddress! + done, buffer.count - done)
        if count < 0, errno == EINTR { continue }
        guard count > 0 else {
          throw FormatError(.system(operation: "write a temporary file", code: errno))
        }
        done += count
      }
    }
    body(try InputFile(path: "/proc/self/fd/\(descriptor)"))
  }
}
