extension String {
  /// The text in at most `limit` characters.
  ///
  /// A dotted name keeps all its parts, because their numbers say which layer it is: the longest
  /// words lose their ends first, as in `layers.0.resid….blocks.5.attn.qkv.weight`. Any other text, and a
  /// name with too many parts, loses its middle.
  func abbreviated(to limit: Int) -> String {
    guard count > limit, limit > 1 else { return self }
    var parts = split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    var excess = count - limit
    while excess > 0 {
      let words = parts.indices.dropLast().filter { parts[$0].count > Self.leastWord }
      guard let longest = words.max(by: { parts[$0].count < parts[$1].count }) else { break }
      // The first cut replaces two characters by the ellipsis.
      let cut = parts[longest].hasSuffix("…") ? 2 : 1
      parts[longest] = parts[longest].dropLast(cut).dropLast(cut == 1 ? 1 : 0) + "…"
      excess -= 1
    }
    return excess > 0 ? losingMiddle(limit) : parts.joined(separator: ".")
  }

  /// Words are not cut below this many characters, the ellipsis included.
  private static let leastWord = 4

  private func losingMiddle(_ limit: Int) -> String {
    // The end of a tensor's name tells more than its start.
    let head = (limit - 1) / 3
    return "\(prefix(head))…\(suffix(limit - 1 - head))"
  }
}
