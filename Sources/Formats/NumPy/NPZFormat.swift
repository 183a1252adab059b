import Storage

/// NumPy's archive: a zip file of `.npy` arrays.
///
/// Every entry holds what `numpy.savez` writes for the same array. Anything that NumPy cannot
/// express (bfloat16 and other element types, values, metadata, names unfit for a zip entry) is
/// kept in an additional entry, `__condi__`.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let format = NPZFormat(isCompressed: true)
/// try FormatRegistry.standard.write(archive, as: format, to: "model.npz")
/// ```
public struct NPZFormat: ModelFormat {
  private let isCompressed: Bool

  /// Creates the format, which writes the given kind of entries and reads both.
  ///
  /// - Parameter isCompressed: whether to write deflated entries, as `numpy.savez_compressed` does.
  ///   Stored ones, the default, are read by mapping.
  public init(isCompressed: Bool = false) {
    self.isCompressed = isCompressed
  }

  public var identifier: FormatIdentifier {
    FormatIdentifier(name: "npz", displayName: "NumPy archive", fileExtensions: ["npz"])
  }

  static let suffix = ".npy"
  private static let localHeaderSignature = Array("PK\u{3}\u{4}".utf8)
  private static let endRecordSignature = Array("PK\u{5}\u{6}".utf8)

  /// Whether the entries' names are those of the format or, if the directory is damaged, the name
  /// of the first entry is.
  public func recognizes(_ file: InputFile) -> Bool {
    guard let signature = try? file.bytes(at: 0, count: 4, purpose: "the signature").array,
      signature == Self.localHeaderSignature || signature == Self.endRecordSignature
    else { return false }
    guard let entries = try? file.zipDirectory().entries else {
      return Self.firstName(in: file)?.hasSuffix(Self.suffix) ?? false
    }
    let names = entries.map(\.name)
    if names.contains(where: { $0 == "data.pkl" || $0.hasSuffix("/data.pkl") }) { return false }
    return names.isEmpty || names.contains { $0.hasSuffix(Self.suffix) }
  }

  /// Returns the name in the local header at the beginning of the file.
  private static func firstName(in file: InputFile) -> String? {
    guard let head = try? file.bytes(at: 0, count: 30, purpose: "a zip header").array,
      head.starts(with: localHeaderSignature)
    else { return nil }
    let count = Int(head[26]) | Int(head[27]) << 8
    let name = try? file.bytes(at: 30, count: count, purpose: "a zip entry's name").array
    return name.flatMap { String(validating: $0, as: UTF8.self) }
  }

  public func read(_ file: InputFile) throws -> TensorArchive {
    try locatingErrors(path: file.path) {
      let zip = try ZipArchive(file)
      var reader = NPZReader(zip, archive: TensorArchive(format: identifier))
      return try reader.read()
    }
  }

  public func plan(
    _ archive: TensorArchive, runningTasks run: TaskRunner
  ) throws -> PlannedFile<Never> {
    let plan = try NPZPlan(archive)
    let compression: ZipWriter.Compression = isCompressed ? .deflated : .stored
    var zip = ZipWriter()
    for item in plan.items {
      zip.add(
        item.entry + Self.suffix, tensors: item.isTensor ? [item.name] : [],
        sourceByteCount: item.isTensor ? item.contentByteCount : 0,
        byteCount: item.header.count + item.contentByteCount, compression: compression
      ) {
        let content = try locatingErrors(tensor: item.name, item.content)
        return SharedBytes(joining: [SharedBytes(item.header), content])
      }
    }
    return zip.plan()
  }
}

/// The entries of an archive, all known before the first of them is written.
struct NPZPlan {
  struct Item: Sendable {
    /// The zip entry without its suffix.
    let entry: String
    /// The tensor's or value's own name.
    let name: String
    let isTensor: Bool
    let header: [UInt8]
    let contentByteCount: Int
    let content: @Sendable () throws -> SharedBytes
  }

  private(set) var items: [Item] = []
  private var sidecar = NPZSidecar()
  private var usedEntries: Set<String> = [NPZSidecar.arrayName]

  /// - Throws: `ModelError` when a tensor's shape has too many axes for a NumPy header.
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
    // An empty archive has an entry, which distinguishes it from any other empty zip file.
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

  /// Returns the entry for `name`: the name itself if that is safe to unpack and not taken,
  /// otherwise a generated one, with the name in the sidecar.
  private mutating func makeEntry(for name: String, kind: String) -> String {
    if Self.isPlain(name), usedEntries.insert(name).inserted { return name }
    var number = items.count
    while !usedEntries.insert("\(kind)_\(number)").inserted { number += 1 }
    sidecar.names["\(kind)_\(number)"] = name
    return "\(kind)_\(number)"
  }

  /// Whether a zip entry with this name stays below the folder it is unpacked to, on any system,
  /// and NumPy returns the name unchanged. A colon is allowed, as in TensorFlow's `layer/kernel:0`,
  /// but not after a drive letter.
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
