import Foundation
import OrderedCollections

/// The index of a sharded checkpoint, such as `model.safetensors.index.json`: which file holds which
/// tensor.
struct ShardIndex: Sendable {
  static let byteCountLimit = 100_000_000
  /// What the names of indexes end with, for looking one up in a folder.
  static let fileNameSuffix = ".index.json"

  /// From a tensor's name to the name of its file.
  let weightMap: OrderedDictionary<String, String>
  /// `metadata.total_size`, which is often wrong.
  let totalSize: Int?
  /// The other members of `metadata`; what is no text, as JSON.
  let metadata: OrderedDictionary<String, String>
  /// Members that no known program writes.
  let unknownMembers: [String]

  /// - Throws: `FormatError` when the file is not JSON, or the map is not from texts to texts.
  init(reading file: InputFile) throws {
    guard file.byteCount <= Self.byteCountLimit else {
      throw FormatError(
        .limitExceeded(
          what: "an index in bytes", limit: Self.byteCountLimit, found: "\(file.byteCount)"))
    }
    let text = try file.bytes(at: 0, count: file.byteCount, purpose: "the index")
    var members = try JSONMembers(JSONDocument.parse(text), subject: "the index")
    let map = try JSONMembers(
      members.require("weight_map", members.take("weight_map")), subject: "'weight_map'")
    weightMap = try map.remaining.mapValues { value in
      guard case .string(let name) = value else {
        throw FormatError.malformed("'weight_map' has a file name that is not a string")
      }
      return name
    }
    var remarks = try members.take("metadata").map { try JSONMembers($0, subject: "'metadata'") }
    if case .integer(let size)? = remarks?.take("total_size") {
      totalSize = size
    } else {
      totalSize = nil
    }
    metadata =
      remarks?.remaining.mapValues { value in
        if case .string(let text) = value { return text }
        return value.serialized()
      } ?? [:]
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
