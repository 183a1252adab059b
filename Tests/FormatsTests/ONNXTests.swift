import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct ONNXTests {
  /// Models of the onnx package, and models broken in one way each.
  @Test(arguments: try ExpectedArchive.all(in: "expected.json", below: ["onnx/"]))
  func readsModelsOfONNXPackage(_ expected: ExpectedArchive) throws {
    for access in [InputFile.Access.mapped, .read] {
      try expected.check(try PackageFolder.fixture(expected.path), access: access)
    }
  }

  @Test func listsUnreadableTypes() throws {
    let path = try PackageFolder.fixture("onnx/unreadable_string.onnx")
    let archive = try FormatRegistry.standard.open(path)
    #expect(Array(archive.tensors.keys) == ["good", "w"])
    let tensor = try #require(archive.tensors["w"])
    #expect(tensor.unreadableType == "STRING")
    #expect(tensor.shape.dimensions == [2])
    #expect(archive.notes == ["1 of 2 initializers have types that cannot be read: STRING"])
    #expect(
      throws: ModelError.unsupported(
        "elements of type STRING cannot be read", path: path, tensor: "w")
    ) {
      try tensor.bytes()
    }
  }

  @Test(arguments: [
    (
      "raw_too_short",
      ModelError(
        .truncated(expectedBytes: 48, foundBytes: 44, purpose: "float32 [3, 4]"), tensor: "w",
        offset: 27)
    ),
    (
      "packed_too_short",
      ModelError(
        .truncated(expectedBytes: 5, foundBytes: 4, purpose: "uint8 [3, 3]"), tensor: "w",
        offset: 27)
    ),
    (
      "external_missing",
      .malformed(
        "external data in 'missing.bin': cannot open: No such file or directory", tensor: "w")
    ),
    (
      "external_parent",
      .malformed(
        "external data in '../npy/float32.npy': the file name '../npy/float32.npy' is not a plain "
          + "path below the folder of the file that names it", tensor: "w")
    ),
    (
      "external_past_the_end",
      .malformed(
        "external data in 'external/weights.bin': expected 48 bytes for the elements from byte 80 "
          + "on, found 8", tensor: "w")
    ),
    (
      "external_negative",
      .malformed("the external data's offset is not a count: '-1'", tensor: "w")
    ),
    (
      "two_places",
      .malformed("the tensor has data in several fields: float_data, raw_data", tensor: "w")
    ),
    ("typed_field", .malformed("FLOAT data in int32_data", tensor: "w")),
    ("duplicate", .malformed("two initializers have this name", tensor: "w")),
    ("segment", .unsupported("tensors in segments are not supported", tensor: "w")),
    ("no_graph", .malformed("the model has no graph")),
  ])
  func refusesBrokenModels(file: String, expected: ModelError) throws {
    let path = try PackageFolder.fixture("onnx/\(file).onnx")
    #expect(throws: expected.located(path: path)) { try ONNXFormat().read(InputFile(path: path)) }
  }

  @Test func refusesSparseInitializersByName() throws {
    let path = try PackageFolder.fixture("onnx/sparse.onnx")
    let error = #expect(throws: ModelError.self) { try FormatRegistry.standard.open(path) }
    #expect(error?.tensor == "sparse")
    #expect(error?.problem == .unsupported("sparse initializers are not supported"))
  }

  @Test func checksTypedElementsWhenTheyAreLoaded() throws {
    let path = try PackageFolder.fixture("onnx/typed_range.onnx")
    let tensor = try #require(try FormatRegistry.standard.open(path).tensors["w"])
    let error = #expect(throws: ModelError.self) { try tensor.bytes() }
    #expect(error?.problem == .malformed("int32_data holds 128, which is not a valid int8"))
    #expect(error?.path == path)
  }

  @Test func notesGraphThatIsNotRead() throws {
    let archive = try FormatRegistry.standard.open(try PackageFolder.fixture("onnx/nodes.onnx"))
    #expect(archive.notes == ["only the tensors are read, not the graph of 1 node"])
    #expect(archive.unread == [])
  }

  /// Weights of branches, loops and functions are read under the names of their nodes.
  @Test func readsTensorsInNodesAndBranches() throws {
    let archive = try FormatRegistry.standard.open(try PackageFolder.fixture("onnx/branches.onnx"))
    #expect(try archive.tensors["if.else_branch.same"]?.doubleValues() == [0, 5, -6, -1, 4, -7])
    #expect(try archive.tensors["l.body.step"]?.doubleValues() == [7])
    #expect(
      archive.unread.map(\.description) == [
        "'text' (STRING [1]): elements of type STRING cannot be read",
        "'sparse' (sparse tensor): sparse tensors are not read",
        "'l.body.same' (uint8 [2, 3]): another tensor of the model has this name",
      ])
    #expect(throws: Never.self) { try archive.requireReadableTensors() }
    var empty = archive
    empty.tensors = [:]
    #expect(throws: ModelError.self) { try empty.requireReadableTensors() }
  }

  @Test func namesItsSourceFiles() throws {
    let path = try PackageFolder.fixture("onnx/external/model.onnx")
    let folder = String(path.dropLast("model.onnx".count))
    let archive = try FormatRegistry.standard.open(path)
    #expect(archive.sourceFiles == [path, folder + "parts/more.bin", folder + "weights.bin"])
  }
}
