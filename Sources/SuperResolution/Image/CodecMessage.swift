import CImageCodecs
import Formats
import Foundation

/// Runs the C functions of `CImageCodecs`, which answer 0 with a message when something is wrong.
enum CodecMessage {
  typealias Buffer = UnsafeMutablePointer<CChar>

  /// - Throws: `SuperResolutionError` with the message, as in "it is not a valid PNG file: …".
  static func catching(_ format: String, _ body: (Buffer) -> Int32) throws {
    try withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(CONDI_IMAGE_MESSAGE_SIZE)) {
      buffer in
      buffer.initialize(repeating: 0)
      // The capacity is a positive constant, so there is a base address.
      guard let message = buffer.baseAddress, body(message) == 0 else { return }
      throw SuperResolutionError(
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
    } catch let error as SuperResolutionError {
      throw SuperResolutionError(
        error.reason.replacing("it is not a valid", with: "it cannot become a"))
    }
    return SharedBytes(UnsafeBufferPointer(start: output, count: count))
  }

  /// The libraries' own words, fitted into a sentence.
  private static func sentence(_ text: String) -> String {
    let trimmed = text.trimmingCharacters(in: .whitespacesAndNewlines)
    let words = trimmed.hasSuffix(".") ? String(trimmed.dropLast()) : trimmed
    return words.escapingControlCharacters
  }
}
