import Foundation
import TestSupport
import Testing

@testable import Storage

@Suite struct CoreInputOutputTests {
  // MARK: ByteReader

  @Test func readsLittleEndianValues() throws {
    var reader = ByteReader(
      SharedBytes([1, 2, 0, 3, 0, 0, 0, 0xFF] + Array("ab\nc".utf8)), baseOffset: 100)
    #expect(try reader.readInteger(UInt8.self, for: "a") == 1)
    #expect(try reader.readInteger(UInt16.self, for: "b") == 2)
    #expect(try reader.readCount(UInt32.self, for: "c") == 3)
    #expect(try reader.readInteger(Int8.self, for: "d") == -1)
    #expect(reader.offset == 8)
    #expect(reader.fileOffset == 108)
    #expect(try reader.readLine(for: "e").array == Array("ab".utf8))
    #expect(throws: ModelError.malformed("f has no end of line", offset: 111)) {
      try reader.readLine(for: "f")
    }
    #expect(try reader.readUTF8(1, for: "g") == "c")
    #expect(reader.isAtEnd)
    #expect(
      throws: ModelError(
        .truncated(expectedBytes: 4, foundBytes: 0, purpose: "h"), offset: 112)
    ) {
      try reader.readInteger(UInt32.self, for: "h")
    }
    try reader.seek(to: 1)
    #expect(reader.remaining == 11)
  }

  @Test func refusesReadsBeyondLimits() throws {
    var reader = ByteReader(SharedBytes([UInt8](repeating: 0xFF, count: 9)))
    #expect(
      throws: ModelError.mismatch(
        expected: "a count below 2^63", found: "18446744073709551615", offset: 0)
    ) {
      try reader.readCount(UInt64.self, for: "a count")
    }
    #expect(throws: ModelError.malformed("a name is not valid UTF-8", offset: 8)) {
      try reader.readUTF8(1, for: "a name")
    }
    for count in [-1, 10, .max] {
      var reader = ByteReader(SharedBytes([UInt8](repeating: 0, count: 9)))
      #expect(
        throws: ModelError(
          .truncated(expectedBytes: count, foundBytes: 9, purpose: "bytes"), offset: 0)
      ) {
        try reader.read(count, for: "bytes")
      }
    }
    for offset in [-1, 10] {
      #expect(throws: ModelError.self) { try reader.seek(to: offset) }
    }
  }

  // MARK: InputFile

  @Test(arguments: [InputFile.Access.mapped, .read])
  func checksEveryRange(access: InputFile.Access) throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("file")
      try Data([1, 2, 3]).write(to: URL(filePath: path))
      let file = try InputFile(path: path, access: access)
      #expect(try file.bytes(at: 1, count: 2, purpose: "x").array == [2, 3])
      #expect(try file.bytes(at: 3, count: 0, purpose: "x").array == [])
      for (offset, count, found) in [(0, 4, 3), (3, 1, 0), (4, 0, 0), (-1, 1, 0), (1, .max, 2)] {
        #expect(
          throws: ModelError(
            .truncated(expectedBytes: count, foundBytes: found, purpose: "x"), path: path,
            offset: offset)
        ) {
          try file.bytes(at: offset, count: count, purpose: "x")
        }
      }
    }
  }

  @Test func bytesOutliveTheirFile() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("file")
      try Data([1, 2, 3]).write(to: URL(filePath: path))
      let bytes = try InputFile(path: path).bytes(at: 0, count: 3, purpose: "x")
      try FileManager.default.removeItem(atPath: path)
      #expect(bytes.array == [1, 2, 3])
    }
  }

  @Test func opensRegularFilesOnly() throws {
    try withTemporaryFolder { folder in
      #expect(
        throws: ModelError.unsupported("not a regular file but a directory", path: folder.path)
      ) {
        try InputFile(path: folder.path)
      }
      let pipe = folder.appending("pipe")
      #expect(mkfifo(pipe, 0o600) == 0)
      #expect(throws: ModelError.unsupported("not a regular file but a pipe", path: pipe)) {
        try InputFile(path: pipe)
      }
      let missing = folder.appending("missing")
      #expect(
        throws: ModelError(.system(operation: "open", code: ENOENT), path: missing)
      ) {
        try InputFile(path: missing)
      }
      let empty = folder.appending("empty")
      try Data().write(to: URL(filePath: empty))
      #expect(try InputFile(path: empty).byteCount == 0)
    }
  }

  // MARK: AtomicFileWriter

  private func content(_ path: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(filePath: path)))
  }

  @Test func fileAppearsWholeOnFinish() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("file")
      var writer = try AtomicFileWriter(path: path)
      try writer.append([1, 2])
      try writer.append(SharedBytes([3]))
      #expect(writer.byteCount == 3)
      #expect(!FileManager.default.fileExists(atPath: path))
      try writer.finish()
      #expect(try content(path) == [1, 2, 3])
      #expect(try folder.names() == ["file"])
    }
  }

  @Test func unfinishedFileLeavesNothing() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("file")
      try Data([9]).write(to: URL(filePath: path))
      struct Interruption: Error {}
      #expect(throws: Interruption.self) {
        var writer = try AtomicFileWriter(path: path, replacesExisting: true)
        try writer.append([1, 2])
        throw Interruption()
      }
      #expect(try content(path) == [9])
      #expect(try folder.names() == ["file"])
    }
  }

  @Test func existingFileIsReplacedOnlyOnRequest() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("file")
      try Data([9]).write(to: URL(filePath: path))
      #expect(throws: ModelError(.outputExists, path: path)) {
        _ = try AtomicFileWriter(path: path)
      }
      var writer = try AtomicFileWriter(path: path, replacesExisting: true)
      try writer.append([1])
      try writer.finish()
      #expect(try content(path) == [1])
      #expect(try folder.names() == ["file"])
    }
  }

  /// A file that appears while writing is not lost either.
  @Test func fileThatAppearsDuringWriteIsKept() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("file")
      var writer = try AtomicFileWriter(path: path)
      try writer.append([1])
      try Data([9]).write(to: URL(filePath: path))
      do {
        try writer.finish()
        Issue.record("the file was replaced")
      } catch let error as ModelError {
        #expect(error == ModelError(.outputExists, path: path))
      }
      #expect(try content(path) == [9])
      #expect(try folder.names() == ["file"])
    }
  }

  @Test func refusesUnwritablePaths() throws {
    try withTemporaryFolder { folder in
      let missing = folder.appending("missing/file")
      #expect(
        throws: ModelError.unsupported(
          "there is no folder '\(folder.appending("missing"))'; make it first", path: missing)
      ) {
        _ = try AtomicFileWriter(path: missing)
      }
      #expect(throws: ModelError.self) { _ = try AtomicFileWriter(path: folder.path + "/") }
      #expect(throws: ModelError.self) {
        var writer = try AtomicFileWriter(path: folder.path, replacesExisting: true)
        try writer.append([1])
        try writer.finish()
      }
      let names = try folder.names()
      #expect(names == [])
    }
  }

  @Test func bytesCanBePlacedInAnyOrder() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("file")
      let writer = try AtomicFileWriter(path: path)
      try writer.preallocate(byteCount: 6)
      try writer.placement.write(SharedBytes([4, 5, 6]), at: 3)
      try writer.placement.write(SharedBytes([1, 2, 3]), at: 0)
      try writer.finish()
      #expect(try content(path) == [1, 2, 3, 4, 5, 6])
    }
  }
}
