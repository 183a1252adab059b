/// The members of a tar archive (POSIX.1-1988 and pax), as far as old PyTorch checkpoints need.
struct TarDirectory {
  struct Member: Sendable {
    let name: String
    let range: Range<Int>
  }

  /// Regular files, in order.
  let members: [Member]
  /// Behind the last member; zeros follow.
  let endOffset: Int

  private static let blockByteCount = 512
  static let memberLimit = 1 << 10

  /// - Parameter read: gives bytes of the file.
  /// - Throws: `FormatError` for a damaged header, or what old checkpoints do not have.
  init(
    byteCount: Int, read: (_ offset: Int, _ count: Int, _ purpose: String) throws -> SharedBytes
  ) throws {
    var members: [Member] = []
    var offset = 0
    while offset <= byteCount - Self.blockByteCount {
      let block = try read(offset, Self.blockByteCount, "a tar header").array
      if block.allSatisfy({ $0 == 0 }) { break }
      guard Self.isHeader(block), let length = Self.number(block[124..<136]) else {
        throw FormatError.malformed("a tar header is damaged", offset: offset)
      }
      let begin = offset + Self.blockByteCount
      guard length <= byteCount - begin else {
        throw FormatError(
          .truncated(
            expectedBytes: length, foundBytes: byteCount - begin, purpose: "a tar member"),
          offset: begin)
      }
      switch block[156] {
      case 0, UInt8(ascii: "0"):
        let name = block[..<100].prefix { $0 != 0 }
        guard let name = String(validating: name, as: UTF8.self),
          !members.contains(where: { $0.name == name }), members.count < Self.memberLimit
        else { throw FormatError.malformed("a tar member's name is impossible", offset: offset) }
        members.append(Member(name: name, range: begin..<begin + length))
      case UInt8(ascii: "5"), UInt8(ascii: "x"), UInt8(ascii: "g"): break  // folders, pax records
      default:
        throw FormatError.unsupported("tar links and devices are not supported", offset: offset)
      }
      let padded = (length + Self.blockByteCount - 1) / Self.blockByteCount * Self.blockByteCount
      offset = begin + padded
    }
    self.members = members
    endOffset = min(offset, byteCount)
  }

  /// Whether a block is a header: its checksum is that of its bytes with the checksum blank.
  static func isHeader(_ block: [UInt8]) -> Bool {
    guard block.count == blockByteCount, let checksum = number(block[148..<156]) else {
      return false
    }
    let sum = block.enumerated().reduce(0) {
      $0 + ((148..<156).contains($1.offset) ? 0x20 : Int($1.element))
    }
    return sum == checksum
  }

  /// An octal number that ends in a blank or a zero.
  private static func number(_ field: ArraySlice<UInt8>) -> Int? {
    let digits = field.drop { $0 == 0x20 }.prefix { $0 != 0 && $0 != 0x20 }
    return Int(String(decoding: digits, as: UTF8.self), radix: 8)
  }
}
