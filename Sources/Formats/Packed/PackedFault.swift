/// What lies at a place of a packed file.
public enum PackedRegion: String, Hashable, Sendable, Codable {
  case prologue, header
  /// Zeros before a record that is aligned.
  case padding
  /// The bytes of a tensor.
  case record
  /// The end of the file: bytes that follow it, or bytes that it lacks.
  case end

  /// A place in a few words: `tensor 'a.weight' at byte 4096`.
  package func place(tensor: String?, offset: Int) -> String {
    let what =
      switch self {
      case .record: tensor.map { "tensor '\($0)'" } ?? "a record"
      case .prologue: "the prologue"
      case .header: "the header"
      case .padding: "padding"
      case .end: "the file's end"
      }
    return "\(what) at byte \(offset)"
  }
}

/// A fault found in a packed file, with its place.
public struct PackedFault: Hashable, Sendable, Codable {
  /// The part of the file that is damaged.
  public let region: PackedRegion
  /// The tensor whose record it is; `nil` for the other regions.
  public let tensor: String?
  /// The first byte in the file of which it is known that it may be wrong. A checksum covers a whole
  /// prologue, header or record, and says no more than which of them.
  public let offset: Int
  /// Bytes from `offset` on that may be wrong; of a file that is too short, those that are missing.
  public let byteCount: Int
  /// What is wrong there: a lower-case sentence.
  public let message: String
  /// Whether a record's checksum is right and only what it says is not: it was written so.
  let hasRightChecksum: Bool

  /// The place in a few words.
  public var place: String { region.place(tensor: tensor, offset: offset) }

  init(
    _ region: PackedRegion, tensor: String? = nil, offset: Int, byteCount: Int, message: String,
    hasRightChecksum: Bool = false
  ) {
    self.region = region
    self.tensor = tensor
    self.offset = offset
    self.byteCount = byteCount
    self.message = message
    self.hasRightChecksum = hasRightChecksum
  }
}
