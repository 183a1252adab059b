import Storage

/// Reads the entries of a NumPy archive as tensors and values.
struct NPZReader {
  private let zip: ZipArchive
  private var archive: TensorArchive
  private var structure: [ArchiveStructure.Entry] = []
  private var isNested = false

  /// Entries up to this length are checked against their checksums when the index is read, so that
  /// a header error is found even where an array has no elements to load.
  private static let eagerByteCount = 1 << 16

  init(_ zip: ZipArchive, archive: TensorArchive) {
    self.zip = zip
    self.archive = archive
  }

  mutating func read() throws -> TensorArchive {
    let sidecar = try readSidecar()
    let valueEntries = Set(
      sidecar.values.values.compactMap { value -> String? in
        switch value {
        case .entry(let entry), .list(let entry): entry
        case .encoded: nil
        }
      })
    var arrays: [String: NPYArray] = [:]
    var seen: Set<String> = []
    for entry in zip.entries {
      guard let name = Self.arrayName(of: entry) else {
        leaveOut(entry)
        continue
      }
      guard seen.insert(name).inserted else {
        throw ModelError.malformed("two arrays have this name", tensor: name)
      }
      guard name != NPZSidecar.arrayName else { continue }
      try locatingErrors(tensor: name) {
        if valueEntries.contains(name) {
          arrays[name] = try array(in: content(of: entry))
        } else {
          try add(entry, named: name, sidecar)
        }
      }
    }
    if let name = archive.values.keys.first(where: { archive.tensors[$0] != nil }) {
      throw ModelError.malformed("a text and a tensor have this name", tensor: name)
    }
    for (name, value) in sidecar.values {
      let place = try locatingErrors(tensor: name) {
        try archive.add(value, named: name, from: arrays)
      }
      if case .list = place { isNested = true }
      structure.append(.init(key: .text(name), value: place))
    }
    try checkReferences(of: sidecar, entries: seen)
    archive.metadata = sidecar.metadata
    if isNested { archive.structure = .dictionary(structure, isOrdered: false) }
    return archive
  }

  /// Returns the array's name, or `nil` if the entry is not an array.
  private static func arrayName(of entry: ZipArchive.Entry) -> String? {
    guard entry.name.hasSuffix(NPZFormat.suffix) else { return nil }
    return String(entry.name.dropLast(NPZFormat.suffix.count))
  }

  private mutating func leaveOut(_ entry: ZipArchive.Entry) {
    let isFolder = entry.name.hasSuffix("/") && entry.byteCount == 0
    archive.unread.append(
      UnreadEntry(
        name: entry.name, kind: isFolder ? "folder" : "file",
        reason: isFolder
          ? "a folder, which has no content of its own"
          : "not a NumPy array: \(counted(entry.byteCount, "byte"))"))
  }

  /// Adds the content of `entry`; an array of an unreadable type is listed as left out.
  private mutating func add(
    _ entry: ZipArchive.Entry, named name: String, _ sidecar: NPZSidecar
  ) throws {
    var head = SharedBytes()
    do {
      let content = try content(of: entry)
      head = try content.head
      if let start = NPYHeader.objectsOffset(in: head) {
        try addObjects(entry, from: start, named: name)
      } else {
        try add(try array(in: content), entry: name, sidecar)
      }
    } catch let error as ModelError {
      guard case .unsupported(let reason) = error.problem else { throw error }
      let kind = NPYHeader.descriptor(in: head) ?? "array"
      archive.unread.append(UnreadEntry(name: name, kind: kind, reason: reason))
      structure.append(.init(key: .text(name), value: .unread(name)))
    }
  }

  /// Adds the content of an array of objects whose pickle begins at `start`.
  private mutating func addObjects(
    _ entry: ZipArchive.Entry, from start: Int, named name: String
  ) throws {
    let bytes = try zip.bytes(of: entry)
    let before = archive
    do {
      let place = try archive.add(objects: bytes.slice(start..<bytes.count), named: name)
      structure.append(.init(key: .text(name), value: place))
      if case .leaf = place { return }
      isNested = true
    } catch let error as ModelError {
      archive = before
      throw ModelError.unsupported(
        "an array of objects whose pickle cannot be read: \(error.problem)")
    }
  }

  private mutating func add(_ array: NPYArray, entry: String, _ sidecar: NPZSidecar) throws {
    let name = sidecar.names[entry] ?? entry
    guard archive.tensors[name] == nil else {
      throw ModelError.malformed("two arrays represent the tensor '\(name)'")
    }
    if let type = sidecar.elementTypes[entry] {
      archive.tensors[name] = try array.tensor(elementType: type, shape: sidecar.shapes[entry])
      structure.append(.init(key: .text(name), value: .leaf(name)))
      return
    }
    let place = try archive.add(array, named: name)
    if case .list = place { isNested = true }
    structure.append(.init(key: .text(name), value: place))
  }

  private func checkReferences(of sidecar: NPZSidecar, entries: Set<String>) throws {
    for entry in [sidecar.names.keys, sidecar.elementTypes.keys, sidecar.shapes.keys].joined()
    where !entries.contains(entry) {
      throw ModelError.malformed(
        "'\(NPZSidecar.arrayName)' describes a missing array", entry: entry)
    }
  }

  private func readSidecar() throws -> NPZSidecar {
    let name = NPZSidecar.arrayName
    guard let entry = zip.entry(named: name + NPZFormat.suffix) else { return NPZSidecar() }
    return try locatingErrors(tensor: name) {
      guard case .text(let text) = try NPYScalar.value(of: try array(in: content(of: entry))) else {
        throw ModelError.malformed("the entry is not a text")
      }
      return try NPZSidecar(parsing: text)
    }
  }

  /// An entry being read, with its bytes if they are in memory.
  private struct Content {
    let zip: ZipArchive
    let entry: ZipArchive.Entry
    let bytes: SharedBytes?

    /// The part of the entry that contains the header.
    var head: SharedBytes {
      get throws {
        try slice(at: 0, count: min(entry.byteCount, NPYHeader.headByteLimit), "a NumPy header")
      }
    }

    func slice(at offset: Int, count: Int, _ purpose: String) throws -> SharedBytes {
      guard offset <= entry.byteCount, count <= entry.byteCount - offset else {
        throw ModelError(
          .truncated(
            expectedBytes: count, foundBytes: max(0, entry.byteCount - offset), purpose: purpose),
          offset: offset)
      }
      if let bytes { return bytes.slice(offset..<offset + count) }
      return try zip.file.bytes(at: entry.dataOffset + offset, count: count, purpose: purpose)
    }
  }

  private func content(of entry: ZipArchive.Entry) throws -> Content {
    try zip.checkReadable(entry)
    let isEager = entry.method == .deflated || entry.byteCount <= Self.eagerByteCount
    return Content(zip: zip, entry: entry, bytes: isEager ? try zip.bytes(of: entry) : nil)
  }

  private func array(in content: Content) throws -> NPYArray {
    let header = try NPYHeader(byteCount: content.entry.byteCount) {
      try content.slice(at: $0, count: $1, $2)
    }
    let (zip, entry) = (zip, content.entry)
    return NPYArray(header: header, path: zip.file.path) { try zip.bytes(of: entry) }
  }
}

extension TensorArchive {
  /// Adds a value of the sidecar, or the values of a list.
  ///
  /// - Parameter arrays: the arrays that hold values, by entry.
  /// - Returns: the place of the value or list in the structure.
  fileprivate mutating func add(
    _ value: NPZSidecar.Value, named name: String, from arrays: [String: NPYArray]
  ) throws -> ArchiveStructure {
    func array(_ entry: String) throws -> NPYArray {
      guard let array = arrays[entry] else {
        throw ModelError.malformed("the value's array '\(entry)' is missing")
      }
      return array
    }
    switch value {
    case .encoded(let value): return try add(value, named: name)
    case .entry(let entry): return try add(try NPYScalar.value(of: array(entry)), named: name)
    case .list(let entry):
      return .list(
        try NPYScalar.values(of: array(entry)).enumerated().map { index, value in
          try add(value, named: ArchiveStructure.join(name, "\(index)"))
        })
    }
  }

  private mutating func add(_ value: ArchiveValue, named name: String) throws -> ArchiveStructure {
    guard values.updateValue(value, forKey: name) == nil else {
      throw ModelError.malformed("two values have this name", tensor: name)
    }
    return .leaf(name)
  }
}

/// Long lists and dictionaries of values, such as the losses of every step, which would need
/// hundreds of thousands of archive entries at one per value.
struct NPZLongContainers {
  /// A list whose values are numbers of one kind.
  struct List {
    let name: String
    let count: Int
    let descriptor: String
    let bytes: [UInt8]
  }

  /// The lists, by the name of their first value.
  private(set) var lists: [String: List] = [:]
  /// The names of all values in `lists`.
  private(set) var listed: Set<String> = []
  /// The names of values in other long containers, which are stored in the sidecar.
  private(set) var encoded: Set<String> = []

  /// A list of more numbers than this becomes one array.
  static let listLimit = 256
  /// A container of more values than this has no entry per value.
  static let limit = 4096

  init(of archive: TensorArchive) {
    guard let structure = archive.structure, archive.values.count > Self.listLimit else { return }
    add(structure, of: archive)
  }

  private mutating func add(_ structure: ArchiveStructure, of archive: TensorArchive) {
    switch structure {
    case .leaf, .unread: break
    case .list(let items), .tuple(let items), .set(let items):
      add(items, isList: true, of: archive)
    case .dictionary(let entries, _):
      add(entries.map(\.value), isList: false, of: archive)
    }
  }

  private mutating func add(
    _ items: [ArchiveStructure], isList: Bool, of archive: TensorArchive
  ) {
    let names = items.compactMap { item -> String? in
      guard case .leaf(let name) = item, archive.values[name] != nil else { return nil }
      return name
    }
    if isList, names.count > Self.listLimit, names.count == items.count,
      let list = Self.list(of: names, in: archive)
    {
      lists[names[0]] = list
      listed.formUnion(names)
    } else if names.count > Self.limit {
      encoded.formUnion(names)
    }
    for item in items { add(item, of: archive) }
  }

  /// Encodes values as one list.
  ///
  /// - Returns: `nil` unless the values are numbers of one kind, named by their indices.
  private static func list(of names: [String], in archive: TensorArchive) -> List? {
    guard names.count <= NPYArray.textCountLimit else { return nil }
    let name = names[0] == "0" ? "" : String(names[0].dropLast(2))
    var descriptor: String?
    var bytes: [UInt8] = []
    for (index, valueName) in names.enumerated() {
      guard valueName == ArchiveStructure.join(name, "\(index)"),
        let value = archive.values[valueName], value.isNumber, let scalar = NPYScalar(value),
        descriptor == nil || descriptor == scalar.descriptor
      else { return nil }
      descriptor = scalar.descriptor
      bytes += scalar.bytes
    }
    return descriptor.map { List(name: name, count: names.count, descriptor: $0, bytes: bytes) }
  }
}

extension ArchiveValue {
  fileprivate var isNumber: Bool {
    switch self {
    case .boolean, .integer, .real, .complex: true
    case .none, .largeInteger, .text, .bytes: false
    }
  }
}
