import Storage

/// Recovers entries from local headers, for archives whose directory is damaged or crafted to be
/// read differently by different programs.
enum ZipSalvage {
  struct Entry {
    let name: String
    let range: Range<Int>
    let isDeflated: Bool
  }

  private static let signature: [UInt8] = [0x50, 0x4B, 0x03, 0x04]
  private static let entryLimit = 10_000

  /// Returns one entry per local header, wherever it is; an entry of unknown length extends to the
  /// next header.
  static func entries(of bytes: SharedBytes) -> [Entry] {
    bytes.withUnsafeBytes { buffer in
      var starts: [Int] = []
      var position = 0
      while position + 30 <= buffer.count, starts.count < entryLimit {
        if buffer[position] == signature[0], buffer[position + 1] == signature[1],
          buffer[position + 2] == signature[2], buffer[position + 3] == signature[3]
        {
          starts.append(position)
        }
        position += 1
      }
      return starts.enumerated().compactMap { index, start in
        let method = buffer.loadUnaligned(fromByteOffset: start + 8, as: UInt16.self).littleEndian
        let length = Int(
          buffer.loadUnaligned(fromByteOffset: start + 18, as: UInt32.self).littleEndian)
        let nameCount = Int(
          buffer.loadUnaligned(fromByteOffset: start + 26, as: UInt16.self).littleEndian)
        let extraCount = Int(
          buffer.loadUnaligned(fromByteOffset: start + 28, as: UInt16.self).littleEndian)
        let begin = start + 30 + nameCount + extraCount
        let next = index + 1 < starts.count ? starts[index + 1] : buffer.count
        guard begin <= buffer.count else { return nil }
        let end = length > 0 && length <= buffer.count - begin ? begin + length : max(begin, next)
        let name = String(
          decoding: UnsafeRawBufferPointer(rebasing: buffer[start + 30..<start + 30 + nameCount]),
          as: UTF8.self)
        return Entry(name: name, range: begin..<end, isDeflated: method == 8)
      }
    }
  }
}
