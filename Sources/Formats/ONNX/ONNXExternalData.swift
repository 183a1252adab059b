/// Where in another file a tensor's data lies: the pairs of `external_data`.
struct ONNXExternalData: Hashable, Sendable {
  /// Relative to the model's folder.
  let location: String
  let offset: Int
  /// `nil` when the tensor's own length counts.
  let byteCount: Int?

  /// - Throws: `FormatError` for a missing location, numbers that are none, and pairs given twice.
  init(_ pairs: [ONNXStringPair]) throws {
    var values: [String: String] = [:]
    for pair in pairs where values.updateValue(pair.value, forKey: pair.key) != nil {
      throw FormatError.malformed("the external data has '\(pair.key)' twice")
    }
    guard let location = values["location"] else {
      throw FormatError.malformed("the external data has no location")
    }
    func count(_ key: String) throws -> Int? {
      guard let text = values[key] else { return nil }
      guard let value = Int(text), value >= 0 else {
        throw FormatError.malformed("the external data's \(key) is no count: '\(text)'")
      }
      return value
    }
    self.location = location
    offset = try count("offset") ?? 0
    byteCount = try count("length")
  }
}
