import Storage

/// Content that is text, and its kind.
struct TextContent {
  enum Kind: Hashable, Sendable {
    case json
    /// HTML, XML and the like.
    case markup
    /// The text of a program in a language that interpreters run directly.
    case source
    /// A Jinja template.
    case template
    /// Prose, settings, tables: text that is read and not run.
    case plain
  }

  let kind: Kind
  let text: String

  /// Creates text from its whole content.
  ///
  /// - Parameters:
  ///   - bytes: the whole content.
  ///   - name: the content's file name, which may distinguish source code from prose.
  /// - Returns: `nil` for content that is not text: invalid UTF-8, or with control characters.
  init?(_ bytes: SharedBytes, name: String = "") {
    guard !bytes.isEmpty,
      let text = bytes.withUnsafeBytes({ buffer in
        buffer.contains(where: Self.isControl) ? nil : String(validating: buffer, as: UTF8.self)
      })
    else { return nil }
    self.text = text
    kind = Self.kind(of: text, name: name.lowercased())
  }

  /// Creates text from its beginning.
  ///
  /// - Parameter bytes: the beginning of the content, which may be cut inside a character.
  init?(beginningOf bytes: SharedBytes) {
    for cut in 0...min(3, max(0, bytes.count - 1)) {
      if let content = TextContent(bytes.slice(0..<bytes.count - cut)) {
        self = content
        return
      }
    }
    return nil
  }

  /// Whether a byte is a control character that no text has; a form feed and an escape may occur.
  private static func isControl(_ byte: UInt8) -> Bool {
    byte < 0x20 && ![0x09, 0x0A, 0x0C, 0x0D, 0x1B].contains(byte) || byte == 0x7F
  }

  private static let sourceExtensions: Set<String> = [
    "py", "pyw", "pyx", "sh", "bash", "zsh", "bat", "cmd", "ps1", "js", "mjs", "ts", "lua",
    "rb", "pl", "php", "r", "jl", "c", "cc", "cpp", "cu", "h", "java",
  ]
  private static let proseExtensions: Set<String> = ["md", "rst", "markdown"]

  private static func kind(of text: String, name: String) -> Kind {
    let pathExtension =
      name.split(separator: "/").last?.split(separator: ".").dropFirst().last ?? ""
    if sourceExtensions.contains(String(pathExtension)) { return .source }
    if pathExtension == "jinja" || pathExtension == "jinja2" { return .template }
    let start = text.drop(while: \.isWhitespace)
    switch start.first {
    case "{":
      return start.hasPrefix("{%") || start.hasPrefix("{{") || start.hasPrefix("{#")
        ? .template : .json
    case "[":
      // A section of a settings file also begins with a bracket.
      let next = start.dropFirst().first { !$0.isWhitespace }
      return next.map { "{[\"]-0123456789".contains($0) } ?? false ? .json : .plain
    case "<":
      let isMarkup = start.hasPrefix("<!") || start.hasPrefix("<?") || text.contains("</")
      if isMarkup { return .markup }
    default: break
    }
    if start.hasPrefix("#!") { return .source }
    if proseExtensions.contains(String(pathExtension)) { return .plain }
    return isPython(text) ? .source : .plain
  }

  /// Whether a line is a Python statement, in a form that prose, settings and tables do not have.
  ///
  /// Text between Markdown fences is an example and does not count.
  private static func isPython(_ text: String) -> Bool {
    var isFenced = false
    for line in text.split(whereSeparator: \.isNewline) {
      let line = line.drop(while: \.isWhitespace)
      if line.hasPrefix("```") || line.hasPrefix("~~~") { isFenced.toggle() }
      if !isFenced, isStatement(line) { return true }
    }
    return false
  }

  private static func isStatement(_ line: Substring) -> Bool {
    if line.contains("__import__(") || isCall(line) { return true }
    // `a; import b` is two statements.
    return line.split(separator: ";").contains { part in
      let words = part.split(whereSeparator: \.isWhitespace)
      switch words.first {
      case "import":
        return words.count > 1
          && (words.count == 2 || words[2] == "as" || words[1].hasSuffix(","))
          && isDottedName(words[1].split(separator: ",").first ?? "")
      case "from":
        return words.count > 3 && words[2] == "import" && isDottedName(words[1])
      case "def", "class":
        return words.count > 1 && part.contains(":")
          && (words[0] == "class" || part.contains("("))
          && isName(words[1].prefix { $0 != "(" && $0 != ":" })
      default: return false
      }
    }
  }

  /// Whether the whole line is `name.name(…)`.
  private static func isCall(_ line: Substring) -> Bool {
    guard let parenthesis = line.firstIndex(of: "("),
      line.last(where: { !$0.isWhitespace && $0 != ";" }) == ")"
    else { return false }
    return isDottedName(line[..<parenthesis])
  }

  private static func isDottedName(_ text: Substring) -> Bool {
    !text.isEmpty && text.split(separator: ".").allSatisfy(isName)
  }

  private static func isName(_ text: Substring) -> Bool {
    guard let first = text.first, first.isLetter || first == "_" else { return false }
    return text.allSatisfy { $0.isLetter || $0.isNumber || $0 == "_" }
  }
}
