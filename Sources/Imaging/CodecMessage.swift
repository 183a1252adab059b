import CImageCodecs
import Glibc
import Storage

/// Runs the C functions of `CImageCodecs`, which return 0 and a message on failure.
enum CodecMessage {
  typealias Buffer = UnsafeMutablePointer<CChar>

  /// Runs `body` and turns its failure into an error.
  ///
  /// - Throws: `ModelError` with the message, such as "it is not a valid PNG file: …".
  static func catching(_ format: String, _ body: (Buffer) -> Int32) throws {
    try catching(body) { "it is not a valid \(format) file: \($0)" }
  }

  /// Runs `body` and turns its failure into the error that `problem` makes of the message.
  static func catching(_ body: (Buffer) -> Int32, _ problem: (String) -> String) throws {
    try withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(CONDI_IMAGE_MESSAGE_SIZE)) {
      buffer in
      buffer.initialize(repeating: 0)
      // The capacity is a positive constant, so there is a base address.
      guard let message = buffer.baseAddress, body(message) == 0 else { return }
      throw ModelError(problem(sentence(String(cString: message))))
    }
  }

  /// Returns a library's message in a form that fits into a sentence.
  private static func sentence(_ text: String) -> String {
    let trimmed = text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    let words = trimmed.hasSuffix(".") ? String(trimmed.dropLast()) : trimmed
    return words.escapingControlCharacters
  }
}

/// The C libraries that read and write images.
package enum ImageLibraries {
  /// The names and versions of the libraries in use.
  package static var versions: [(name: String, version: String)] {
    [
      ("libpng", String(cString: condi_png_version())),
      ("libjpeg-turbo", jpegVersion ?? "unknown"),
      ("libwebp", webPVersion),
    ]
  }

  private static var webPVersion: String {
    let version = condi_webp_version()
    return [16, 8, 0].map { "\(version >> $0 & 0xFF)" }.joined(separator: ".")
  }

  private static var jpegVersion: String? {
    var text = [CChar](repeating: 0, count: Int(CONDI_IMAGE_MESSAGE_SIZE))
    guard condi_jpeg_version(&text) == 1 else { return nil }
    return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
