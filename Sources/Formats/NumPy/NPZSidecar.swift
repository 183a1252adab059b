import OrderedCollections
import Storage

/// Information that NumPy arrays cannot express, in an extra entry of the archive that holds JSON
/// text.
///
/// It is written only if needed, and reads in Python as
/// `json.loads(str(numpy.load(path)["__condi__"]))`.
struct NPZSidecar: Equatable {
  static let arrayName = "__condi__"
  static let version = 1

  /// Entries whose tensor or value has a different name, by entry.
  var names: OrderedDictionary<String, String> = [:]
  /// Element types of arrays of raw bytes, by entry.
  var elementTypes: OrderedDictionary<String, ElementType> = [:]
  /// Logical shapes of arrays of elements narrower than a byte, by entry.
  var shapes: OrderedDictionary<String, Shape> = [:]
  /// The values in order, by name.
  var values: OrderedDictionary<String, Value> = [:]
  var metadata: OrderedDictionary<String, String> = [:]

  enum Value: Equatable {
    /// An array without axes, by entry.
    case entry(String)
    /// An array with one axis, by entry: the values of a list, named by their indices.
    case list(String)
    /// A value that no NumPy array can represent.
    case encoded(ArchiveValue)
  }

  init() {}

  var isEmpty: Bool { self == NPZSidecar() }
}

// MARK: - JSON

extension NPZSidecar {
  /// Returns the sidecar as JSON.
  ///
  /// - Throws: `ModelError` when the name of a value or metadata item contains a NUL.
  func text() throws -> String {
    var members: OrderedDictionary<String, JSONValue> = ["version": .integer(Self.version)]
    if !names.isEmpty { members["names"] = .object(names.mapValues(JSONValue.string)) }
    if !elementTypes.isEmpty {
      members["types"] = .object(elementTypes.mapValues { .string($0.rawValue) })
    }
    if !shapes.isEmpty {
      members["shapes"] = .object(shapes.mapValues { .array($0.dimensions.map(JSONValue.integer)) })
    }
    if !values.isEmpty {
      members["values"] = .object(
        values.mapValues { value in
          switch value {
          case .entry(let entry): .object(["entry": .string(entry)])
          case .list(let entry): .object(["list": .string(entry)])
          case .encoded(let value): value.json
          }
        })
    }
    if !metadata.isEmpty { members["metadata"] = .object(metadata.mapValues(JSONValue.string)) }
    let sidecar = JSONValue.object(members)
    try sidecar.checkKeys()
    return sidecar.serialized()
  }

  /// Parses a sidecar.
  ///
  /// - Throws: `ModelError` for anything that `text` does not produce, including other versions.
  init(parsing text: String) throws {
    guard case .object(let members) = try JSONDocument.parse(SharedBytes(text.utf8)) else {
      throw ModelError.malformed("not a JSON object")
    }
    guard case .integer(let version)? = members["version"], version == Self.version else {
      throw ModelError.unsupported(
        "version \(members["version"]?.serialized() ?? "none") is unknown; known is "
          + "\(Self.version)")
    }
    for (name, content) in members where name != "version" {
      guard case .object(let entries) = content else {
        throw ModelError.malformed("'\(name)' is not an object")
      }
      switch name {
      case "names": names = try entries.mapValues { try Self.string($0, in: name) }
      case "metadata": metadata = try entries.mapValues { try Self.string($0, in: name) }
      case "types": elementTypes = try entries.mapValues(Self.elementType)
      case "shapes": shapes = try entries.mapValues(Self.shape)
      case "values": values = try entries.mapValues(Self.value)
      default: throw ModelError.malformed("the unknown member '\(name)'")
      }
    }
  }

  private static func string(_ json: JSONValue, in member: String) throws -> String {
    guard case .string(let text) = json else {
      throw ModelError.malformed("'\(member)' has an item that is not a string")
    }
    return text
  }

  private static func elementType(_ json: JSONValue) throws -> ElementType {
    let name = try string(json, in: "types")
    guard let type = ElementType(rawValue: name) else {
      throw ModelError.unsupported("the element type '\(name)' is unknown")
    }
    return type
  }

  private static func shape(_ json: JSONValue) throws -> Shape {
    guard case .array(let items) = json else {
      throw ModelError.malformed("'shapes' has an item that is not an array")
    }
    let dimensions = try items.map { item in
      guard case .integer(let dimension) = item else {
        throw ModelError.malformed("'shapes' has a dimension that is not an integer")
      }
      return dimension
    }
    guard let shape = Shape(dimensions) else {
      throw ModelError.malformed(
        "the shape \(dimensions) is negative or has more than 2^63 elements")
    }
    return shape
  }

  private static func value(_ json: JSONValue) throws -> Value {
    if case .object(let members) = json, members.count == 1,
      case .string(let entry)? = members["entry"]
    {
      return .entry(entry)
    }
    if case .object(let members) = json, members.count == 1,
      case .string(let entry)? = members["list"]
    {
      return .list(entry)
    }
    return .encoded(try ArchiveValue(json: json))
  }
}
