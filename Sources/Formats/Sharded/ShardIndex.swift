import Glibc
import OrderedCollections
import Storage

/// The index of a sharded checkpoint, such as `model.safetensors.index.json`, which lists the file
/// of each tensor.
struct ShardIndex: Sendable {
  static let byteCountLimit = 100_000_000
  /// The suffix of the names of indexes, used to find one in a folder.
  static let fileNameSuffix = ".index.json"

  /// The file names, by tensor name.
  let weightMap: OrderedDictionary<String, String>
  /// `metadata.total_size`, which is often wrong.
  let totalSize: Int?
  /// The other members of `metadata`; values that are not strings are kept as JSON.
  let metadata: OrderedDictionary<String, String>
  /// Members that no known program writes.
  let unknownMembers: [String]

  /// Reads an index.
  ///
  /// - Throws: `ModelError` when the file is not JSON, or the map's values are not strings.
  init(reading file: InputFile) throws {
    guard file.byteCount <= Self.byteCountLimit else {
      throw ModelError(
        .limitExceeded(
          what: "an index in bytes", limit: Self.byteCountLimit, found: "\(file.byteCount)"))
    }
    let text = try file.bytes(at: 0, count: file.byteCount, purpose: "the index")
    var members = try JSONObjectReader(JSONDocument.parse(text))
    weightMap = try members.require(
      "weight_map", members.object("weight_map") { try $0.strings() })
    var remarks = try members.object("metadata") { $0.remaining } ?? [:]
    if case .integer(let size)? = remarks.removeValue(forKey: "total_size") {
      totalSize = size
    } else {
      totalSize = nil
    }
    metadata = remarks.mapValues { value in
      if case .string(let text) = value { text } else { value.serialized() }
    }
    unknownMembers = Array(members.remaining.keys)
  }

  /// Whether the content looks like an index: a JSON object in which `"weight_map"` occurs.
  static func isRecognized(_ file: InputFile) -> Bool {
    guard file.byteCount <= byteCountLimit,
      let head = try? file.bytes(
        at: 0, count: min(64, file.byteCount), purpose: "the signature"
      ).array,
      head.first(where: { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }) == UInt8(ascii: "{"),
      !head.contains(0),
      let text = try? file.bytes(at: 0, count: file.byteCount, purpose: "the index")
    else { return false }
    return text.firstRange(of: "\"weight_map\"") != nil
  }
}

/// The information in shard names: `model-00002-of-00005.safetensors` is the second of five.
struct ShardNames {
  /// The parts of one name.
  private struct Parts: Hashable {
    let prefix: String
    let number: Int
    let count: Int
    let suffix: String

    /// Parses a name.
    ///
    /// - Returns: `nil` for names of another form.
    init?(_ name: String) {
      guard let range = name.ranges(of: "-of-").last else { return nil }
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

  /// The series of shards that a name belongs to.
  private struct Series: Hashable {
    let prefix: String
    let suffix: String
  }

  private let names: [String]

  /// Wraps the names of an index's shards.
  ///
  /// - Parameter names: the shards of an index.
  init(_ names: [String]) {
    self.names = names
  }

  /// Returns notes on files that look like shards of the same model but are not in the index, and
  /// on a shard count in the names that exceeds the index's.
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
        "the shards' names imply \(counted(count, "shard")), but the index has \(names.count)")
    }
    return notes
  }
}

extension Character {
  fileprivate var isASCIIDigit: Bool { isASCII && isNumber }
}
