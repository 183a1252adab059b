extension String {
  /// Returns the text shortened to at most `limit` characters.
  ///
  /// A dotted name keeps its numbers, which identify the layer, and its last parts, which identify
  /// the tensor. Long words are truncated first, as in `layers.0.resid….blocks.5.attn.qkv.weight`;
  /// then words are dropped, as in `…0…5.attn.qkv.weight`. Any other text loses its middle.
  func abbreviated(to limit: Int) -> String {
    guard count > limit, limit > 1 else { return self }
    let parts = split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    if parts.count > 2 {
      if let shortened = Self.cuttingWords(parts, limit) { return shortened }
      for keptCount in [3, 2, 1] {
        let shortened = Self.keepingNumbers(parts, lastParts: keptCount)
        if shortened.count <= limit { return shortened }
      }
    }
    // The end of a tensor's name is more informative than its start.
    let head = (limit - 1) / 3
    return "\(prefix(head))…\(suffix(limit - 1 - head))"
  }

  /// The smallest length of a truncated word, including the ellipsis.
  private static let leastWord = 4

  /// Truncates the longest words except the last; `nil` if that is not enough.
  private static func cuttingWords(_ parts: [String], _ limit: Int) -> String? {
    var parts = parts
    var excess = parts.reduce(parts.count - 1) { $0 + $1.count } - limit
    while excess > 0 {
      let words = parts.indices.dropLast().filter { parts[$0].count > leastWord }
      guard let longest = words.max(by: { parts[$0].count < parts[$1].count }) else { return nil }
      // The first cut replaces two characters by the ellipsis, each later cut one before it.
      parts[longest] = parts[longest].dropLast(2) + "…"
      excess -= 1
    }
    return parts.joined(separator: ".")
  }

  /// Replaces words before the last parts by ellipses, keeping numbers.
  private static func keepingNumbers(_ parts: [String], lastParts: Int) -> String {
    var text = ""
    for (index, part) in parts.enumerated() {
      if index >= parts.count - lastParts || part.allSatisfy(\.isNumber) {
        text += text.isEmpty || text.hasSuffix("…") ? part : ".\(part)"
      } else if !text.hasSuffix("…") {
        text += "…"
      }
    }
    return text
  }
}
