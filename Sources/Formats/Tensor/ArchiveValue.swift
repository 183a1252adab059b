/// A leaf of a checkpoint that is not a tensor: a number, a flag or a text.
public enum ArchiveValue: Hashable, Sendable {
  /// Python's `None`.
  case none
  /// A flag.
  case boolean(Bool)
  /// An integer that fits `Int`.
  case integer(Int)
  /// An integer outside `Int`, in decimal.
  case largeInteger(String)
  /// A float, which may be NaN or infinite.
  case real(Double)
  /// A complex number.
  case complex(real: Double, imaginary: Double)
  /// A text.
  case text(String)
  /// Raw bytes.
  case bytes([UInt8])
}

extension ArchiveValue: CustomStringConvertible {
  /// As a person would write it in Python.
  public var description: String {
    switch self {
    case .none: "None"
    case .boolean(let value): value ? "True" : "False"
    case .integer(let value): "\(value)"
    case .largeInteger(let digits): digits
    case .real(let value): "\(value)"
    case .complex(let real, let imaginary): "(\(real)+\(imaginary)j)"
    case .text(let text): "'\(text.escapingControlCharacters)'"
    case .bytes(let bytes): counted(bytes.count, "byte")
    }
  }
}
