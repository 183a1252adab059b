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
      var archive = TensorArchive(
        format: identifier, values: header.metadata.values, metadata: header.metadata.arrays)
      let names = header.fullNames
      for entry in header.entries {
        archive.tensors[names[entry.name] ?? entry.name] = try tensor(
          entry, storedRange: header.storedRange(of: entry, in: file), in: file)
      }
      archive.notes = notes(header)
      return archive
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

  /// Returns notes on the parts of the file that are not in the archive, or cannot be read.
  private func notes(_ header: GGUFHeader) -> [String] {
    var notes: [String] = []
    if case .integer(let count)? = header.metadata.values["split.count"], count > 1 {
      notes.append(
        "one of the \(counted(count, "file")) of a split model; only its own tensors are read")
    }
    let unreadable = header.entries.filter { $0.type.isUnreadable }
    if !unreadable.isEmpty {
      let types = Set(unreadable.map(\.type.name)).sorted().joined(separator: ", ")
      notes.append(
        "\(unreadable.count) of \(counted(header.entries.count, "tensor")) have types that cannot be read: "
          + types)
    }
    return notes
  }
}
