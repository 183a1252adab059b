import Formats
import Foundation
import Storage
import Testing

/// The content that the original programs read from a file, as recorded by
/// `Tests/Fixtures/generate.py`.
public struct ExpectedArchive: Sendable, CustomTestStringConvertible {
  public struct ExpectedTensor: Sendable {
    public let name: String
    public let elementType: String
    public let shape: [Int]
    /// The checksum of the contiguous row-major little-endian bytes.
    public let crc32: UInt32
  }

  /// The file's path below the fixtures or the shared data.
  public let path: String
  public let tensors: [ExpectedTensor]
  public let values: [(name: String, value: ArchiveValue)]
  public let metadata: [String: String]
  /// The names of the entries that are listed as left out.
  public let unread: [String]
  /// Whether opening the file or reading a tensor must be an error.
  public let isRefused: Bool
  /// Whether an error is accepted in place of the given tensors.
  public let mayBeRefused: Bool
  public let reason: String

  public var testDescription: String { path }

  /// Returns the entries of `Tests/Fixtures/<list>` whose path begins with one of `prefixes`.
  ///
  /// - Throws: `MissingFile`, or an error when the list is not as documented.
  public static func all(in list: String, below prefixes: [String]) throws -> [ExpectedArchive] {
    let data = try Data(contentsOf: URL(filePath: try PackageFolder.fixture(list)))
    guard case .object(let files) = try JSONDocument.parse(SharedBytes(data)) else { return [] }
    return try files.compactMap { path, entry in
      guard prefixes.contains(where: path.hasPrefix) else { return nil }
      return try ExpectedArchive(path: path, entry)
    }
  }

  private init(path: String, _ json: JSONValue) throws {
    var entry = try JSONObjectReader(json, path: path)
    self.path = path
    isRefused = entry.take("refused") == .boolean(true)
    mayBeRefused = entry.take("mayRefuse") == .boolean(true)
    reason = try entry.string("reason") ?? ""
    unread = try (entry.array("unread") ?? []).map { name in
      guard case .string(let name) = name else {
        throw ModelError.malformed("a name of what is left out is no text")
      }
      return name
    }
    tensors = try (entry.array("tensors") ?? []).map { try ExpectedTensor($0) }
    values = try Self.members(entry.take("values")).map { name, value in
      (name, try Self.value(value))
    }
    metadata = try Dictionary(
      uniqueKeysWithValues: Self.members(entry.take("metadata")).compactMap { name, value in
        guard case .string(let text) = value else { return nil }
        return (name, text)
      })
  }

  private static func members(_ json: JSONValue?) throws -> [(String, JSONValue)] {
    guard case .object(let members)? = json else { return [] }
    return members.map { ($0.key, $0.value) }
  }

  private static func value(_ json: JSONValue) throws -> ArchiveValue {
    var entry = try JSONObjectReader(json)
    switch (try entry.string("kind"), entry.take("value")) {
    case ("none", _): return .none
    case ("boolean", .boolean(let flag)?): return .boolean(flag)
    case ("integer", .integer(let integer)?): return .integer(integer)
    case ("largeInteger", .string(let digits)?): return .largeInteger(digits)
    case ("real", let number?): return .real(try real(number))
    case ("complex", .array(let parts)?) where parts.count == 2:
      return .complex(real: try real(parts[0]), imaginary: try real(parts[1]))
    case ("text", .string(let text)?): return .text(text)
    case ("bytes", .string(let digits)?):
      let pairs = stride(from: 0, to: digits.count, by: 2).map { digits.dropFirst($0).prefix(2) }
      return .bytes(pairs.compactMap { UInt8($0, radix: 16) })
    case (let kind, _): throw MissingFile(path: "a value of kind \(kind ?? "none")")
    }
  }

  private static func real(_ json: JSONValue) throws -> Double {
    switch json {
    case .integer(let value): return Double(value)
    case .number(let value): return value
    case .string("nan"): return .nan
    case .string("inf"): return .infinity
    case .string("-inf"): return -.infinity
    default: throw MissingFile(path: "a number")
    }
  }
}

extension ExpectedArchive.ExpectedTensor {
  fileprivate init(_ json: JSONValue) throws {
    var entry = try JSONObjectReader(json)
    name = try entry.require("name", entry.string("name"))
    elementType = try entry.require("elementType", entry.string("elementType"))
    shape = try entry.require("shape", entry.array("shape")).compactMap { item in
      guard case .integer(let dimension) = item else { return nil }
      return dimension
    }
    crc32 = UInt32(truncatingIfNeeded: try entry.require("crc32", entry.integer("crc32")))
  }
}
