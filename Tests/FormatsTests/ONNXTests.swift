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

  @Test(arguments: ["INT4", "UINT4", "INT2", "UINT2"])
  func listsUnreadableTypes(type: String) throws {
    let path = try PackageFolder.fixture("onnx/unreadable_\(type.lowercased()).onnx")
    let archive = try FormatRegistry.standard.open(path)
    #expect(Array(archive.tensors.keys) == ["good", "w"])
    let tensor = try #require(archive.tensors["w"])
    #expect(tensor.unreadableType == type)
    #expect(tensor.shape.dimensions == [3, 4])
    #expect(archive.notes == ["1 of 2 initializers have types that cannot be read: \(type)"])
    #expect(
      throws: ModelError.unsupported(
        "elements of type \(type) cannot be read", path: path, tensor: "w")
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
    #expect(
      archive.notes == [
        "only the initializers are read, not the graph of 1 node and 1 tensor in its "
          + "attributes"
      ])
    #expect(archive.unread.count == 1)
  }

  @Test func listsTensorsInNodesAndBranches() throws {
    let archive = try FormatRegistry.standard.open(try PackageFolder.fixture("onnx/branches.onnx"))
    #expect(Array(archive.tensors.keys) == ["w"])
    #expect(
      archive.unread.map(\.description) == [
        "'constant.value' (float32 [2]): it is the attribute 'value' of a node Constant, and only "
          + "the model's own initializers are read",
        "'if.else_branch.deep.value' (int64 [1]): it is the attribute 'value' of a node Constant in "
          + "'else_branch' of a node If, and only the model's own initializers are read",
        "'if.then_branch.inner' (float32 [2, 3]): it is an initializer in 'then_branch' of a node "
          + "If, and only the model's own initializers are read",
      ])
    // A file whose tensors are all in nodes is not an empty model.
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
