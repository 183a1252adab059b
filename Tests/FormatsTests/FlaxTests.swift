import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct FlaxTests {
  /// Checkpoints of `flax.serialization`, and files broken in one way each.
  @Test(arguments: try ExpectedArchive.all(in: "expected.json", below: ["flax/"]))
  func readsCheckpointsOfFlax(_ expected: ExpectedArchive) throws {
    for access in [InputFile.Access.mapped, .read] {
      try expected.check(try PackageFolder.fixture(expected.path), access: access)
    }
  }

  @Test(arguments: [
    ("after_the_end", ModelError.malformed("1 byte after the checkpoint", offset: 27)),
    (
      "short_array",
      ModelError(
        .truncated(expectedBytes: 12, foundBytes: 8, purpose: "float32 [3]"), tensor: "a",
        offset: 19)
    ),
    ("twice", .malformed("two values have this name", tensor: "a", offset: 29)),
    (
      "rank",
      ModelError(.limitExceeded(what: "the axes of an array", limit: 64, found: "65"), offset: 6)
    ),
    (
      "deep",
      ModelError(
        .limitExceeded(what: "the nesting of a checkpoint", limit: 100, found: "more"), offset: 129)
    ),
    (
      "huge_map",
      ModelError(
        .truncated(expectedBytes: 8_589_934_590, foundBytes: 30, purpose: "4294967295 members"),
        offset: 1)
    ),
    ("reserved", .malformed("193 begins no MessagePack value", offset: 29)),
    (
      "chunk_numbers",
      .malformed("a chunked array is not a mark, 'shape' and 'chunks'", tensor: "b", offset: 29)
    ),
  ])
  func refusesBrokenCheckpoints(file: String, expected: ModelError) throws {
    let path = try PackageFolder.fixture("flax/\(file).msgpack")
    #expect(throws: expected.located(path: path)) { try FlaxFormat().read(InputFile(path: path)) }
  }

  @Test func namesWhatIsNotRead() throws {
    let archive = try FormatRegistry.standard.open(try PackageFolder.fixture("flax/texts.msgpack"))
    #expect(
      archive.unread.map(\.description) == [
        "'t' (<U1 [2]): elements of type <U1 cannot be read",
        "'e' (MessagePack extension 9): Flax defines the extensions 1 to 3 alone: 1 byte",
      ])
  }

  /// The nesting survives a conversion to PyTorch.
  @Test func conversionKeepsNesting() throws {
    let archive = try FormatRegistry.standard.open(try PackageFolder.fixture("flax/state.msgpack"))
    try withTemporaryFolder { folder in
      let path = folder.appending("state.pth")
      try FormatRegistry.standard.write(archive, as: PyTorchFormat(), to: path)
      let copy = try FormatRegistry.standard.open(path)
      #expect(copy.structure == archive.structure)
      #expect(try copy.firstDifference(from: archive, ignoringOrder: true) == nil)
    }
  }

  /// Weights for PyTorch in the same folder come before those for Flax.
  @Test func folderOfSeveralFrameworksIsRead() throws {
    try withTemporaryFolder { folder in
      let flax = folder.appending("flax_model.msgpack")
      try FileManager.default.copyItem(
        atPath: try PackageFolder.fixture("flax/types.msgpack"), toPath: flax)
      #expect(try FormatRegistry.standard.open(folder.path).sourceFiles == [flax])
      let torch = folder.appending("pytorch_model.bin")
      try FormatRegistry.standard.write(TensorArchive(), as: PyTorchFormat(), to: torch)
      #expect(try FormatRegistry.standard.open(folder.path).sourceFiles == [torch])
    }
  }
}
