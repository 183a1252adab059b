import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

extension ExpectedArchive {
  /// Reads the file at `path` with any format and compares it with the expectation.
  func check(
    _ path: String, access: InputFile.Access = .mapped,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let archive: TensorArchive
    let checksums: [UInt32]
    do {
      archive = try FormatRegistry.standard.open(path, access: access)
      checksums = try archive.tensors.values.map { CRC32.checksum(try $0.bytes()) }
    } catch let error as ModelError where isRefused || mayBeRefused {
      #expect(error.path == path, sourceLocation: sourceLocation)
      return
    }
    guard !isRefused else {
      Issue.record("is read, but: \(reason)", sourceLocation: sourceLocation)
      return
    }
    #expect(Array(archive.tensors.keys) == tensors.map(\.name), sourceLocation: sourceLocation)
    for (expected, checksum) in zip(tensors, checksums) {
      let tensor = archive.tensors[expected.name]
      #expect(
        tensor?.elementType.rawValue == expected.elementType, sourceLocation: sourceLocation)
      #expect(tensor?.shape.dimensions == expected.shape, sourceLocation: sourceLocation)
      #expect(checksum == expected.crc32, "'\(expected.name)'", sourceLocation: sourceLocation)
    }
    #expect(Array(archive.values.keys) == values.map(\.name), sourceLocation: sourceLocation)
    #expect(archive.unread.map(\.name) == unread, sourceLocation: sourceLocation)
    for (name, value) in values {
      #expect(value.isIdentical(to: archive.values[name]), sourceLocation: sourceLocation)
    }
    #expect(
      Dictionary(uniqueKeysWithValues: archive.metadata.map { ($0.key, $0.value) }) == metadata,
      sourceLocation: sourceLocation)
  }
}
