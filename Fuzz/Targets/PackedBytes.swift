import Formats
import Storage

/// A packed file around a fuzzer-made header, compressed with stored blocks only.
public enum PackedBytes {
  /// - Parameter input: two bytes with the length of the records, which are zeros, then the header's
  ///   JSON text.
  static func file(header input: SharedBytes) -> SharedBytes {
    guard input.count >= 2 else { return SharedBytes() }
    let recordByteCount = Int(input.array[0]) | Int(input.array[1]) << 8
    let text = input.slice(2..<input.count)
    let header = zlibStream(text.array)
    var bytes: [UInt8] = [0x89] + Array("CONDI".utf8) + [0x0D, 0x0A]
    let headerOffset = 64 + recordByteCount
    ZipBytes.append(UInt16(1), to: &bytes)  // versions
    ZipBytes.append(UInt16(0), to: &bytes)
    ZipBytes.append(UInt32(0), to: &bytes)
    for count in [headerOffset, header.count, text.count, headerOffset + header.count] {
      ZipBytes.append(UInt64(count), to: &bytes)
    }
    ZipBytes.append(CRC32.checksum(SharedBytes(header)), to: &bytes)
    ZipBytes.append(UInt64(0), to: &bytes)
    ZipBytes.append(CRC32.checksum(SharedBytes(bytes)), to: &bytes)
    return SharedBytes(bytes + [UInt8](repeating: 0, count: recordByteCount) + header)
  }

  /// Returns the two bytes and the text that `file(header:)` takes, from a complete file.
  public static func input(for model: PackedModel) -> [UInt8] {
    let end = model.header.entries.map { $0.offset + $0.byteCount }.max() ?? 64
    var bytes: [UInt8] = []
    ZipBytes.append(UInt16(clamping: end - 64), to: &bytes)
    return bytes + Array(model.headerText.utf8)
  }

  /// Returns an RFC 1950 stream of RFC 1951 stored blocks.
  private static func zlibStream(_ content: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = [0x78, 0x01]
    var start = 0
    repeat {
      let piece = content[start..<min(start + 0xFFFF, content.count)]
      start += piece.count
      bytes.append(start == content.count ? 1 : 0)
      ZipBytes.append(UInt16(piece.count), to: &bytes)
      ZipBytes.append(~UInt16(piece.count), to: &bytes)
      bytes += piece
    } while start < content.count
    var (low, high): (UInt32, UInt32) = (1, 0)
    for byte in content {
      low = (low + UInt32(byte)) % 65521
      high = (high + low) % 65521
    }
    withUnsafeBytes(of: (high << 16 | low).bigEndian) { bytes += $0 }
    return bytes
  }
}
