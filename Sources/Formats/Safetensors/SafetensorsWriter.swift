import OrderedCollections

/// A safetensors file whose every tensor has its place: header first, then tensor after tensor.
package struct SafetensorsWriter: PlacedFile {
  private let head: [UInt8]
  private let entries: [SafetensorsHeader.Entry]
  private let archive: TensorArchive

  /// Plans the file of `archive`.
  ///
  /// - Throws: `FormatError` for what safetensors cannot hold.
  package init(_ archive: TensorArchive) throws {
    var metadata = archive.metadata
    guard metadata[SafetensorsFormat.valuesKey] == nil else {
      throw FormatError.unsupported(
        "the metadata name '\(SafetensorsFormat.valuesKey)' is reserved")
    }
    if !archive.values.isEmpty {
      let values = JSONValue.object(archive.values.mapValues(\.json))
      try values.checkKeys()
      metadata[SafetensorsFormat.valuesKey] = values.serialized()
    }
    // Transformers 4 refuses files that do not say whose tensors they hold. What is in safetensors
    // already keeps what it says, or does not.
    if metadata[SafetensorsFormat.frameworkKey] == nil, let format = archive.format,
      format != SafetensorsFormat().identifier
    {
      metadata[SafetensorsFormat.frameworkKey] = "pt"
    }
    self.archive = archive
    entries = try SafetensorsHeader.layout(of: archive.tensors)
    head = try SafetensorsHeader.encode(entries, metadata: metadata)
  }

  package var records: [PlacedRecord] {
    entries.map { entry in
      PlacedRecord(
        name: entry.name, names: [entry.name], offset: head.count + entry.dataOffsets.lowerBound,
        byteCount: entry.dataOffsets.count, sourceByteCount: entry.dataOffsets.count)
    }
  }

  package var recordsEnd: Int { head.count + (entries.last?.dataOffsets.upperBound ?? 0) }

  package func record(at index: Int) throws -> SharedBytes {
    let entry = entries[index]
    return try locatingErrors(tensor: entry.name) {
      try archive.tensors[entry.name]?.bytes() ?? SharedBytes()
    }
  }

  package func pieces(checksums: [UInt32]) throws -> [PlacedPiece] {
    [PlacedPiece(offset: 0, bytes: SharedBytes(head))]
  }

  /// What the file holds, in the form of a packed file's header: every record is raw, in the order of
  /// the file.
  package func header(producer: String) -> PackedHeader {
    var header = PackedHeader(producer: producer)
    header.metadata = archive.metadata
    header.values = archive.values
    for (record, entry) in zip(records, entries) {
      header.names[record.name] = header.entries.count
      header.entries.append(
        PackedEntry(
          name: record.name, elementType: entry.elementType, shape: entry.shape, role: .parameter,
          encoding: .raw, inflatedByteCount: nil, offset: record.offset,
          byteCount: record.byteCount, checksum: 0))
    }
    return header
  }
}
