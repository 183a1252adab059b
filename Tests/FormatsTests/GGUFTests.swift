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
    ("q6_k", "Q6_K", [2, 256]), ("iq4_nl", "IQ4_NL", [2, 32]), ("mxfp4", "MXFP4", [2, 32]),
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
          == ["one of the 3 files of a split model; only its own tensors are read"])
    }
  }
}
