import Foundation

/// The JSON form of reports: sorted keys, indented, absent values left out, and numbers that JSON
/// lacks as the texts `"inf"`, `"-inf"` and `"nan"`.
package enum ReportJSON {
  /// - Returns: one JSON document that ends in a line break.
  package static func encode(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
  }

  /// - Throws: `DecodingError` when `json` is not what `encode` makes of a `Value`.
  package static func decode<Value: Decodable>(_ type: Value.Type, from json: String) throws
    -> Value
  {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return try decoder.decode(type, from: Data(json.utf8))
  }
}
