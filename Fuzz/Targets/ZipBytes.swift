import Storage

/// Builds zip archives of stored entries around fuzzer-made bytes, so that the fuzzer does not
/// spend its time on the directory.
enum ZipBytes {
  static func checkpoint(pickle: SharedBytes) -> SharedBytes {
    archive([
      ("a/data.pkl", pickle), ("a/byteorder", SharedBytes(Array("little".utf8))),
      ("a/data/0", SharedBytes([UInt8](repeating: 1, count: 256))),
      ("a/data/1", SharedBytes([UInt8](repeating: 2, count: 64))),
      ("a/version", SharedBytes(Array("3\n".utf8))),
    ])
  }

  static func archive(_ entries: [(name: String, content: SharedBytes)]) -> SharedBytes {
    var bytes: [UInt8] = []
    var directory: [UInt8] = []
    for (name, content) in entries {
      let offset = bytes.count
      // Everything from the version needed to the extra fields' length is the same in both headers.
      var fields: [UInt8] = []
      append(UInt16(20), to: &fields)
      append(UInt16(0), to: &fields)  // flags
      append(UInt16(0), to: &fields)  // stored
      append(UInt32(0x0021_0000), to: &fields)  // 1980-01-01
      append(CRC32.checksum(content), to: &fields)
      append(UInt32(content.count), to: &fields)
      append(UInt32(content.count), to: &fields)
      append(UInt16(name.utf8.count), to: &fields)
      append(UInt16(0), to: &fields)
      append(UInt32(0x0403_4B50), to: &bytes)
      bytes += fields + Array(name.utf8) + content.array
      append(UInt32(0x0201_4B50), to: &directory)
      append(UInt16(20), to: &directory)
      directory += fields
      directory += [UInt8](repeating: 0, count: 10)  // comment, disk, attributes
      append(UInt32(offset), to: &directory)
      directory += Array(name.utf8)
    }
    let directoryOffset = bytes.count
    bytes += directory
    append(UInt32(0x0605_4B50), to: &bytes)
    append(UInt32(0), to: &bytes)
    append(UInt16(entries.count), to: &bytes)
    append(UInt16(entries.count), to: &bytes)
    append(UInt32(directory.count), to: &bytes)
    append(UInt32(directoryOffset), to: &bytes)
    append(UInt16(0), to: &bytes)
    return SharedBytes(bytes)
  }

  static func append(_ value: some FixedWidthInteger, to bytes: inout [UInt8]) {
    withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
  }
}
