import Storage

/// The checkpoints that `torch.save` wrote before 0.1.11: a tar archive of `sys_info`, `pickle`,
/// `storages` and `tensors`.
///
/// `storages` is a pickled count; then, per storage, a pickle `(key, location, class)`, the element
/// count in 64 bits and the bytes; then a pickled list of views `(key, root's key, offset, count)`.
/// `tensors` is a pickled count; then, per tensor, a pickle `(key, storage's key, class)`, the
/// number of dimensions and four unused bytes, and the sizes, the strides and the offset in 64 bits
/// each. `pickle` refers to both by their keys.
struct PyTorchTarCheckpoint: PyTorchStorageSource {
  let graph: PickleGraph
  private var objects: [Int: PyTorchNumberedObject] = [:]

  typealias PickleReading = PyTorchLegacyStream.PickleReading

  static let memberNames: Set<String> = ["sys_info", "pickle", "storages", "tensors"]

  /// Reads the members of a checkpoint.
  ///
  /// - Parameter load: returns bytes of the file when they are needed.
  /// - Throws: `ModelError` unless every member has exactly the form above.
  init(
    _ directory: TarDirectory,
    readingPickles read: PickleReading = { reader, _ in
      try PickleMachine.read(from: &reader, byteLimit: .max)
    },
    load: @escaping @Sendable (Range<Int>) throws -> SharedBytes
  ) throws {
    func reader(_ name: String) throws -> ByteReader {
      guard let member = directory.members.first(where: { $0.name == name }) else {
        throw ModelError.malformed("the tar archive has no '\(name)'")
      }
      return ByteReader(try load(member.range), baseOffset: member.range.lowerBound)
    }
    var machine = try reader("sys_info")
    _ = try read(&machine, "sys_info")
    var storages = try reader("storages")
    try Self.readStorages(&storages, read, load, into: &objects)
    var tensors = try reader("tensors")
    try Self.readTensors(&tensors, read, into: &objects)
    var pickle = try reader("pickle")
    graph = try read(&pickle, "pickle")
    for rest in [machine, storages, tensors, pickle] where !rest.isAtEnd {
      throw ModelError.malformed(
        "\(counted(rest.remaining, "byte")) after the expected end", offset: rest.fileOffset)
    }
  }

  func storage(_ key: String, byteCount: Int, elementType: ElementType) throws -> TensorStorage {
    guard let number = Int(key), case .storage(let storage, _)? = objects[number],
      storage.byteCount == byteCount
    else {
      throw ModelError.malformed(
        "the archive has no storage '\(key)' of \(counted(byteCount, "byte"))")
    }
    return storage
  }

  func object(numbered number: Int) -> PyTorchNumberedObject? { objects[number] }

  private static func readStorages(
    _ reader: inout ByteReader, _ read: PickleReading,
    _ load: @escaping @Sendable (Range<Int>) throws -> SharedBytes,
    into objects: inout [Int: PyTorchNumberedObject]
  ) throws {
    for _ in 0..<(try count(&reader, read, "storages")) {
      let start = reader.fileOffset
      let description = try read(&reader, "a storage")
      guard let parts = tuple(description, description.root), parts.count == 3,
        let key = number(description, parts[0]),
        case .global(let name) = description.nodes[parts[2]],
        let type = PyTorchTypes.elementType(ofStorageClass: name)
      else {
        throw ModelError.unsupported("a storage is described in an unknown way", offset: start)
      }
      let count = try reader.readCount(UInt64.self, for: "a storage's number of elements")
      guard let byteCount = type.byteCount(forElements: count) else {
        throw ModelError.malformed(
          "a storage of \(counted(count, "element")) is impossible", offset: start)
      }
      let begin = reader.fileOffset
      _ = try reader.read(byteCount, for: "a storage")
      let storage = TensorStorage(byteCount: byteCount) { try load(begin..<begin + byteCount) }
      try add(.storage(storage, type), key, to: &objects, at: start)
    }
    let start = reader.fileOffset
    let views = try read(&reader, "views of storages")
    guard case .list(let references) = views.nodes[views.root] else {
      throw ModelError.malformed("the views of storages are not a list", offset: start)
    }
    for reference in references {
      guard let parts = tuple(views, reference)?.compactMap({ number(views, $0) }),
        parts.count == 4,
        case .storage(let root, let type)? = objects[parts[1]], let width = type.byteWidth,
        parts[2] >= 0, parts[3] >= 0, parts[2] <= root.byteCount / width,
        parts[3] <= root.byteCount / width - parts[2]
      else { throw ModelError.malformed("a view of a storage is impossible", offset: start) }
      let range = parts[2] * width..<(parts[2] + parts[3]) * width
      let view = TensorStorage(byteCount: range.count) { try root.bytes().slice(range) }
      try add(.storage(view, type), parts[0], to: &objects, at: start)
    }
  }

  private static func readTensors(
    _ reader: inout ByteReader, _ read: PickleReading,
    into objects: inout [Int: PyTorchNumberedObject]
  ) throws {
    for _ in 0..<(try count(&reader, read, "tensors")) {
      let start = reader.fileOffset
      let description = try read(&reader, "a tensor")
      guard let parts = tuple(description, description.root), parts.count == 3,
        let key = number(description, parts[0]), let root = number(description, parts[1]),
        case .storage(let storage, let type)? = objects[root]
      else { throw ModelError.malformed("a tensor is described in an unknown way", offset: start) }
      let rank = try reader.readInteger(Int32.self, for: "a tensor's number of dimensions")
      _ = try reader.read(4, for: "a tensor's number of dimensions")
      guard (0...64).contains(rank) else {
        throw ModelError.malformed("a tensor of \(rank) dimensions is impossible", offset: start)
      }
      func integers(_ purpose: String) throws -> [Int] {
        try (0..<rank).map { _ in Int(try reader.readInteger(Int64.self, for: purpose)) }
      }
      let dimensions = try integers("a tensor's sizes")
      let strides = try integers("a tensor's strides")
      let offset = Int(try reader.readInteger(Int64.self, for: "a tensor's offset"))
      guard let shape = Shape(dimensions) else {
        throw ModelError.malformed(
          "the shape \(dimensions) is negative or overflows", offset: start)
      }
      do {
        let tensor = try Tensor(
          elementType: type, shape: shape, storage: storage, elementOffset: offset,
          strides: strides)
        try add(.tensor(tensor), key, to: &objects, at: start)
      } catch let error as ModelError {
        throw error.located(offset: start)
      }
    }
  }

  private static func add(
    _ object: PyTorchNumberedObject, _ key: Int, to objects: inout [Int: PyTorchNumberedObject],
    at offset: Int
  ) throws {
    guard objects.updateValue(object, forKey: key) == nil else {
      throw ModelError.malformed("two objects have the key \(key)", offset: offset)
    }
  }

  private static func count(
    _ reader: inout ByteReader, _ read: PickleReading, _ what: String
  ) throws -> Int {
    let start = reader.fileOffset
    let graph = try read(&reader, "the number of \(what)")
    guard let count = number(graph, graph.root), (0...1 << 24).contains(count) else {
      throw ModelError.malformed("the number of \(what) is impossible", offset: start)
    }
    return count
  }

  private static func tuple(
    _ graph: PickleGraph, _ reference: PickleGraph.Reference
  ) -> [PickleGraph.Reference]? {
    switch graph.nodes[reference] {
    case .tuple(let items), .list(let items): items
    default: nil
    }
  }

  private static func number(_ graph: PickleGraph, _ reference: PickleGraph.Reference) -> Int? {
    switch graph.nodes[reference] {
    case .integer(let value): value
    case .text(let digits): Int(digits)
    default: nil
    }
  }
}

/// The members of a tar archive (POSIX.1-1988 and pax), as far as old PyTorch checkpoints need
/// them.
struct TarDirectory {
  struct Member: Sendable {
    let name: String
    let range: Range<Int>
  }

  /// The regular files, in order.
  let members: [Member]
  /// The offset behind the last member, where zeros follow.
  let endOffset: Int

  private static let blockByteCount = 512
  static let memberLimit = 1 << 10

  /// Reads the headers of an archive.
  ///
  /// - Parameter read: returns bytes of the file.
  /// - Throws: `ModelError` for a damaged header, or anything that old checkpoints do not have.
  init(
    byteCount: Int, read: (_ offset: Int, _ count: Int, _ purpose: String) throws -> SharedBytes
  ) throws {
    var members: [Member] = []
    var offset = 0
    while offset <= byteCount - Self.blockByteCount {
      let block = try read(offset, Self.blockByteCount, "a tar header").array
      if block.allSatisfy({ $0 == 0 }) { break }
      guard Self.isHeader(block), let length = Self.number(block[124..<136]) else {
        throw ModelError.malformed("a tar header is damaged", offset: offset)
      }
      let begin = offset + Self.blockByteCount
      guard length <= byteCount - begin else {
        throw ModelError(
          .truncated(
            expectedBytes: length, foundBytes: byteCount - begin, purpose: "a tar member"),
          offset: begin)
      }
      switch block[156] {
      case 0, UInt8(ascii: "0"):
        let name = block[..<100].prefix { $0 != 0 }
        guard let name = String(validating: name, as: UTF8.self),
          !members.contains(where: { $0.name == name }), members.count < Self.memberLimit
        else { throw ModelError.malformed("a tar member's name is impossible", offset: offset) }
        members.append(Member(name: name, range: begin..<begin + length))
      case UInt8(ascii: "5"), UInt8(ascii: "x"), UInt8(ascii: "g"): break  // folders, pax records
      default:
        throw ModelError.unsupported("tar links and devices are not supported", offset: offset)
      }
      let padded = (length + Self.blockByteCount - 1) / Self.blockByteCount * Self.blockByteCount
      offset = begin + padded
    }
    self.members = members
    endOffset = min(offset, byteCount)
  }

  /// Whether a block is a header: its checksum is that of its bytes with the checksum field blank.
  static func isHeader(_ block: [UInt8]) -> Bool {
    guard block.count == blockByteCount, let checksum = number(block[148..<156]) else {
      return false
    }
    let sum = block.enumerated().reduce(0) {
      $0 + ((148..<156).contains($1.offset) ? 0x20 : Int($1.element))
    }
    return sum == checksum
  }

  /// Returns an octal number that ends in a blank or a zero byte.
  private static func number(_ field: ArraySlice<UInt8>) -> Int? {
    let digits = field.drop { $0 == 0x20 }.prefix { $0 != 0 && $0 != 0x20 }
    return Int(String(decoding: digits, as: UTF8.self), radix: 8)
  }
}
