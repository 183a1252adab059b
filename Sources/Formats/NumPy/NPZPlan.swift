/// The entries that an archive is written as, known before the first of them is written.
struct NPZPlan {
  struct Item {
    /// The zip entry without its suffix.
    let entry: String
    /// The tensor's or value's own name.
    let name: String
    let isTensor: Bool
    let header: [UInt8]
    let contentByteCount: Int
    let content: () throws -> SharedBytes
  }

  private(set) var items: [Item] = []
  private var sidecar = NPZSidecar()
  private var usedEntries: Set<String> = [NPZSidecar.arrayName]

  /// - Throws: `FormatError` when a tensor's shape has too many axes for a NumPy header.
  init(_ archive: TensorArchive) throws {
    for (name, tensor) in archive.tensors {
      try locatingErrors(tensor: name) { try add(tensor, named: name) }
    }
    let containers = NPZLongContainers(of: archive)
    for (name, value) in archive.values {
      if let list = containers.lists[name] {
        try add(list)
      } else if containers.encoded.contains(name) {
        sidecar.values[name] = .encoded(value)
      } else if !containers.listed.contains(name) {
        try add(value, named: name)
      }
    }
    sidecar.metadata = archive.metadata
    // An archive without anything still has an entry: libzip writes no empty archives.
    if !sidecar.isEmpty || items.isEmpty { try addSidecar() }
  }

  private mutating func add(_ tensor: Tensor, named name: String) throws {
    let entry = makeEntry(for: name, kind: "tensor")
    let type = tensor.elementType
    var shape = tensor.shape
    if !NPYElement.isNative(type) { sidecar.elementTypes[entry] = type }
    if type.byteWidth == nil {
      sidecar.shapes[entry] = shape
      shape = [tensor.byteCount]
    }
    items.append(
      Item(
        entry: entry, name: name, isTensor: true,
        header: try NPYHeader.encode(descriptor: NPYElement.descriptor(of: type), shape: shape),
        contentByteCount: tensor.byteCount, content: tensor.bytes))
  }

  private mutating func add(_ value: ArchiveValue, named name: String) throws {
    guard let scalar = NPYScalar(value) else {
      sidecar.values[name] = .encoded(value)
      return
    }
    let entry = makeEntry(for: name, kind: "value")
    sidecar.names[entry] = nil  // `values` names it
    sidecar.values[name] = .entry(entry)
    try add(scalar, entry: entry, name: name)
  }

  private mutating func add(_ list: NPZLongContainers.List) throws {
    let entry = makeEntry(for: list.name, kind: "value")
    sidecar.names[entry] = nil  // `values` names it
    sidecar.values[list.name] = .list(entry)
    let bytes = SharedBytes(list.bytes)
    items.append(
      Item(
        entry: entry, name: list.name, isTensor: false,
        header: try NPYHeader.encode(descriptor: list.descriptor, shape: [list.count]),
        contentByteCount: bytes.count, content: { bytes }))
  }

  private mutating func addSidecar() throws {
    guard let scalar = NPYScalar(.text(try sidecar.text())) else { return }
    try add(scalar, entry: NPZSidecar.arrayName, name: NPZSidecar.arrayName)
  }

  private mutating func add(_ scalar: NPYScalar, entry: String, name: String) throws {
    let bytes = SharedBytes(scalar.bytes)
    items.append(
      Item(
        entry: entry, name: name, isTensor: false,
        header: try NPYHeader.encode(descriptor: scalar.descriptor, shape: .scalar),
        contentByteCount: bytes.count, content: { bytes }))
  }

  /// The entry for `name`: the name itself where that is safe to unpack and not taken, otherwise
  /// a made-up one, with the name in the sidecar.
  private mutating func makeEntry(for name: String, kind: String) -> String {
    if Self.isPlain(name), usedEntries.insert(name).inserted { return name }
    var number = items.count
    while !usedEntries.insert("\(kind)_\(number)").inserted { number += 1 }
    sidecar.names["\(kind)_\(number)"] = name
    return "\(kind)_\(number)"
  }

  /// Whether a zip entry of this name stays below the folder it is unpacked to, on any system, and
  /// NumPy gives the name back unchanged. A colon is fine, as in TensorFlow's `layer/kernel:0`, but
  /// not after the letter of a drive.
  static func isPlain(_ name: String) -> Bool {
    guard name.utf8.count <= 200, !name.hasSuffix(NPZFormat.suffix) else { return false }
    let isPrintable = name.unicodeScalars.allSatisfy { scalar in
      scalar.properties.generalCategory != .control && scalar != "\\"
    }
    return isPrintable && name.prefixMatch(of: /[A-Za-z]:($|\/)/) == nil
      && name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy {
        !$0.isEmpty && $0 != "." && $0 != ".."
      }
  }
}
