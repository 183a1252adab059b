import Foundation

/// What the names of shards say: `model-00002-of-00005.safetensors` is the second of five.
struct ShardNames {
  /// One name taken apart.
  private struct Parts: Hashable {
    let prefix: String
    let number: Int
    let count: Int
    let suffix: String

    /// - Returns: `nil` for names of another form.
    init?(_ name: String) {
      guard let range = name.range(of: "-of-", options: .backwards) else { return nil }
      let head = name[..<range.lowerBound]
      let tail = name[range.upperBound...]
      let counted = tail.prefix(while: \.isASCIIDigit)
      let numbered = head.reversed().prefix(while: \.isASCIIDigit).reversed()
      guard let number = Int(String(numbered)), let count = Int(counted), number <= count else {
        return nil
      }
      self.number = number
      self.count = count
      prefix = String(head.dropLast(numbered.count))
      suffix = String(tail.dropFirst(counted.count))
    }
  }

  /// The series that a name belongs to.
  private struct Series: Hashable {
    let prefix: String
    let suffix: String
  }

  private let names: [String]

  /// - Parameter names: the shards of an index.
  init(_ names: [String]) {
    self.names = names
  }

  /// Files that look like shards of the same model and are not in the index, and shards that the
  /// names promise and that are neither.
  ///
  /// - Parameter folder: the names in the index's folder.
  func notes(folder: [String]) -> [String] {
    var notes: [String] = []
    let series = Set(
      names.compactMap(Parts.init).map { Series(prefix: $0.prefix, suffix: $0.suffix) })
    let known = Set(names)
    let extra = folder.filter { name in
      guard !known.contains(name), let parts = Parts(name) else { return false }
      return series.contains(Series(prefix: parts.prefix, suffix: parts.suffix))
    }
    if !extra.isEmpty {
      notes.append(
        "the index lacks \(counted(extra.count, "file")) that may be a shard by name: "
          + extra.quotedList())
    }
    let counts = Set(names.compactMap { Parts($0)?.count })
    if counts.count == 1, let count = counts.first, names.count < count {
      notes.append(
        "the shards' names speak of \(counted(count, "shard")), the index of \(names.count)")
    }
    return notes
  }
}

extension Character {
  fileprivate var isASCIIDigit: Bool { isASCII && isNumber }
}
