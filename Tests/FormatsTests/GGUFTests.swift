import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct GGUFTests {
  /// Files of the gguf package, and files broken in one way each. The expected bits come from the
  /// package's own dequantization.
  @Test(arguments: try ExpectedArchive.all(in: "expected.json", below: ["gguf/"]))
  func readsFilesOfGGUFPackage(_ expected: ExpectedArchive) throws {
    for access in [InputFile.Access.mapped, .read] {
      try expected.check(try PackageFolder.fixture(expected.path), access: access)
    }
  }

  @Test(arguments: [
    ("q8_1", "Q8_1", [2, 32]), ("q8_k", "Q8_K", [2, 256]),
  ])
  func listsUnreadableTypes(file: String, type: String, shape: [Int]) throws {
    let path = try PackageFolder.fixture("gguf/unreadable_\(file).gguf")
    let archive = try FormatRegistry.standard.open(path)
    #expect(Array(archive.tensors.keys) == ["good", "weight"])
    let tensor = try #require(archive.tensors["weight"])
    #expect(tensor.unreadableType == type)
    #expect(tensor.shape.dimensions == shape)
    #expect(
      archive.notes == ["1 of 2 tensors have types that cannot be read: \(type)"])
    #expect(
      throws: ModelError.unsupported(
        "elements of type \(type) cannot be read", path: path, tensor: "weight")
    ) {
      try tensor.bytes()
    }
    #expect(try archive.tensors["good"]?.bytes().count == 8)
  }

  @Test(arguments: [
    ("big_endian", ModelError.unsupported("big-endian GGUF files are not supported", offset: 4)),
    ("version1", .unsupported("GGUF version 1 is not supported; 2 and 3 are", offset: 4)),
    (
      "five_axes",
      ModelError(
        .limitExceeded(what: "the axes of a tensor", limit: 4, found: "5"), tensor: "a", offset: 33)
    ),
    (
      "misaligned",
      .mismatch(expected: "an offset that is a multiple of 32", found: "8", tensor: "a")
    ),
    (
      "past_the_end",
      ModelError(
        .truncated(expectedBytes: 68, foundBytes: 64, purpose: "F32 [17]"), tensor: "a")
    ),
    (
      "other_q2_0",
      ModelError(
        .truncated(expectedBytes: 288, foundBytes: 272, purpose: "Q2_0 [1024]"), tensor: "a")
    ),
    (
      "half_a_block",
      .mismatch(expected: "Q4_0 rows of a multiple of 32 elements", found: "16", tensor: "a")
    ),
    (
      "overlap",
      .malformed("its bytes overlap those of another tensor", tensor: "b", offset: 96)
    ),
    ("duplicate_tensor", .malformed("two tensors have this name", tensor: "a")),
    ("duplicate_key", .malformed("the metadata key 'k' occurs twice", offset: 38)),
    (
      "alignment_48",
      .mismatch(
        expected: "'general.alignment' to be a power of two up to 2^30", found: "48", offset: 24)
    ),
    (
      "tensor_count",
      ModelError(
        .limitExceeded(
          what: "the number of tensors", limit: 1_000_000, found: "9223372036854775808"),
        offset: 8)
    ),
    (
      "deep_array",
      ModelError(
        .limitExceeded(what: "the nesting of metadata arrays", limit: 4, found: "5"), offset: 85)
    ),
  ])
  func refusesBrokenFiles(file: String, expected: ModelError) throws {
    let path = try PackageFolder.fixture("gguf/\(file).gguf")
    #expect(throws: expected.located(path: path)) { try FormatRegistry.standard.open(path) }
  }

  /// Metadata and arrays survive a change of format.
  @Test func conversionKeepsMetadata() throws {
    let archive = try FormatRegistry.standard.open(
      try PackageFolder.fixture("gguf/metadata.gguf"))
    #expect(archive.values["k.uint64"] == .largeInteger("18446744073709551615"))
    #expect(archive.metadata["k.integers"] == "[1,-2,3]")
    try withTemporaryFolder { folder in
      let path = folder.appending("copy.safetensors")
      try FormatRegistry.standard.write(archive, as: SafetensorsFormat(), to: path)
      var copy = try FormatRegistry.standard.open(path)
      #expect(copy.metadata.removeValue(forKey: "format") == "pt")
      #expect(try copy.firstDifference(from: archive, ignoringOrder: true) == nil)
    }
  }

  /// Any file of a split model stands for all of them.
  @Test func splitModelNamesItsFiles() throws {
    let folder = try PackageFolder.fixture("gguf/split")
    let paths = (1...3).map { "\(folder)/model-0000\($0)-of-00003.gguf" }
    let archive = try FormatRegistry.standard.open(paths[1])
    #expect(archive.sourceFiles == [paths[1], paths[0], paths[2]])
    #expect(archive.fileOfTensor["blk.3.weight"] == paths[1])
    #expect(archive.notes == [])
    // A folder of it is one model.
    #expect(try FormatRegistry.standard.open(folder).sourceFiles == paths)
  }

  @Test func refusesSplitModelsWithMissingOrForeignFiles() throws {
    let original = try PackageFolder.fixture("gguf/split")
    try withTemporaryFolder { folder in
      let paths = (1...3).map { folder.appending("model-0000\($0)-of-00003.gguf") }
      for (number, path) in paths.enumerated() where number != 1 {
        try FileManager.default.copyItem(
          atPath: "\(original)/model-0000\(number + 1)-of-00003.gguf", toPath: path)
      }
      #expect(
        throws: ModelError.malformed(
          "1 of 3 files are missing: 'model-00002-of-00003.gguf'", path: paths[0])
      ) {
        try FormatRegistry.standard.open(paths[0])
      }
      try FileManager.default.copyItem(atPath: paths[2], toPath: paths[1])
      #expect(
        throws: ModelError.mismatch(expected: "file 2 of 3", found: "file 3 of 3", path: paths[1])
      ) {
        try FormatRegistry.standard.open(paths[0])
      }
    }
  }

  @Test func notesThatModelIsSplit() throws {
    let path = try PackageFolder.fixture("gguf/no_tensors.gguf")
    try withTemporaryFolder { folder in
      var bytes = [UInt8](try Data(contentsOf: URL(filePath: path)))
      // Adds one more pair, a u16, after the existing one.
      let key = Array("split.count".utf8)
      let end = 24 + 8 + "general.architecture".utf8.count + 4 + 8 + "condi-test".utf8.count
      bytes[16] += 1
      bytes = bytes[..<end] + [UInt8(key.count), 0, 0, 0, 0, 0, 0, 0] + key + [2, 0, 0, 0, 3, 0]
      let copy = folder.appending("split.gguf")
      try Data(bytes).write(to: URL(filePath: copy))
      #expect(
        try FormatRegistry.standard.open(copy).notes
          == [
            "one of the 3 files of a split model; only its own tensors are read, because its name does "
              + "not end in '-00001-of-00003.gguf'"
          ])
    }
  }
}
