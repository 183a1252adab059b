/// The order of file names in which `img_2` precedes `img_10`, the same on every system.
///
/// Runs of ASCII digits compare as numbers, all else by Unicode scalars; names that differ only in
/// leading zeros compare by scalars.
struct NaturalOrder: Comparable {
  private let name: String
  private let parts: [Part]

  private enum Part: Equatable {
    case text(String)
    /// Digits without leading zeros: the longer number is the larger.
    case number(String)
  }

  init(_ name: String) {
    self.name = name
    var parts: [Part] = []
    var rest = Substring(name)
    while let first = rest.unicodeScalars.first {
      let isNumber = Self.isDigit(first)
      let run = rest.unicodeScalars.prefix { Self.isDigit($0) == isNumber }
      let text = String(run)
      parts.append(isNumber ? .number(String(text.drop { $0 == "0" })) : .text(text))
      rest = rest[run.endIndex...]
    }
    self.parts = parts
  }

  static func < (a: NaturalOrder, b: NaturalOrder) -> Bool {
    for (x, y) in zip(a.parts, b.parts) where x != y {
      switch (x, y) {
      case (.number(let x), .number(let y)):
        return x.count == y.count ? precedes(x, y) : x.count < y.count
      case (.text(let x), .text(let y)): return precedes(x, y)
      case (.number, .text): return true
      case (.text, .number): return false
      }
    }
    return a.parts.count == b.parts.count
      ? precedes(a.name, b.name) : a.parts.count < b.parts.count
  }

  private static func precedes(_ a: String, _ b: String) -> Bool {
    a.unicodeScalars.lexicographicallyPrecedes(b.unicodeScalars)
  }

  private static func isDigit(_ scalar: Unicode.Scalar) -> Bool { ("0"..."9").contains(scalar) }
}
