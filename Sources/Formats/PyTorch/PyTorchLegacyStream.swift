import Storage

/// The unzipped checkpoints that `torch.save` wrote from 0.1.11 to 1.5, and still writes on
/// request.
///
/// Five pickles come first (a magic number, the version 1001, facts about the machine, the object,
/// the list of storage keys). Each storage follows: its 64-bit element count and its bytes,
/// little-endian on every machine.
struct PyTorchLegacyStream: PyTorchStorageSource {
  /// The opcode LONG1, its length 10, and the first bytes of the integer 0x1950A86A20F9469CFC6C.
  private static let signature: [UInt8] = [0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20]
  private static let magicNumber = "119547037146038801333356"
  private static let version = 1001

  /// A function that reads one pickle and advances the reader past it.
  typealias PickleReading = (_ reader: inout ByteReader, _ purpose: String) throws -> PickleGraph

  /// The checkpoint's objects.
  let graph: PickleGraph
  private let load: @Sendable (Range<Int>) throws -> SharedBytes
  private var ranges: [String: Range<Int>] = [:]
  private var storages: [String: TensorStorage] = [:]

  /// The number of bytes that `isBeginning` examines.
  static let signatureByteCount = 24

  /// Whether `bytes` begin like such a checkpoint, damaged or not: with the magic number in any
  /// pickle protocol. Protocols 4 and 5 put a frame's length before it.
  static func isBeginning(_ bytes: SharedBytes) -> Bool {
    let head = bytes.slice(0..<min(bytes.count, signatureByteCount)).array
    if head.starts(with: "L\(magicNumber)".utf8.prefix(signatureByteCount)) { return true }
    return head.first == PickleOpcode.proto.rawValue
      && [2, 11].contains { head.dropFirst($0).starts(with: signature) }
  }

  /// Parses a stream.
  ///
  /// - Parameters:
  ///   - start: a reader of the whole stream, at its beginning.
  ///   - load: returns bytes of the stream when they are needed.
  /// - Throws: `ModelError` unless the stream is exactly the pickles and the storages that they
  ///   name.
  init(
    parsing start: ByteReader,
    readingPickles read: PickleReading = { reader, _ in
      try PickleMachine.read(from: &reader, byteLimit: .max)
    },
    load: @escaping @Sendable (Range<Int>) throws -> SharedBytes
  ) throws {
    self.load = load
    var reader = start
    let magic = try read(&reader, "magic number")
    guard case .largeInteger(Self.magicNumber) = magic.nodes[magic.root] else {
      throw ModelError.malformed("not an unzipped PyTorch checkpoint", offset: start.fileOffset)
    }
    let versionOffset = reader.fileOffset
    let version = try read(&reader, "version")
    guard case .integer(Self.version) = version.nodes[version.root] else {
      throw ModelError.unsupported(
        "this version of unzipped PyTorch checkpoints is unknown", offset: versionOffset)
    }
    _ = try read(&reader, "machine")
    graph = try read(&reader, "object")
    let keysOffset = reader.fileOffset
    let keys = try read(&reader, "storage keys")
    guard case .list(let references) = keys.nodes[keys.root] else {
      throw ModelError.malformed("the storages' keys are not a list", offset: keysOffset)
    }
    let identifiers = try Self.identifiers(in: graph)
    for reference in references {
      let offset = reader.fileOffset
      let key: String
      switch keys.nodes[reference] {
      case .text(let text): key = text
      case .integer(let number): key = "\(number)"
      default: throw ModelError.malformed("a storage's key is not text", offset: keysOffset)
      }
      guard let identifier = identifiers[key] else {
        throw ModelError.malformed("no tensor has the storage '\(key)'", offset: offset)
      }
      let count = try reader.readCount(UInt64.self, for: "a storage's number of elements")
      guard count == identifier.count else {
        throw ModelError.mismatch(
          expected: "a storage of \(counted(identifier.count, "element"))", found: "\(count)",
          offset: offset)
      }
      let byteCount = try identifier.byteCount()
      let begin = reader.offset
      _ = try reader.read(byteCount, for: "a storage")
      guard ranges.updateValue(begin..<begin + byteCount, forKey: key) == nil else {
        throw ModelError.malformed("the storage '\(key)' occurs twice", offset: offset)
      }
    }
    guard reader.isAtEnd else {
      throw ModelError.malformed(
        "\(counted(reader.remaining, "byte")) after the storages", offset: reader.fileOffset)
    }
  }

  /// Returns the storages that the objects name, by key.
  private static func identifiers(
    in graph: PickleGraph
  ) throws -> [String: PyTorchStorageIdentifier] {
    var identifiers: [String: PyTorchStorageIdentifier] = [:]
    for (reference, node) in graph.nodes.enumerated() {
      guard case .persistent = node else { continue }
      let identifier = try locating(graph.positions[reference]) {
        try PyTorchStorageIdentifier(reference, in: graph)
      }
      if let known = identifiers[identifier.key] {
        guard try known.byteCount() == identifier.byteCount() else {
          throw ModelError.malformed(
            "the storage '\(identifier.key)' has two lengths", offset: graph.positions[reference])
        }
      } else {
        identifiers[identifier.key] = identifier
      }
    }
    return identifiers
  }

  private static func locating<Result>(_ offset: Int, _ body: () throws -> Result) throws -> Result
  {
    do {
      return try body()
    } catch let error as ModelError {
      throw error.located(offset: offset)
    }
  }

  mutating func storage(
    _ key: String, byteCount: Int, elementType: ElementType
  ) throws -> TensorStorage {
    if let storage = storages[key], storage.byteCount == byteCount { return storage }
    guard let range = ranges[key] else {
      throw ModelError.malformed("the file has no storage '\(key)'")
    }
    guard range.count == byteCount else {
      throw ModelError.mismatch(
        expected: "\(counted(byteCount, "byte")) in the storage '\(key)'", found: "\(range.count)")
    }
    let load = load
    let storage = TensorStorage(byteCount: byteCount) { try load(range) }
    storages[key] = storage
    return storage
  }
}
