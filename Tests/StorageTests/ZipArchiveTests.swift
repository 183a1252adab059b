import Foundation
import TestSupport
import Testing

@testable import Storage

@Suite struct ZipArchiveTests {
  @Test(arguments: [ZipWriter.Compression.stored, .deflated])
  func roundTripKeepsOrderNamesAndContent(compression: ZipWriter.Compression) throws {
    let contents: [(String, [UInt8])] = [
      ("b", Array("hello hello hello".utf8)), ("a/empty", []), ("ä.npy", [0, 255]),
      ("big", (0..<100_000).map { UInt8(truncatingIfNeeded: $0 / 7) }),
    ]
    let file = try ZipFiles.write { writer in
      for (name, bytes) in contents {
        writer.add(name, SharedBytes(bytes), compression: compression)
      }
    }
    let archive = try ZipArchive(file)
    #expect(archive.entries.map(\.name) == contents.map(\.0))
    for (name, bytes) in contents {
      let entry = try #require(archive.entry(named: name))
      #expect(entry.byteCount == bytes.count)
      #expect(try archive.bytes(of: entry).array == bytes)
      #expect(try archive.bytes(of: entry).array == bytes)
    }
    #expect(archive.entry(named: "c") == nil)
  }

  @Test(arguments: [InputFile.Access.mapped, .read])
  func bothAccessesReadDeflatedEntries(access: InputFile.Access) throws {
    let bytes = (0..<5000).map { UInt8(truncatingIfNeeded: $0 % 13) }
    let path = try ZipFiles.temporaryPath()
    defer { unlink(path) }
    try ZipFiles.write(to: path) { $0.add("x", SharedBytes(bytes), compression: .deflated) }
    let archive = try ZipArchive(InputFile(path: path, access: access))
    let entry = try #require(archive.entry(named: "x"))
    #expect(entry.method == .deflated)
    #expect(entry.compressedByteCount < 500)
    #expect(try archive.bytes(of: entry).array == bytes)
  }

  @Test func alignedEntriesStartAtMultiples() throws {
    let file = try ZipFiles.write { writer in
      for count in [0, 1, 3, 64, 1000, 17] {
        writer.add(
          "name\(count)", SharedBytes([UInt8](repeating: 7, count: count)), alignment: 64)
      }
    }
    let archive = try ZipArchive(file)
    #expect(archive.entries.map { $0.dataOffset % 64 } == [0, 0, 0, 0, 0, 0])
    #expect(try archive.entries.map { try archive.bytes(of: $0).count } == [0, 1, 3, 64, 1000, 17])
  }

  @Test func emptyArchiveIsValid() throws {
    let file = try ZipFiles.write { _ in }
    #expect(file.byteCount == 22)
    #expect(try ZipArchive(file).entries.isEmpty)
  }

  /// This test needs 9 GB of disk space.
  @Test(.enabled(if: ProcessInfo.processInfo.environment["CONDI_LARGE_TESTS"] == "1"))
  func largeArchivesUseZip64() throws {
    let path = try ZipFiles.temporaryPath()
    defer { unlink(path) }
    #expect(FileManager.default.createFile(atPath: path, contents: nil))
    #expect(truncate(path, 0x1_0000_0007) == 0)
    let sparse = try InputFile(path: path)
    let large = try sparse.bytes(at: 0, count: sparse.byteCount, purpose: "test")
    let file = try ZipFiles.write { writer in
      writer.add("first", large, alignment: 64)
      writer.add("second", SharedBytes([1, 2, 3]), alignment: 64)
      writer.add("deflated", large, compression: .deflated)
    }
    let archive = try ZipArchive(file)
    #expect(archive.entries.map(\.byteCount) == [0x1_0000_0007, 3, 0x1_0000_0007])
    #expect(archive.entries.prefix(2).allSatisfy { $0.dataOffset.isMultiple(of: 64) })
    #expect(try archive.bytes(of: archive.entries[2]).count == 0x1_0000_0007)
    #expect(try archive.bytes(of: archive.entries[1]).array == [1, 2, 3])
    #expect(try archive.bytes(of: archive.entries[0]).count == 0x1_0000_0007)
  }

  @Test func writingTwiceGivesSameBytes() throws {
    let files = try (0..<2).map { _ in
      try ZipFiles.write { writer in
        writer.add("a", SharedBytes([1, 2, 3]), alignment: 64)
        writer.add("b", SharedBytes([UInt8](repeating: 9, count: 999)), compression: .deflated)
      }
    }
    let bytes = try files.map { try $0.bytes(at: 0, count: $0.byteCount, purpose: "test") }
    #expect(bytes[0].elementsEqual(bytes[1]))
  }

  /// The header fields are those of libzip, and the last entry is made from the others' checksums.
  @Test func plannedArchiveHasKnownBytes() throws {
    let file = try ZipFiles.write { writer in
      writer.add("a", SharedBytes([1, 2, 3]), alignment: 16)
      writer.add("ä", byteCount: 8, alignment: 16) { checksums in
        SharedBytes(checksums.flatMap { String($0, radix: 16).utf8 })
      }
    }
    let archive = try ZipArchive(file)
    let derived = try #require(archive.entry(named: "ä"))
    #expect(try archive.bytes(of: derived).array == Array("55bc801d".utf8))
    let bytes = try file.bytes(at: 0, count: file.byteCount, purpose: "test").array
    let text = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    #expect(
      text == """
        504b03040a0000000000000021001d80bc550300000003000000010011006146420d005a5a5a5a5a\
        5a5a5a5a5a5a5a5a010203504b03040a000008000000002100643c8c54080000000800000002000d\
        00c3a4464209005a5a5a5a5a5a5a5a5a3535626338303164504b01023f030a000000000000002100\
        1d80bc550300000003000000010000000000000000000000b6810000000061504b01023f030a0000\
        08000000002100643c8c540800000008000000020000000000000000000000b68133000000c3a450\
        4b050600000000020002005f000000680000000000
        """)
  }

  @Test func contentErrorsAreRethrown() throws {
    struct Refusal: Error {}
    #expect(throws: Refusal.self) {
      try ZipFiles.write { $0.add("a", byteCount: 3) { throw Refusal() } }
    }
    #expect(
      throws: ModelError(
        .truncated(expectedBytes: 3, foundBytes: 2, purpose: "a zip entry"), entry: "a")
    ) {
      try ZipFiles.write { $0.add("a", byteCount: 3) { SharedBytes([1, 2]) } }
    }
  }

  @Test func damagedContentIsFoundByChecksum() throws {
    for compression in [ZipWriter.Compression.stored, .deflated] {
      let content = Array("some content that matters".utf8)
      let file = try ZipFiles.write {
        $0.add("a", SharedBytes(content), compression: compression)
      }
      let entry = try #require(try ZipArchive(file).entry(named: "a"))
      let damaged = try ZipFiles.modify(file) { $0[entry.dataOffset + 5] ^= 0x20 }
      let archive = try ZipArchive(damaged)
      #expect(throws: ModelError.self) { try archive.bytes(of: archive.entries[0]) }
      if compression == .stored {
        var changed = content
        changed[5] ^= 0x20
        #expect(
          throws: ModelError(
            .checksumMismatch(
              expected: CRC32.checksum(SharedBytes(content)),
              found: CRC32.checksum(SharedBytes(changed))),
            path: damaged.path, entry: "a", offset: entry.dataOffset)
        ) { try archive.bytes(of: archive.entries[0]) }
      }
    }
  }

  @Test func everyTruncationIsRefused() throws {
    let file = try ZipFiles.write { writer in
      writer.add("first", SharedBytes([1, 2, 3, 4]))
      writer.add("second", SharedBytes([5]), compression: .deflated)
    }
    let bytes = try file.bytes(at: 0, count: file.byteCount, purpose: "test").array
    for count in 0..<bytes.count {
      let truncated = try ZipFiles.make(bytes[..<count])
      #expect(throws: ModelError.self, "\(count) bytes") { try ZipArchive(truncated) }
    }
  }

  /// A single changed byte is either refused or harmless: the content read is the content written.
  @Test func changedBytesNeverChangeContent() throws {
    let contents: [[UInt8]] = [[1, 2, 3, 4], Array("deflated deflated".utf8), []]
    let file = try ZipFiles.write { writer in
      writer.add("first", SharedBytes(contents[0]), alignment: 64)
      writer.add("second", SharedBytes(contents[1]), compression: .deflated)
      writer.add("third", SharedBytes(contents[2]))
    }
    for position in 0..<file.byteCount {
      for change in [0x01, 0x80, 0xFF] as [UInt8] {
        let changed = try ZipFiles.modify(file) { $0[position] ^= change }
        do {
          let archive = try ZipArchive(changed)
          let found = try archive.entries.map { try archive.bytes(of: $0).array }
          #expect(found == contents, "byte \(position) changed by \(change)")
        } catch is ModelError {}
      }
    }
  }
}
