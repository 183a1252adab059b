/// Turns the entries of a NumPy archive into tensors and values.
struct NPZReader {
  private let zip: ZipArchive
  private var archive: TensorArchive
  private var structure: [ArchiveStructure.Entry] = []
  private var isNested = false

  /// Entries up to this length are checked against their checksum when the index is read, so that
  /// an error in a header is found even where an array has no elements to load.
  private static let eagerByteCount = 1 << 16

  init(_ zip: ZipArchive, archive: TensorArchive) {
    self.zip = zip
    self.archive = archive
  }

  mutating func read() throws -> TensorArchive {
    let sidecar = try readSidecar()
    let valueEntries = Set(
      sidecar.values.values.compactMap { value -> String? in
        guard case .entry(let entry) = value else { return nil }
        return entry
      })
    var arrays: [String: NPYArray] = [:]
    var seen: Set<String> = []
    for entry in zip.entries {
      let name = try Self.arrayName(of: entry)
      guard seen.insert(name).inserted else {
        throw FormatError.malformed("two arrays have the name", tensor: name)
      }
      guard name != NPZSidecar.arrayName else { continue }
      try locatingErrors(tensor: name) {
        let array = try array(in: entry)
        if valueEntries.contains(name) {
          arrays[name] = array
        } else {
          try add(array, entry: name, sidecar)
        }
      }
    }
    if let name = archive.values.keys.first(where: { archive.tensors[$0] != nil }) {
      throw FormatError.malformed("a text and a tensor have the name", tensor: name)
    }
    for (name, value) in sidecar.values {
      guard archive.values[name] == nil else {
        throw FormatError.malformed("two values have the name", tensor: name)
      }
      archive.values[name] = try locatingErrors(tensor: name) {
        switch value {
        case .encoded(let value): return value
        case .entry(let entry):
          guard let array = arrays[entry] else {
            throw FormatError.malformed("the value's array '\(entry)' is missing")
          }
          return try NPYScalar.value(of: array)
        }
      }
    }
    try checkReferences(of: sidecar, entries: seen)
    archive.metadata = sidecar.metadata
    if isNested { archive.structure = .dictionary(structure, isOrdered: false) }
    return archive
  }

  private static func arrayName(of entry: ZipArchive.Entry) throws -> String {
    guard entry.name.hasSuffix(NPZFormat.suffix) else {
      throw FormatError.unsupported(
        "the archive has an entry that is no NumPy array", tensor: entry.name)
    }
    return String(entry.name.dropLast(NPZFormat.suffix.count))
  }

  private mutating func add(_ array: NPYArray, entry: String, _ sidecar: NPZSidecar) throws {
    let name = sidecar.names[entry] ?? entry
    guard archive.tensors[name] == nil else {
      throw FormatError.malformed("two arrays stand for the tensor '\(name)'")
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
      throw FormatError.malformed(
        "'\(NPZSidecar.arrayName)' describes a missing array", tensor: entry)
    }
  }

  private func readSidecar() throws -> NPZSidecar {
    let name = NPZSidecar.arrayName
    guard let entry = zip.entry(named: name + NPZFormat.suffix) else { return NPZSidecar() }
    return try locatingErrors(tensor: name) {
      guard case .text(let text) = try NPYScalar.value(of: try array(in: entry)) else {
        throw FormatError.malformed("the entry is not a text")
      }
      return try NPZSidecar(parsing: text)
    }
  }

  private func array(in entry: ZipArchive.Entry) throws -> NPYArray {
    let zip = zip
    let isEager = entry.method == .deflated || entry.byteCount <= Self.eagerByteCount
    let content = isEager ? try zip.bytes(of: entry) : nil
    let header = try NPYHeader(byteCount: entry.byteCount) { offset, count, purpose in
      guard offset <= entry.byteCount, count <= entry.byteCount - offset else {
        throw FormatError(
          .truncated(
            expectedBytes: count, foundBytes: max(0, entry.byteCount - offset), purpose: purpose),
          offset: offset)
      }
      if let content { return content.slice(offset..<offset + count) }
      return try zip.file.bytes(at: entry.dataOffset + offset, count: count, purpose: purpose)
    }
    return NPYArray(header: header) { try zip.bytes(of: entry) }
  }
}
