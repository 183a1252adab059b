import Storage

/// GGUF, the format of llama.cpp and ggml, versions 2 and 3; `GGUF.md` has its byte layout.
///
/// Blocks of quantized weights are dequantized to `float32` when a tensor is loaded. Unsupported
/// types are listed, and refused when read.
package struct GGUFFormat: ReadOnlyModelFormat {
  package init() {}

  package var identifier: FormatIdentifier {
    FormatIdentifier(name: "gguf", displayName: "GGUF", fileExtensions: ["gguf"])
  }
  package var isFreeOfCode: Bool { true }

  package func recognizes(_ file: InputFile) -> Bool {
    let head = try? file.bytes(at: 0, count: GGUFHeader.magic.count, purpose: "the signature")
    return head?.array == GGUFHeader.magic
  }

  package func read(_ file: InputFile) throws -> TensorArchive {
    try locatingErrors(path: file.path) {
      let header = try GGUFHeader(reading: file)
      guard let split = header.split, let names = GGUFSplitNames(of: file, in: split) else {
        var archive = TensorArchive(
          format: identifier, values: header.metadata.values, metadata: header.metadata.arrays)
        try add(header, of: file, to: &archive)
        archive.notes = notes([header])
        if let split = header.split {
          archive.notes.append(
            "one of the \(counted(split.count, "file")) of a split model; only its own tensors are read, "
              + "because its name does not end in '\(GGUFSplitNames.suffix(split))'")
        }
        return archive
      }
      return try read(split, names, beside: file)
    }
  }

  /// Reads all files of a split model as one archive; metadata is that of the first file, and what
  /// others add to it.
  private func read(
    _ split: GGUFHeader.Split, _ names: GGUFSplitNames, beside file: InputFile
  ) throws -> TensorArchive {
    let siblings = SiblingFiles(beside: file)
    let missing = try names.all.filter { try !siblings.exists($0) }
    guard missing.isEmpty else {
      throw ModelError.malformed(
        "\(missing.count) of \(counted(split.count, "file")) are missing: \(missing.quotedList())")
    }
    var archive = TensorArchive(format: identifier)
    var headers: [GGUFHeader] = []
    for (number, name) in names.all.enumerated() {
      let part = number == split.number ? file : try siblings.open(name)
      try locatingErrors(path: part.path) {
        let header = try GGUFHeader(reading: part)
        guard let found = header.split, found.number == number, found.count == split.count else {
          throw ModelError.mismatch(
            expected: "file \(number + 1) of \(split.count)",
            found: header.split.map { "file \($0.number + 1) of \($0.count)" } ?? "a whole model")
        }
        try add(header, of: part, to: &archive)
        headers.append(header)
      }
    }
    archive.values = try ShardMerging.merge(
      zip(names.all, headers).map { name, header in
        (name, header.metadata.values.filter { !GGUFHeader.Split.keys.contains($0.key) })
      })
    archive.metadata = try ShardMerging.merge(
      zip(names.all, headers).map { ($0, $1.metadata.arrays) })
    if let count = split.tensorCount, count != archive.tensors.count {
      throw ModelError.mismatch(
        expected: "\(counted(count, "tensor")) in all files", found: "\(archive.tensors.count)")
    }
    archive.sourceFiles = try [file.path] + names.all.filter { $0 != names.own }.map(siblings.path)
    archive.notes = notes(headers)
    return archive
  }

  /// Adds the tensors of one file.
  private func add(
    _ header: GGUFHeader, of file: InputFile, to archive: inout TensorArchive
  ) throws {
    let names = header.fullNames
    for entry in header.entries {
      let name = names[entry.name] ?? entry.name
      guard archive.tensors[name] == nil else {
        throw ModelError.malformed("another file of the model has this name too", tensor: name)
      }
      archive.tensors[name] = try tensor(
        entry, storedRange: header.storedRange(of: entry, in: file), in: file)
      if header.split != nil { archive.fileOfTensor[name] = file.path }
    }
  }

  private func tensor(_ entry: GGUFHeader.Entry, storedRange: Range<Int>, in file: InputFile)
    throws -> Tensor
  {
    let elementType: ElementType
    let blocks: GGUFBlocks?
    switch entry.type.content {
    case .elements(let type): (elementType, blocks) = (type, nil)
    case .blocks(let kind): (elementType, blocks) = (.float32, kind)
    case .unreadable:
      var tensor = try Tensor(
        unreadableType: entry.type.name, as: .float32, shape: entry.shape, path: file.path,
        name: entry.name)
      tensor.storedBytes = {
        try locatingErrors(path: file.path, tensor: entry.name) {
          try file.bytes(
            at: storedRange.lowerBound, count: storedRange.count,
            purpose: "\(entry.type.name) \(entry.shape)")
        }
      }
      return tensor
    }
    return try Tensor(elementType: elementType, shape: entry.shape) {
      try locatingErrors(path: file.path, tensor: entry.name) {
        let stored = try file.bytes(
          at: entry.offset, count: entry.byteCount ?? 0,
          purpose: "\(entry.type.name) \(entry.shape)")
        return blocks.map { $0.dequantize(stored) } ?? stored
      }
    }
  }

  /// Returns notes on the parts of the files that cannot be read.
  private func notes(_ headers: [GGUFHeader]) -> [String] {
    let entries = headers.flatMap(\.entries)
    let unreadable = entries.filter { $0.type.isUnreadable }
    guard !unreadable.isEmpty else { return [] }
    let types = Set(unreadable.map(\.type.name)).sorted().joined(separator: ", ")
    return [
      "\(unreadable.count) of \(counted(entries.count, "tensor")) have types that cannot be read: "
        + types
    ]
  }
}

/// The names of the files of a split model: `model-00002-of-00003.gguf` is the second of three.
struct GGUFSplitNames {
  /// All names, in the order of the files.
  let all: [String]
  /// The name of the file that was opened.
  let own: String

  /// - Returns: `nil` if the name of `file` is not that of a split model's file.
  init?(of file: InputFile, in split: GGUFHeader.Split) {
    own = file.path.lastPathComponent
    let suffix = Self.suffix(split)
    guard own.hasSuffix(suffix) else { return nil }
    let prefix = own.dropLast(suffix.count)
    all = (0..<split.count).map { number in
      prefix + Self.suffix(.init(number: number, count: split.count, tensorCount: nil))
    }
  }

  /// The end of a file's name.
  static func suffix(_ split: GGUFHeader.Split) -> String {
    String(printf: "-%05d-of-%05d.gguf", Int32(split.number + 1), Int32(split.count))
  }
}
