import Foundation

extension FormatError: LocalizedError, CustomStringConvertible {
  public var description: String {
    var place: [String] = []
    if let name = tensor ?? entry { place.append("'\(name.escapingControlCharacters)'") }
    if let offset { place.append("at byte \(offset)") }
    let prefix = [
      path?.escapingControlCharacters, place.isEmpty ? nil : place.joined(separator: " "),
    ]
    .compactMap { $0 }
    return (prefix + ["\(problem)"]).joined(separator: ": ")
  }

  public var errorDescription: String? { description }
}

extension FormatError.Problem: CustomStringConvertible {
  public var description: String {
    switch self {
    case .unrecognizedFormat(let found):
      "not a model file of a known format: \(found)"
    case .malformed(let message), .unsupported(let message):
      message.escapingControlCharacters
    case .mismatch(let expected, let found):
      "expected \(expected), found \(found)".escapingControlCharacters
    case .truncated(let expectedBytes, let foundBytes, let purpose):
      "expected \(counted(expectedBytes, "byte")) for \(purpose), found \(foundBytes)"
    case .limitExceeded(let what, let limit, let found):
      "\(what) is limited to \(limit), found \(found)"
    case .checksumMismatch(let expected, let found):
      "expected checksum \(hexadecimal(expected)), found \(hexadecimal(found))"
    case .system(let operation, let code):
      "cannot \(operation): \(String(cString: strerror(code)))"
    case .outputExists:
      "exists already; use --force to replace it"
    }
  }

  private func hexadecimal(_ value: UInt32) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }
}

extension String {
  /// The string with control characters, line separators and text-direction overrides written as
  /// `\u{…}`, so that a name from a file cannot change what a terminal or a report shows.
  package var escapingControlCharacters: String {
    guard unicodeScalars.contains(where: \.changesDisplay) else { return self }
    return unicodeScalars.map { scalar in
      scalar.changesDisplay ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
    }.joined()
  }
}

extension Unicode.Scalar {
  fileprivate var changesDisplay: Bool {
    switch properties.generalCategory {
    case .control, .lineSeparator, .paragraphSeparator, .surrogate: true
    case .format: value != 0x200D  // the zero-width joiner only shapes letters
    default: false
    }
  }
}
