import Storage

/// A shell-like pattern for tensor names: `*` matches any run of characters, including dots, `?`
/// one character, `[abc]` and `[a-z]` one of a set, `[!…]` one outside it, `{a,b}` either text.
///
/// A backslash makes the next character literal. Matching is case-sensitive and covers the whole
/// name.
///
/// ```swift
/// let glob = try NameGlob("layers.*.{q,k}.weight")
/// print(glob.matches("layers.0.attn.q.weight"))  // true
/// print(glob.matches("layers.0.attn.v.weight"))  // false
/// ```
public struct NameGlob: Hashable, Sendable, CustomStringConvertible {
  /// The pattern as it was written.
  public let pattern: String
  /// The pattern's brace alternatives, each as matching steps.
  private let alternatives: [[Step]]

  private enum Step: Hashable {
    case anyRun
    case anyCharacter
    case literal(Character)
    case set([ClosedRange<Character>], isNegated: Bool)
  }

  /// Brace groups multiply; a pattern with more alternatives than this is refused.
  private static let alternativeLimit = 256

  /// Parses a pattern.
  ///
  /// - Throws: `ModelError` when a bracket or brace is not closed, or the pattern is empty.
  public init(_ pattern: String) throws {
    guard !pattern.isEmpty else { throw ModelError.malformed("a name pattern is empty") }
    self.pattern = pattern
    alternatives = try Self.expandBraces(Array(pattern), of: pattern).map {
      try Self.parse($0, of: pattern)
    }
  }

  public var description: String { pattern }

  /// Whether the whole name fits the pattern.
  public func matches(_ name: String) -> Bool {
    let characters = Array(name)
    return alternatives.contains { Self.matches($0, characters) }
  }

  /// Matches greedily, backtracking only to the last `*`: linear in practice, never exponential.
  private static func matches(_ steps: [Step], _ characters: [Character]) -> Bool {
    var step = 0
    var position = 0
    var lastRun: (step: Int, position: Int)?
    while position < characters.count {
      if step < steps.count, case .anyRun = steps[step] {
        lastRun = (step, position)
        step += 1
      } else if step < steps.count, accepts(steps[step], characters[position]) {
        step += 1
        position += 1
      } else if let run = lastRun {
        lastRun = (run.step, run.position + 1)
        step = run.step + 1
        position = run.position + 1
      } else {
        return false
      }
    }
    return steps[step...].allSatisfy { $0 == .anyRun }
  }

  /// Returns how many characters of the name would have to change for the pattern to match.
  private func distance(to name: String) -> Int {
    let characters = Array(name)
    return alternatives.map { steps in
      var costs = Array(0...characters.count)
      for step in steps {
        var next = [step == .anyRun ? costs[0] : costs[0] + 1]
        for (index, character) in characters.enumerated() {
          next.append(
            step == .anyRun
              ? min(costs[index + 1], next[index])
              : min(
                costs[index] + (Self.accepts(step, character) ? 0 : 1),
                costs[index + 1] + 1, next[index] + 1))
        }
        costs = next
      }
      return costs.last ?? 0
    }.min() ?? 0
  }

  /// The number of characters that a name must at least have.
  private var leastCharacterCount: Int {
    alternatives.map { $0.count { $0 != .anyRun } }.min() ?? 0
  }

  /// The most names that are searched for similar ones.
  private static let searchLimit = 4096

  /// Returns the end of an error about a pattern that matches none of `names`: the closest of them,
  /// if it differs in a few characters; empty otherwise.
  package func suggestion(among names: some Sequence<String>) -> String {
    let ranked = names.prefix(Self.searchLimit).map { (name: $0, distance: distance(to: $0)) }
    guard let closest = ranked.min(by: { $0.distance < $1.distance }),
      closest.distance <= leastCharacterCount / 4
    else { return "" }
    return "; the closest is '\(closest.name)'"
  }

  private static func accepts(_ step: Step, _ character: Character) -> Bool {
    switch step {
    case .anyRun, .anyCharacter: true
    case .literal(let literal): literal == character
    case .set(let ranges, let isNegated):
      ranges.contains { $0.contains(character) } != isNegated
    }
  }

  private static func parse(_ characters: [Character], of pattern: String) throws -> [Step] {
    var steps: [Step] = []
    var index = 0
    while index < characters.count {
      defer { index += 1 }
      switch characters[index] {
      case "*": if steps.last != .anyRun { steps.append(.anyRun) }
      case "?": steps.append(.anyCharacter)
      case "\\" where index + 1 < characters.count:
        index += 1
        steps.append(.literal(characters[index]))
      case "[":
        guard let end = characters[(index + 1)...].dropFirst().firstIndex(of: "]") else {
          throw ModelError.malformed("'[' is not closed in the name pattern '\(pattern)'")
        }
        var members = characters[(index + 1)..<end]
        let isNegated = members.first == "!" || members.first == "^"
        if isNegated { members = members.dropFirst() }
        steps.append(.set(try ranges(members, of: pattern), isNegated: isNegated))
        index = end
      default: steps.append(.literal(characters[index]))
      }
    }
    return steps
  }

  private static func ranges(_ members: ArraySlice<Character>, of pattern: String) throws
    -> [ClosedRange<Character>]
  {
    var rest = members
    var ranges: [ClosedRange<Character>] = []
    while let first = rest.popFirst() {
      if rest.first == "-", rest.count > 1 {
        rest.removeFirst()
        let last = rest.removeFirst()
        guard first <= last else {
          throw ModelError.malformed(
            "the range '\(first)-\(last)' is empty in the name pattern '\(pattern)'")
        }
        ranges.append(first...last)
      } else {
        ranges.append(first...first)
      }
    }
    return ranges
  }

  private static func expandBraces(_ characters: [Character], of pattern: String) throws
    -> [[Character]]
  {
    guard let open = firstUnescaped("{", in: characters) else { return [characters] }
    guard let close = firstUnescaped("}", in: characters), close > open else {
      throw ModelError.malformed("'{' is not closed in the name pattern '\(pattern)'")
    }
    let head = characters[..<open]
    let choices = characters[(open + 1)..<close].split(
      separator: ",", omittingEmptySubsequences: false)
    guard !choices.contains(where: { $0.contains("{") }) else {
      throw ModelError.unsupported("nested braces in the name pattern '\(pattern)'")
    }
    let tails = try expandBraces(Array(characters[(close + 1)...]), of: pattern)
    guard choices.count * tails.count <= alternativeLimit else {
      throw ModelError(
        .limitExceeded(
          what: "a name pattern's alternatives", limit: alternativeLimit,
          found: "\(choices.count * tails.count)"))
    }
    return choices.flatMap { choice in tails.map { Array(head) + choice + $0 } }
  }

  private static func firstUnescaped(_ character: Character, in characters: [Character]) -> Int? {
    characters.indices.first { index in
      characters[index] == character && (index == 0 || characters[index - 1] != "\\")
    }
  }
}

extension Sequence<String> {
  /// Returns the names that match any of `globs`, in their own order; all names if there is no
  /// glob.
  ///
  /// - Throws: `ModelError` that names the first glob that matches nothing.
  package func matching(_ globs: [NameGlob]) throws -> [String] {
    guard !globs.isEmpty else { return Array(self) }
    for glob in globs where !contains(where: glob.matches) {
      throw ModelError.mismatch(
        expected: "a tensor name that matches '\(glob)'",
        found: "none" + glob.suggestion(among: self))
    }
    return filter { name in globs.contains { $0.matches(name) } }
  }
}
