import Foundation
import TestSupport
import Testing

@testable import Storage

/// Hand-assembled archives with contents that no writer produces.
@Suite struct ZipDirectoryTests {
  @Test func lengthsComeFromCentralDirectory() throws {
    // torch writes zeros in the local header and a data descriptor after the content.
    var zip = HandmadeZip()
    zip.add("a", [1, 2, 3], localFlags: 0x0808, localCRC32: 0, localByteCount: 0)
    let archive = try ZipArchive(zip.file())
    #expect(try archive.bytes(of: archive.entries[0]).array == [1, 2, 3])
  }

  @Test func emptyEntriesReadAsEmpty() throws {
    // libzip 1.7.3 crashes when asked to seek in one of these.
    var zip = HandmadeZip()
    zip.add("a", [])
    zip.add("b", [])
    let archive = try ZipArchive(zip.file())
    #expect(try archive.entries.map { try archive.bytes(of: $0).count } == [0, 0])
  }

  @Test func duplicateNamesAreRefused() throws {
    var zip = HandmadeZip()
    zip.add("same", [1])
    zip.add("same", [2])
    expectRefusal(zip, "two zip entries have this name")
  }

  /// Unreadable entries do not cost the others.
  @Test(
    arguments: [
      (0x0001, 0, "encrypted zip entries are not supported"),
      (0x0040, 0, "encrypted zip entries are not supported"),
      (0x2000, 0, "encrypted zip entries are not supported"),
      (0, 12, "zip compression method 12 (bzip2) is not supported, only stored and deflated are"),
      (0, 77, "zip compression method 77 is not supported, only stored and deflated are"),
    ] as [(UInt16, UInt16, String)])
  func unreadableEntriesLeaveOthersReadable(flags: UInt16, method: UInt16, message: String) throws {
    var zip = HandmadeZip()
    zip.add("a", [1], method: method, flags: flags, localFlags: flags)
    zip.add("b", [2])
    let archive = try ZipArchive(zip.file())
    #expect(try archive.bytes(of: archive.entries[1]).array == [2])
    let error = #expect(throws: ModelError.self) { try archive.bytes(of: archive.entries[0]) }
    #expect(error?.problem == .unsupported(message))
    #expect(error?.entry == "a")
  }

  @Test func impossibleRatiosAreRefusedBeforeAllocating() throws {
    var zip = HandmadeZip()
    zip.add("a", [3, 0], method: 8, byteCount: 0xFFFF_FFF0)
    expectRefusal(zip, "the length of 2 deflated bytes is limited to 2064, found 4294967280")
  }

  @Test func storedLengthsMustBeEqual() throws {
    var zip = HandmadeZip()
    zip.add("a", [3, 0], byteCount: 3)
    expectRefusal(zip, "expected a stored zip entry of 3 bytes, found 2")
  }

  @Test func overlappingEntriesAreRefused() throws {
    var zip = HandmadeZip()
    zip.add("a", [1, 2, 3])
    zip.add("a", [1, 2, 3], centralName: "b", centralOffset: 0)
    let error = #expect(throws: ModelError.self) { try ZipArchive(zip.file()) }
    #expect(error?.entry == "b")
    var same = HandmadeZip()
    same.add("a", [1, 2, 3])
    same.add("a", [1, 2, 3], centralName: "b", localName: "b", centralOffset: 2)
    #expect(throws: ModelError.self) { try ZipArchive(same.file()) }
  }

  @Test func localAndCentralNamesMustAgree() throws {
    var zip = HandmadeZip()
    zip.add("a", [1], localName: "b")
    expectRefusal(zip, "the name in the local zip header differs from the directory's")
  }

  @Test func contentMustEndBeforeDirectory() throws {
    var zip = HandmadeZip()
    zip.add("a", [1, 2], byteCount: 5000, compressedByteCount: 5000)
    expectRefusal(zip, "expected 5000 bytes for a zip entry, found 2")
  }

  @Test func wrongEntryCountIsRefused() throws {
    var zip = HandmadeZip()
    zip.add("a", [1])
    zip.declaredEntryCount = 2
    expectRefusal(zip, "expected a zip directory of 2 entries, found 47 bytes")
    zip.add("b", [1])
    zip.declaredEntryCount = 1
    expectRefusal(zip, "47 bytes of the zip directory belong to no entry")
  }

  @Test func zip64FieldsAreRead() throws {
    var zip = HandmadeZip()
    zip.add("a", [1, 2, 3], usesZip64: true)
    zip.writesZip64End = true
    let archive = try ZipArchive(zip.file())
    #expect(try archive.bytes(of: archive.entries[0]).array == [1, 2, 3])
  }

  @Test func archiveCommentIsAllowed() throws {
    var zip = HandmadeZip()
    zip.add("a", [1, 2, 3])
    zip.comment = Array("PK is how it starts".utf8)
    #expect(try ZipArchive(zip.file()).entries.map(\.name) == ["a"])
  }

  private func expectRefusal(
    _ zip: HandmadeZip, _ message: String, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let error = #expect(throws: ModelError.self, sourceLocation: sourceLocation) {
      try ZipArchive(zip.file())
    }
    #expect(error?.problem.description == message, sourceLocation: sourceLocation)
  }
}
