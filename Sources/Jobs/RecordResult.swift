import Formats
import Foundation
import OrderedCollections
import Transform

/// That a record is in its place, and what it is.
struct RecordResult: Codable, Sendable {
  /// The record's index in the file.
  let index: Int
  let checksum: UInt32
  /// What quantizing cost, for quantized tensors.
  let summary: QuantizationSummary?
}

extension RecordResult {
  init(parsing json: JSONValue) throws {
    var members = try JSONMembers(json, subject: "a line of the journal")
    index = try members.require("record", members.takeCount("record"))
    let digits = try members.require("crc32", members.takeString("crc32"))
    guard digits.utf8.count == 8, let value = UInt32(digits, radix: 16) else {
      throw FormatError.malformed("'crc32' is not 8 hexadecimal digits")
    }
    checksum = value
    summary = try members.take("summary").map { json in
      do {
        return try JSONDecoder().decode(
          QuantizationSummary.self, from: Data(json.serialized().utf8))
      } catch {
        throw FormatError.malformed("'summary' is not what quantizing a tensor cost")
      }
    }
  }

  func json() throws -> JSONValue {
    let digits = String(checksum, radix: 16)
    var members: OrderedDictionary<String, JSONValue> = [
      "record": .integer(index),
      "crc32": .string(String(repeating: "0", count: 8 - digits.count) + digits),
    ]
    if let summary {
      let encoder = JSONEncoder()
      encoder.outputFormatting = .sortedKeys
      members["summary"] = try JSONDocument.parse(SharedBytes(try encoder.encode(summary)))
    }
    return .object(members)
  }
}
