import Storage

/// A zip archive of model files, such as stable-baselines3 agents and packed checkpoints.
///
/// Every member in a supported format is read, and the member's name becomes the prefix of its
/// tensors' names: `policy.pth.log_std`. Other members are listed as left out.
package struct ZippedFormat: ReadOnlyModelFormat {
  package init() {}

  package var identifier: FormatIdentifier {
    FormatIdentifier(name: "zip", displayName: "zip archive of model files", fileExtensions: [])
  }

  /// The formats of members.
  private static let memberFormats: [any ModelFormat] = [
    PackedFormat(), SafetensorsFormat(), PyTorchFormat(), ExportedProgramFormat(), NPZFormat(),
    NPYFormat(), GGUFFormat(), ONNXFormat(),
  ]

  /// Whether the archive has a member with an extension of one of the formats, and is not itself in
  /// one of them.
  package func recognizes(_ file: InputFile) -> Bool {
    guard let signature = try? file.bytes(at: 0, count: 4, purpose: "the signature").array,
      signature == Array("PK\u{3}\u{4}".utf8), let entries = try? file.zipDirectory().entries
    else { return false }
    return entries.contains { Self.mayBeModel($0.name) }
      && !Self.memberFormats.contains { $0.recognizes(file) }
  }

  private static let extensions = Set(
    memberFormats.flatMap(\.identifier.fileExtensions) + ["pkl", "pickle", "pt2"])

  private static func mayBeModel(_ name: String) -> Bool {
    guard let name = name.split(separator: "/").last, let dot = name.lastIndex(of: ".") else {
      return false
    }
    return extensions.contains(name[name.index(after: dot)...].lowercased())
  }

  package func read(_ file: InputFile) throws -> TensorArchive {
    try locatingErrors(path: file.path) {
      let zip = try ZipArchive(file)
      var archive = TensorArchive(format: identifier)
      var structure: [ArchiveStructure.Entry] = []
      for entry in zip.entries where !entry.name.hasSuffix("/") {
        do {
          let member = try Self.read(entry, of: zip)
          let place = try archive.add(member, below: entry.name)
          structure.append(.init(key: .text(entry.name), value: place))
        } catch let error as ModelError {
          archive.unread.append(
            UnreadEntry(name: entry.name, kind: "file", reason: error.problem.description))
          structure.append(.init(key: .text(entry.name), value: .unread(entry.name)))
        }
      }
      archive.structure = .dictionary(structure, isOrdered: false)
      guard structure.contains(where: { !$0.value.isUnread }) else {
        throw ModelError.unsupported("no member of the zip archive can be read as a model file")
      }
      return archive
    }
  }

  /// Reads a member.
  ///
  /// - Throws: `ModelError` when the member is not a model file, or is one that cannot be read.
  private static func read(_ entry: ZipArchive.Entry, of zip: ZipArchive) throws -> TensorArchive {
    try zip.checkReadable(entry)
    guard mayBeModel(entry.name) else {
      throw ModelError.unsupported("not a model file: \(counted(entry.byteCount, "byte"))")
    }
    let file = InputFile(try zip.bytes(of: entry), path: "\(zip.file.path)/\(entry.name)")
    guard let format = memberFormats.first(where: { $0.recognizes(file) }) else {
      throw ModelError(.unrecognizedFormat(found: FileSignature.describe(file)))
    }
    return try format.read(file)
  }
}

extension ArchiveStructure {
  fileprivate var isUnread: Bool {
    if case .unread = self { true } else { false }
  }
}

extension TensorArchive {
  /// Adds the content of the member `name`, with its name as the prefix.
  ///
  /// - Returns: the place of the content in the structure.
  /// - Throws: `ModelError` when a name is already taken.
  fileprivate mutating func add(
    _ member: TensorArchive, below name: String
  ) throws -> ArchiveStructure {
    func inner(_ child: String) -> String {
      child.isEmpty ? name : ArchiveStructure.join(name, child)
    }
    let names = (Array(member.tensors.keys) + member.values.keys).map(inner)
    if let taken = names.first(where: { tensors[$0] != nil || values[$0] != nil }) {
      throw ModelError.malformed("two members of the archive contain this name", entry: taken)
    }
    for (child, tensor) in member.tensors { tensors[inner(child)] = tensor }
    for (child, value) in member.values { values[inner(child)] = value }
    for (key, text) in member.metadata { metadata["\(name)/\(key)"] = text }
    notes += member.notes.map { "\(name): \($0)" }
    unread += member.unread.map {
      UnreadEntry(name: inner($0.name), kind: $0.kind, reason: $0.reason)
    }
    if let structure = member.structure { return structure.renamingLeaves(inner) }
    let leaves = Array(member.tensors.keys) + member.values.keys
    if leaves == [""] { return .leaf(name) }
    return .dictionary(
      leaves.map { .init(key: .text($0), value: .leaf(inner($0))) }
        + member.unread.map { .init(key: .text($0.name), value: .unread(inner($0.name))) },
      isOrdered: false)
  }
}
