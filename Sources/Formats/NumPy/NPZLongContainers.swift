/// Lists and dictionaries of very many values, such as the losses of every step: one entry of an archive
/// for each would be hundreds of thousands.
struct NPZLongContainers {
  /// The values of a list that are numbers of one kind.
  struct List {
    let name: String
    let count: Int
    let descriptor: String
    let bytes: [UInt8]
  }

  /// By the name of their first value.
  private(set) var lists: [String: List] = [:]
  /// Every value of `lists`.
  private(set) var listed: Set<String> = []
  /// Values of other long containers, which stand in the extra entry.
  private(set) var encoded: Set<String> = []

  /// Lists of more numbers than this are one array.
  static let listLimit = 256
  /// Containers of more values than this have no entry for each.
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
