import OrderedCollections
import Storage

/// Flax checkpoints: MessagePack as `flax.serialization` writes it; `Flax.md` has the layout.
///
/// Arrays that Flax splits into chunks, because MessagePack limits the length of a value, are put
/// together when they are loaded.
package struct FlaxFormat: ReadOnlyModelFormat {
  package init() {}

  package var identifier: FormatIdentifier {
    FormatIdentifier(name: "flax", displayName: "Flax", fileExtensions: ["msgpack"])
  }
  package var isFreeOfCode: Bool { true }

  /// The most values that are looked at for an array.
  private static let recognitionLimit = 4096

  /// Whether the file is a map with text keys in which an array of Flax occurs early; MessagePack
  /// has no signature.
  package func recognizes(_ file: InputFile) -> Bool {
    var reader = MessagePackReader(in: file, range: 0..<file.byteCount)
    guard case .map(let count)? = try? reader.next(), count > 0 else { return false }
    guard case .text? = try? reader.next() else { return false }
    for _ in 0..<Self.recognitionLimit {
      guard let value = try? reader.next() else { return false }
      if case .custom(let type, let range) = value {
        return FlaxArray.types.contains(type) && (try? FlaxArray(in: file, range)) != nil
      }
    }
    return false
  }

  package func read(_ file: InputFile) throws -> TensorArchive {
    try locatingErrors(path: file.path) {
      var reader = FlaxReader(file)
      var archive = try reader.read()
      archive.format = identifier
      return archive
    }
  }
}

/// An array of a Flax file: its shape, its type, and the location of its bytes.
struct FlaxArray: Sendable {
  /// The type of MessagePack value that holds an array.
  static let array: Int8 = 1
  /// The one that holds Python's complex numbers.
  static let complex: Int8 = 2
  /// The one that holds a scalar of NumPy, as an array without axes.
  static let scalar: Int8 = 3
  static let types: Set<Int8> = [array, complex, scalar]

  /// The most axes, as in NumPy.
  static let rankLimit = 64

  let dimensions: [Int]
  /// NumPy's name.
  let typeName: String
  let range: Range<Int>

  /// Reads the description of an array.
  ///
  /// - Throws: `ModelError` if the value at `range` is not `[[dimension, …], type, bytes]`.
  init(in file: InputFile, _ range: Range<Int>) throws {
    var reader = MessagePackReader(in: file, range: range)
    guard case .array(3) = try reader.next(), case .array(let rank) = try reader.next() else {
      throw ModelError.malformed("an array is not shape, type and bytes", offset: range.lowerBound)
    }
    guard rank <= Self.rankLimit else {
      throw ModelError(
        .limitExceeded(what: "the axes of an array", limit: Self.rankLimit, found: "\(rank)"),
        offset: range.lowerBound)
    }
    dimensions = try (0..<rank).map { _ in
      guard case .integer(let dimension) = try reader.next(), dimension >= 0 else {
        throw ModelError.malformed("a dimension is not a count", offset: range.lowerBound)
      }
      return dimension
    }
    guard case .text(let name) = try reader.next(), case .binary(let bytes) = try reader.next(),
      reader.isAtEnd
    else {
      throw ModelError.malformed("an array is not shape, type and bytes", offset: range.lowerBound)
    }
    typeName = name
    self.range = bytes
  }

  var elementType: ElementType? { Self.elementTypes[typeName] }

  private static let elementTypes: [String: ElementType] = {
    let own: [ElementType] = [
      .bool, .uint8, .uint16, .uint32, .uint64, .int8, .int16, .int32, .int64, .float16, .bfloat16,
      .float32, .float64, .complex64, .complex128, .float8E4M3FN, .float8E4M3FNUZ, .float8E5M2,
      .float8E5M2FNUZ, .float8E8M0FNU,
    ]
    return Dictionary(uniqueKeysWithValues: own.map { ($0.rawValue, $0) })
  }()
}

/// Reads the values of a Flax file into an archive.
private struct FlaxReader {
  private let file: InputFile
  private var reader: MessagePackReader
  private var archive = TensorArchive()
  private var valueCount = 0
  private var nameByteCount = 0

  init(_ file: InputFile) {
    self.file = file
    reader = MessagePackReader(in: file, range: 0..<file.byteCount)
  }

  mutating func read() throws -> TensorArchive {
    let structure = try structure(named: "", depth: 0)
    guard reader.isAtEnd else {
      throw ModelError.malformed(
        "\(counted(file.byteCount - reader.offset, "byte")) after the checkpoint",
        offset: reader.offset)
    }
    archive.structure = structure
    return archive
  }

  private mutating func structure(named name: String, depth: Int) throws -> ArchiveStructure {
    let start = reader.offset
    try count(name, depth, start)
    switch try reader.next() {
    case .map(let count): return try map(count, named: name, depth: depth, start)
    case .array(let count):
      return .list(
        try (0..<count).map { index in
          try structure(named: ArchiveStructure.join(name, "\(index)"), depth: depth + 1)
        })
    case .custom(let type, let range): return try custom(type, range, named: name)
    case .null: return try leaf(.none, named: name, start)
    case .boolean(let value): return try leaf(.boolean(value), named: name, start)
    case .integer(let value): return try leaf(.integer(value), named: name, start)
    case .largeInteger(let value): return try leaf(.largeInteger("\(value)"), named: name, start)
    case .real(let value): return try leaf(.real(value), named: name, start)
    case .text(let text): return try leaf(.text(text), named: name, start)
    case .binary(let range):
      guard range.count <= FlaxLimits.binaryByteCount else {
        return leaveOut(name, "bytes", "raw bytes without a type are not read")
      }
      let bytes = try file.bytes(at: range.lowerBound, count: range.count, purpose: "bytes")
      return try leaf(.bytes(bytes.array), named: name, start)
    }
  }

  private mutating func count(_ name: String, _ depth: Int, _ offset: Int) throws {
    valueCount += 1
    nameByteCount += name.utf8.count
    let limits = [
      ("the nesting of a checkpoint", depth, FlaxLimits.depth),
      ("the values of a checkpoint", valueCount, FlaxLimits.valueCount),
      ("the names of a checkpoint in bytes", nameByteCount, PyTorchObjectReader.nameByteLimit),
    ]
    for (what, found, limit) in limits where found > limit {
      throw ModelError(
        .limitExceeded(what: what, limit: limit, found: "more"), offset: offset)
    }
  }

  private mutating func leaf(
    _ value: ArchiveValue, named name: String, _ offset: Int
  ) throws -> ArchiveStructure {
    try checkName(name, offset)
    archive.values[name] = value
    return .leaf(name)
  }

  private func checkName(_ name: String, _ offset: Int) throws {
    guard archive.tensors[name] == nil, archive.values[name] == nil else {
      throw ModelError.malformed("two values have this name", tensor: name, offset: offset)
    }
  }

  private mutating func leaveOut(
    _ name: String, _ kind: String, _ reason: String
  ) -> ArchiveStructure {
    archive.unread.append(UnreadEntry(name: name, kind: kind, reason: reason))
    return .unread(name)
  }

  private mutating func map(
    _ count: Int, named name: String, depth: Int, _ start: Int
  ) throws -> ArchiveStructure {
    var entries: [ArchiveStructure.Entry] = []
    for index in 0..<count {
      let offset = reader.offset
      let key: ArchiveValue
      switch try reader.next() {
      case .text(let text): key = .text(text)
      case .integer(let number): key = .integer(number)
      default: throw ModelError.malformed("a key is not text", offset: offset)
      }
      if index == 0, key == .text(FlaxLimits.chunkedKey) {
        return try chunkedArray(count, named: name, depth: depth, start)
      }
      let child = ArchiveStructure.join(name, ArchiveStructure.component(of: key))
      entries.append(.init(key: key, value: try structure(named: child, depth: depth + 1)))
    }
    return .dictionary(entries, isOrdered: false)
  }

  private mutating func custom(
    _ type: Int8, _ range: Range<Int>, named name: String
  ) throws -> ArchiveStructure {
    switch type {
    case FlaxArray.array, FlaxArray.scalar:
      return try add(chunks: [try FlaxArray(in: file, range)], as: nil, named: name)
    case FlaxArray.complex:
      var reader = MessagePackReader(in: file, range: range)
      guard case .array(2) = try reader.next(), case .real(let real) = try reader.next(),
        case .real(let imaginary) = try reader.next()
      else {
        throw ModelError.malformed("a complex number is not two", offset: range.lowerBound)
      }
      return try leaf(.complex(real: real, imaginary: imaginary), named: name, range.lowerBound)
    default:
      return leaveOut(
        name, "MessagePack extension \(type)",
        "Flax defines the extensions 1 to 3 alone: \(counted(range.count, "byte"))")
    }
  }

  /// Reads what follows the first key of a chunked array: `true`, then `shape` and `chunks`, which
  /// are maps with the keys "0", "1", …
  private mutating func chunkedArray(
    _ count: Int, named name: String, depth: Int, _ start: Int
  ) throws -> ArchiveStructure {
    func malformed() -> ModelError {
      ModelError.malformed(
        "a chunked array is not a mark, 'shape' and 'chunks'", tensor: name, offset: start)
    }
    _ = try reader.next()
    var dimensions: [Int]?
    var chunks: [FlaxArray]?
    for _ in 1..<count {
      guard case .text(let key) = try reader.next(), case .map(let length) = try reader.next()
      else { throw malformed() }
      switch key {
      case "shape":
        guard length <= FlaxArray.rankLimit else { throw malformed() }
        dimensions = try numbered(length, malformed()) { value in
          if case .integer(let dimension) = value, dimension >= 0 { dimension } else { nil }
        }
      case "chunks":
        chunks = try numbered(length, malformed()) { [file] value in
          guard case .custom(FlaxArray.array, let range) = value else { return nil }
          return try FlaxArray(in: file, range)
        }
      default: throw malformed()
      }
    }
    guard let dimensions, let chunks, !chunks.isEmpty else { throw malformed() }
    return try add(chunks: chunks, as: dimensions, named: name)
  }

  /// Reads the values of a map with the keys "0", "1", … in their order.
  private mutating func numbered<Element>(
    _ count: Int, _ error: ModelError, _ convert: (MessagePackReader.Value) throws -> Element?
  ) throws -> [Element] {
    var found: [Int: Element] = [:]
    for _ in 0..<count {
      guard case .text(let key) = try reader.next(), let number = Int(key),
        let element = try convert(reader.next())
      else { throw error }
      found[number] = element
    }
    let ordered = (0..<count).compactMap { found[$0] }
    guard ordered.count == count else { throw error }
    return ordered
  }

  private mutating func add(
    chunks: [FlaxArray], as dimensions: [Int]?, named name: String
  ) throws -> ArchiveStructure {
    let start = chunks[0].range.lowerBound
    let dimensions = dimensions ?? chunks[0].dimensions
    guard let shape = Shape(dimensions) else {
      throw ModelError.malformed(
        "the dimensions \(dimensions) have more than 2^63 elements", tensor: name, offset: start)
    }
    let typeName = chunks[0].typeName
    guard chunks.allSatisfy({ $0.typeName == typeName }) else {
      throw ModelError.malformed("its chunks differ in type", tensor: name, offset: start)
    }
    guard let elementType = chunks[0].elementType else {
      return leaveOut(
        name, "\(typeName) \(shape)", "elements of type \(typeName) cannot be read")
    }
    try checkName(name, start)
    let ranges = chunks.map(\.range)
    let tensor = try locatingErrors(tensor: name) {
      try Tensor(elementType: elementType, shape: shape) { [file] in
        try locatingErrors(path: file.path, tensor: name) {
          let parts = try ranges.map {
            try file.bytes(at: $0.lowerBound, count: $0.count, purpose: "\(elementType) \(shape)")
          }
          return parts.count == 1 ? parts[0] : SharedBytes(joining: parts)
        }
      }
    }
    let found = ranges.reduce(0) { $0 + $1.count }
    guard found == tensor.byteCount else {
      throw ModelError(
        .truncated(
          expectedBytes: tensor.byteCount, foundBytes: found, purpose: "\(elementType) \(shape)"),
        tensor: name, offset: start)
    }
    archive.tensors[name] = tensor
    return .leaf(name)
  }
}

/// What a Flax file may ask for, and the words that it reserves.
enum FlaxLimits {
  /// The most containers around a value.
  static let depth = 100
  static let valueCount = 1 << 22
  /// Raw bytes beyond this length are left out.
  static let binaryByteCount = 1 << 20
  /// The first key of the map that stands for a chunked array.
  static let chunkedKey = "__msgpack_chunked_array__"
}
