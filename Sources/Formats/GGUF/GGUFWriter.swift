import OrderedCollections
import Storage

/// Plans GGUF files of version 3, little-endian, with the default alignment.
struct GGUFWriter {
  /// A tensor of the file.
  struct Entry: Sendable {
    /// The full name; the file holds the name that `GGUFName` makes of it.
    let name: String
    /// ggml's `ggml_type`.
    let typeNumber: UInt32
    /// The row-major shape; the file has the dimensions in reverse order.
    let shape: Shape
    let byteCount: Int
    let load: @Sendable () throws -> SharedBytes
  }

  static let alignment = 32

  /// Texts under their keys.
  var texts: OrderedDictionary<String, String> = [:]
  /// Counts under their keys, as u32.
  var counts: OrderedDictionary<String, UInt32> = [:]
  let entries: [Entry]

  init(_ entries: [Entry]) throws {
    var names: Set<String> = []
    for entry in entries {
      guard names.insert(GGUFName(entry.name).stored).inserted else {
        throw ModelError.unsupported("two tensors would have this name", tensor: entry.name)
      }
      guard entry.shape.rank <= GGUFHeader.rankLimit else {
        throw ModelError.unsupported(
          "GGUF tensors have at most \(GGUFHeader.rankLimit) axes, not \(entry.shape.rank)",
          tensor: entry.name)
      }
    }
    self.entries = entries
  }

  func plan() throws -> PlannedFile<Never> {
    let header = SharedBytes(try header())
    var end = Self.aligned(header.count)
    let records = entries.map { entry in
      defer { end += Self.aligned(entry.byteCount) }
      return PlannedRecord<Never>(
        name: entry.name, names: [entry.name], offset: end, byteCount: entry.byteCount,
        sourceByteCount: entry.byteCount
      ) { MadeRecord(try entry.load()) }
    }
    return PlannedFile(records, recordsEnd: end) { _ in [FilePiece(offset: 0, bytes: header)] }
  }

  private func header() throws -> [UInt8] {
    var bytes = GGUFHeader.magic
    bytes.append(fields: GGUFHeader.versions.upperBound)
    bytes.append(fields: UInt64(entries.count), UInt64(texts.count + counts.count))
    for (key, text) in texts {
      bytes.append(text: key)
      bytes.append(fields: UInt32(8))
      bytes.append(text: text)
    }
    for (key, count) in counts {
      bytes.append(text: key)
      bytes.append(fields: UInt32(4), count)
    }
    var offset = 0
    for entry in entries {
      bytes.append(text: GGUFName(entry.name).stored)
      // ggml has no scalars, so a scalar is one element along one axis.
      let dimensions = entry.shape.rank == 0 ? [1] : entry.shape.dimensions
      bytes.append(fields: UInt32(dimensions.count))
      for dimension in dimensions.reversed() {
        bytes.append(fields: UInt64(dimension))
      }
      bytes.append(fields: entry.typeNumber, UInt64(offset))
      let (end, overflow) = offset.addingReportingOverflow(entry.byteCount + Self.alignment - 1)
      guard !overflow else {
        throw ModelError.unsupported("the tensors have more than 2^63 bytes", tensor: entry.name)
      }
      offset = end / Self.alignment * Self.alignment
    }
    return bytes
  }

  private static func aligned(_ byteCount: Int) -> Int { (byteCount + alignment - 1) & -alignment }
}

extension [UInt8] {
  /// Appends a length (u64) and UTF-8.
  fileprivate mutating func append(text: String) {
    append(fields: UInt64(text.utf8.count))
    append(contentsOf: text.utf8)
  }
}

/// A tensor's name in a form that ggml can read.
///
/// ggml rejects a whole file for a single name of 64 bytes or more (`GGML_MAX_NAME`, which includes
/// a terminating zero). The middle of a longer name is replaced by 8 hexadecimal digits of its
/// SHA-256 between tildes, which keeps the ends readable and the names distinct.
struct GGUFName: Hashable, Sendable {
  /// The length of the longest name in UTF-8.
  static let byteCountLimit = 63

  /// The name outside the file.
  let full: String
  /// The name in the file, of at most `byteCountLimit` bytes.
  let stored: String

  init(_ full: String) {
    self.full = full
    guard full.utf8.count > Self.byteCountLimit else {
      stored = full
      return
    }
    let middle = "~\(SharedBytes(full.utf8).sha256.prefix(8))~"
    let byteCount = Self.byteCountLimit - middle.utf8.count
    let tail = Self.cut(full.unicodeScalars.reversed(), to: byteCount / 2).reversed()
    let head = Self.cut(Array(full.unicodeScalars), to: byteCount - byteCount / 2)
    stored = Self.text(head) + middle + Self.text(Array(tail))
  }

  var isShortened: Bool { stored != full }

  private static func cut(_ scalars: [Unicode.Scalar], to byteCount: Int) -> [Unicode.Scalar] {
    var rest = byteCount
    return Array(
      scalars.prefix { scalar in
        rest -= UTF8.width(scalar)
        return rest >= 0
      })
  }

  private static func text(_ scalars: [Unicode.Scalar]) -> String {
    String(String.UnicodeScalarView(scalars))
  }
}
