extension PackedWriter {
  /// About how many bytes the header will take in the file.
  ///
  /// Checksums are not known before the records are; as good as random numbers, other random numbers
  /// compress like them.
  package var estimatedHeaderByteCount: Int {
    var planned = header
    for index in planned.entries.indices {
      planned.entries[index].checksum =
        UInt32(truncatingIfNeeded: index &+ 1) &* 0x9E37_79B9 ^ 0x85EB_CA6B
    }
    return Zlib.compress(SharedBytes(planned.json.serialized().utf8)).count
  }
}
