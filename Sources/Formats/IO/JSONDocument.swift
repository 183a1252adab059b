import CJSONC
import Foundation
import OrderedCollections

/// Reads JSON texts through json-c, held to RFC 8259.
///
/// json-c alone keeps the last of duplicate keys, cuts keys at `\u0000`, caps large integers and
/// takes several things that are not JSON; `JSONScanner` refuses those first.
package enum JSONDocument {
  /// Containers inside containers that are accepted unless the caller says otherwise.
  package static let defaultDepthLimit = 64

  /// The value that `bytes` hold.
  ///
  /// Integers outside `Int` become `.number`, rounded to the nearest `Double`. Keys that differ
  /// only in Unicode normalization count as duplicates, because Swift compares them as equal.
  ///
  /// - Parameter maximumDepth: how deep containers may be nested; 1 takes `[]` but not `[[]]`.
  /// - Parameter baseOffset: where `bytes` begin in their file, so that errors name file offsets.
  /// - Throws: `FormatError` with the byte offset for whatever RFC 8259 does not allow, invalid
  ///   UTF-8, unpaired surrogates, duplicate keys, `\u0000` in keys, numbers beyond `Double`, more
  ///   than 4,194,304 values, and anything but white space after the value.
  package static func parse(
    _ bytes: SharedBytes, maximumDepth: Int = defaultDepthLimit, baseOffset: Int = 0
  ) throws -> JSONValue {
    guard let length = Int32(exactly: bytes.count) else {
      throw FormatError(
        .limitExceeded(
          what: "a JSON text in bytes", limit: Int(Int32.max), found: "\(bytes.count)"),
        offset: baseOffset)
    }
    return try bytes.withUnsafeBytes { buffer in
      var scanner = JSONScanner(buffer, maximumDepth: maximumDepth, baseOffset: baseOffset)
      try scanner.scan()
      let root = try tree(buffer, length: length, maximumDepth, baseOffset)
      defer { json_object_put(root) }
      var longIntegers = scanner.longIntegers[...]
      let value = try convert(root, &longIntegers)
      guard longIntegers.isEmpty else {
        throw FormatError.malformed("a number is read in two ways", offset: baseOffset)
      }
      return value
    }
  }

  /// json-c's tree of the text, which the caller releases; `nil` is JSON's `null`.
  private static func tree(
    _ buffer: UnsafeRawBufferPointer, length: Int32, _ maximumDepth: Int, _ baseOffset: Int
  ) throws -> OpaquePointer? {
    // json-c counts a scalar as a level of its own.
    let depth = Int32(clamping: max(1, maximumDepth)).addingReportingOverflow(1).partialValue
    guard let tokener = json_tokener_new_ex(max(1, depth)) else {
      throw FormatError(.system(operation: "allocate a JSON parser", code: ENOMEM))
    }
    defer { json_tokener_free(tokener) }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8)
    let text = buffer.assumingMemoryBound(to: CChar.self).baseAddress
    var root = json_tokener_parse_ex(tokener, text, length)
    var end = json_tokener_get_parse_end(tokener)
    if json_tokener_get_error(tokener) == json_tokener_continue {
      // A number at the very end is complete only once json-c sees the end of the text.
      root = json_tokener_parse_ex(tokener, "", 1)
      end = buffer.count
    }
    let error = json_tokener_get_error(tokener)
    guard error == json_tokener_success else {
      let message = String(cString: json_tokener_error_desc(error))
      throw FormatError.malformed(
        "not valid JSON: \(message)", offset: baseOffset + min(Int(end), buffer.count))
    }
    return root
  }

  /// - Parameter longIntegers: the integers of 19 and more digits, in the order of the text.
  private static func convert(
    _ object: OpaquePointer?, _ longIntegers: inout ArraySlice<JSONValue>
  ) throws -> JSONValue {
    guard let object else { return .null }
    switch json_object_get_type(object) {
    case json_type_boolean: return .boolean(json_object_get_boolean(object) != 0)
    case json_type_double: return .number(json_object_get_double(object))
    case json_type_int:
      let value = json_object_get_int64(object)
      if value.magnitude < JSONScanner.longIntegerMagnitude { return .integer(Int(value)) }
      // json-c has capped the value to 64 bits.
      return longIntegers.popFirst() ?? .integer(Int(value))
    case json_type_string:
      let count = Int(json_object_get_string_len(object))
      let text = UnsafeRawBufferPointer(start: json_object_get_string(object), count: count)
      return .string(String(decoding: text, as: UTF8.self))
    case json_type_array:
      return .array(
        try (0..<json_object_array_length(object)).map { index in
          try convert(json_object_array_get_idx(object, index), &longIntegers)
        })
    case json_type_object:
      var members = OrderedDictionary<String, JSONValue>(
        minimumCapacity: Int(json_object_object_length(object)))
      var iterator = json_object_iter_begin(object)
      var end = json_object_iter_end(object)
      while json_object_iter_equal(&iterator, &end) == 0 {
        let key = String(cString: json_object_iter_peek_name(&iterator))
        members[key] = try convert(json_object_iter_peek_value(&iterator), &longIntegers)
        json_object_iter_next(&iterator)
      }
      return .object(members)
    default: return .null
    }
  }
}
