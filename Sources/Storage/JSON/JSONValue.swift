import OrderedCollections

/// A JSON value whose objects keep the order of their members.
///
/// ```swift
/// let value = JSONValue.object([
///   "name": .string("body"), "bitWidths": .array([.integer(2), .integer(4)]),
/// ])
/// print(value.serialized())  // {"name":"body","bitWidths":[2,4]}
/// ```
public enum JSONValue: Hashable, Sendable {
  /// JSON's `null`.
  case null
  /// `true` or `false`.
  case boolean(Bool)
  /// A number written without a fraction or exponent that fits in `Int`.
  case integer(Int)
  /// Any other number, rounded to the nearest `Double`; never NaN or infinite.
  case number(Double)
  /// A string, with its escapes resolved.
  case string(String)
  /// An array.
  case array([JSONValue])
  /// An object, its members in the order of the text; each name occurs only once.
  case object(OrderedDictionary<String, JSONValue>)
}

extension JSONValue {
  /// Returns the value as JSON text, which is the same for the same value on every machine.
  ///
  /// Members keep their order. Doubles are written with the fewest digits that read back to the
  /// same value, always with a fraction or an exponent, so that `.number` and `.integer` stay
  /// distinct when read again. Strings are UTF-8 with only `"`, `\` and control characters escaped.
  /// JSON cannot represent infinities and NaN, which become `null`; callers that must preserve them
  /// need another encoding.
  ///
  /// - Parameter pretty: Whether to indent by two spaces and write one member per line, with arrays
  ///   of scalars on one line; otherwise the text contains no white space.
  public func serialized(pretty: Bool = false) -> String {
    var text = ""
    write(to: &text, indentation: pretty ? 0 : nil)
    return text
  }

  /// Rejects keys that contain a NUL before they are written, because `JSONDocument` would reject
  /// them.
  package func checkKeys() throws {
    switch self {
    case .null, .boolean, .integer, .number, .string: return
    case .array(let items): for item in items { try item.checkKeys() }
    case .object(let members):
      for (key, value) in members {
        guard !key.utf8.contains(0) else {
          throw ModelError.unsupported("the name '\(key)' contains a NUL, which a JSON key cannot")
        }
        try value.checkKeys()
      }
    }
  }

  private func write(to text: inout String, indentation: Int?) {
    switch self {
    case .null: text += "null"
    case .boolean(let value): text += value ? "true" : "false"
    case .integer(let value): text += String(value)
    case .number(let value): text += value.isFinite ? value.description : "null"
    case .string(let value): Self.write(value, to: &text)
    case .array(let items):
      // Numbers are easier to read side by side than one per line.
      let isFlat = items.allSatisfy(\.isScalar)
      Self.writeItems(
        items, brackets: ("[", "]"), to: &text, indentation: isFlat ? nil : indentation,
        flatSeparator: indentation == nil ? "," : ", "
      ) { $1.write(to: &$0, indentation: $2) }
    case .object(let members):
      Self.writeItems(
        members.elements, brackets: ("{", "}"), to: &text, indentation: indentation,
        flatSeparator: ","
      ) { text, member, inner in
        Self.write(member.key, to: &text)
        text += indentation == nil ? ":" : ": "
        member.value.write(to: &text, indentation: inner)
      }
    }
  }

  private var isScalar: Bool {
    switch self {
    case .array, .object: false
    default: true
    }
  }

  private static func writeItems<Items: Collection>(
    _ items: Items, brackets: (open: String, close: String), to text: inout String,
    indentation: Int?, flatSeparator: String,
    _ writeItem: (inout String, Items.Element, Int?) -> Void
  ) {
    text += brackets.open
    let inner = indentation.map { $0 + 2 }
    for (index, item) in items.enumerated() {
      if index > 0 { text += inner == nil ? flatSeparator : "," }
      if let inner { text += "\n" + String(repeating: " ", count: inner) }
      writeItem(&text, item, inner)
    }
    if let indentation, !items.isEmpty {
      text += "\n" + String(repeating: " ", count: indentation)
    }
    text += brackets.close
  }

  private static func write(_ string: String, to text: inout String) {
    text += "\""
    defer { text += "\"" }
    guard string.utf8.contains(where: { $0 < 0x20 || $0 == 0x22 || $0 == 0x5C }) else {
      text += string
      return
    }
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\u{8}": text += "\\b"
      case "\u{C}": text += "\\f"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case "\u{0}"..."\u{1F}":
        text += "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
      default: text.unicodeScalars.append(scalar)
      }
    }
  }
}
