import FoundationEssentials
import Storage

/// A leaf of a checkpoint that is not a tensor: a number, a Boolean or a string.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("checkpoint.pth")
/// for (name, value) in archive.values { print("\(name) = \(value)") }
/// if case .integer(let epoch) = archive.values["epoch"] { print(epoch + 1) }
/// ```
public enum ArchiveValue: Hashable, Sendable {
  /// Python's `None`.
  case none
  /// A Boolean.
  case boolean(Bool)
  /// An integer that fits `Int`.
  case integer(Int)
  /// An integer outside `Int`, in decimal.
  case largeInteger(String)
  /// A float, which may be NaN or infinite.
  case real(Double)
  /// A complex number.
  case complex(real: Double, imaginary: Double)
  /// A string.
  case text(String)
  /// Raw bytes.
  case bytes([UInt8])
}

extension ArchiveValue: CustomStringConvertible {
  /// The value as a person would write it in Python.
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

/// Typed JSON values, as in packed headers and the metadata of safetensors files.
///
/// Strings, Booleans, `null` and finite numbers represent themselves. A value that JSON lacks is an
/// object with one member that names the type. A number with a fraction or an exponent is a `real`.
extension ArchiveValue {
  package var json: JSONValue {
    switch self {
    case .none: .null
    case .boolean(let value): .boolean(value)
    case .integer(let value): .integer(value)
    case .largeInteger(let digits): .object(["integer": .string(digits)])
    case .real(let value): value.isFinite ? .number(value) : .object(["real": Self.json(value)])
    case .complex(let real, let imaginary):
      .object(["complex": .array([Self.json(real), Self.json(imaginary)])])
    case .text(let text): .string(text)
    case .bytes(let bytes): .object(["bytes": .string(Data(bytes).base64EncodedString())])
    }
  }

  /// Creates a value from its JSON form.
  ///
  /// - Throws: `ModelError` when `json` is not one of the forms above.
  package init(json: JSONValue) throws {
    switch json {
    case .null: self = .none
    case .boolean(let value): self = .boolean(value)
    case .integer(let value): self = .integer(value)
    case .number(let value): self = .real(value)
    case .string(let text): self = .text(text)
    case .array: throw Self.unexpected("an array")
    case .object(let members):
      guard members.count == 1, let (kind, content) = members.elements.first else {
        throw Self.unexpected("an object with \(counted(members.count, "member"))")
      }
      switch (kind, content) {
      case ("integer", .string(let digits)) where Self.isDecimal(digits):
        self = .largeInteger(digits)
      case ("real", .string):
        self = .real(try Self.double(content))
      case ("complex", .array(let parts)) where parts.count == 2:
        self = .complex(
          real: try Self.double(parts[0]), imaginary: try Self.double(parts[1]))
      case ("bytes", .string(let text)):
        guard let data = Data(base64Encoded: text) else { throw Self.unexpected("bad Base64") }
        self = .bytes([UInt8](data))
      default: throw Self.unexpected("an object with the member '\(kind)'")
      }
    }
  }

  private static func json(_ value: Double) -> JSONValue {
    if value.isFinite { return .number(value) }
    return .string(value.isNaN ? "nan" : value < 0 ? "-inf" : "inf")
  }

  private static func double(_ json: JSONValue) throws -> Double {
    switch json {
    case .number(let value): return value
    case .integer(let value): return Double(value)
    case .string("inf"): return .infinity
    case .string("-inf"): return -.infinity
    case .string("nan"): return .nan
    default: throw unexpected("another kind of number")
    }
  }

  private static func isDecimal(_ digits: String) -> Bool {
    let magnitude = digits.hasPrefix("-") ? digits.dropFirst() : digits[...]
    return !magnitude.isEmpty && magnitude.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
  }

  private static func unexpected(_ found: String) -> ModelError {
    ModelError.mismatch(expected: "a value in the documented JSON form", found: found)
  }
}
