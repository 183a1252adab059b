import CImageCodecs
import Glibc
import Storage

/// Runs the C functions of `CImageCodecs`, which answer 0 with a message when something is wrong.
enum CodecMessage {
  typealias Buffer = UnsafeMutablePointer<CChar>

  /// - Throws: `ModelError` with the message, as in "it is not a valid PNG file: …".
  static func catching(_ format: String, _ body: (Buffer) -> Int32) throws {
    try withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(CONDI_IMAGE_MESSAGE_SIZE)) {
      buffer in
      buffer.initialize(repeating: 0)
      // The capacity is a positive constant, so there is a base address.
      guard let message = buffer.baseAddress, body(message) == 0 else { return }
      throw ModelError(
        "it is not a valid \(format) file: \(sentence(String(cString: message)))")
    }
  }

  /// What an encoder puts into memory that is to be freed.
  static func bytes(
    _ format: String,
    _ encode: (
      UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>, UnsafeMutablePointer<Int>, Buffer
    )
      -> Int32
  ) throws -> SharedBytes {
    var output: UnsafeMutablePointer<UInt8>?
    var count = 0
    defer { free(output) }
    do {
      try catching(format) { encode(&output, &count, $0) }
    } catch let error as ModelError {
      throw ModelError(
        error.problem.description.replacing("it is not a valid", with: "it cannot become a"))
    }
    return SharedBytes(UnsafeBufferPointer(start: output, count: count))
  }

  /// The libraries' own words, fitted into a sentence.
  private static func sentence(_ text: String) -> String {
    let trimmed = text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    let words = trimmed.hasSuffix(".") ? String(trimmed.dropLast()) : trimmed
    return words.escapingControlCharacters
  }
}

/// The C libraries that read and write pictures.
package enum ImageLibraries {
  /// Names and versions of the libraries in use.
  package static var versions: [(name: String, version: String)] {
    [
      ("libpng", String(cString: condi_png_version())),
      ("libjpeg-turbo", jpegVersion ?? "unknown"),
    ]
  }

  private static var jpegVersion: String? {
    var text = [CChar](repeating: 0, count: Int(CONDI_IMAGE_MESSAGE_SIZE))
    guard condi_jpeg_version(&text) == 1 else { return nil }
    return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
