/// What a reader did that a user should know of, in the order in which it came up.
struct PyTorchNotes: Sendable {
  private var opaqueCounts: [(className: String, count: Int)] = []
  private var indices: [String: Int] = [:]
  private var others: [String] = []

  /// Classes and other remarks beyond this many are only counted.
  private static let limit = 20

  /// An object of a class that is not known was read as plain data.
  mutating func addOpaque(_ className: String) {
    if let index = indices[className] {
      opaqueCounts[index].count += 1
    } else {
      indices[className] = opaqueCounts.count
      opaqueCounts.append((className, 1))
    }
  }

  /// The object at `name` is one of those around it, and was not followed.
  mutating func addCycle(_ name: String) {
    add("'\(name)' refers back to an object that contains it; it is left empty")
  }

  mutating func add(_ sentence: String) {
    guard !others.contains(sentence) else { return }
    others.append(sentence)
  }

  var sentences: [String] {
    let opaque = opaqueCounts.map { className, count in
      "treated \(counted(count, "object")) of class '\(className)' as plain data"
    }
    return Self.limited(opaque, "class", " of objects treated as plain data")
      + Self.limited(others, "remark")
  }

  private static func limited(
    _ sentences: [String], _ noun: String, _ end: String = ""
  ) -> [String] {
    guard sentences.count > limit else { return sentences }
    return sentences.prefix(limit) + [
      "and \(counted(sentences.count - limit, "other \(noun)"))\(end)"
    ]
  }
}
