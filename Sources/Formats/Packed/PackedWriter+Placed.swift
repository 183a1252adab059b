extension PackedWriter: PlacedFile {
  package var recordsEnd: Int { headerOffset }

  package var records: [PlacedRecord] {
    var names = [[String]](repeating: [], count: header.entries.count)
    for (name, index) in header.names { names[index].append(name) }
    return header.entries.indices.map { index in
      let entry = header.entries[index]
      return PlacedRecord(
        name: entry.name, names: names[index], offset: entry.offset, byteCount: entry.byteCount,
        sourceByteCount: entry.elementType.byteCount(forElements: entry.shape.elementCount)
          ?? entry.byteCount)
    }
  }

  package func pieces(checksums: [UInt32]) throws -> [PlacedPiece] {
    let seal = try seal(checksums: checksums)
    return [
      PlacedPiece(offset: headerOffset, bytes: seal.header),
      PlacedPiece(offset: 0, bytes: SharedBytes(seal.prologue.bytes)),
    ]
  }

  /// How small the file is, once it is sealed.
  package func summary(fileByteCount: Int) -> PackedSummary {
    PackedSummary(header, fileByteCount: fileByteCount)
  }
}
