import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct SafetensorsTests {
  /// Files of the safetensors package, and files broken in one way each.
  @Test(arguments: try ExpectedArchive.all(in: "expected.json", below: ["safetensors/"]))
  func readsFilesOfSafetensorsPackage(_ expected: ExpectedArchive) throws {
    for access in [InputFile.Access.mapped, .read] {
      try expected.check(try PackageFolder.fixture(expected.path), access: access)
    }
  }

  @Test(
    SharedData.require("formats/safetensors"),
    arguments: try ExpectedArchive.all(
      in: "shared-expected.json", below: ["formats/safetensors/"]))
  func readsRealFiles(_ expected: ExpectedArchive) throws {
    try expected.check(try SharedData.path(expected.path))
  }

  /// Fixtures written by the Rust core are rewritten byte for byte.
  @Test(arguments: [
    "all_types", "bool", "uint8", "float32", "bfloat16", "float4_e2m1", "shapes", "metadata",
    "names", "no_tensors",
  ])
  func writesSameBytesAsSafetensorsPackage(name: String) throws {
    let path = try PackageFolder.fixture("safetensors/\(name).safetensors")
    var archive = try SafetensorsFormat().read(try InputFile(path: path))
    archive.tensors.reverse()
    try withTemporaryFolder { folder in
      let copy = folder.appending("copy.safetensors")
      try FormatRegistry.standard.write(archive, as: SafetensorsFormat(), to: copy)
      #expect(
        try Data(contentsOf: URL(filePath: copy)) == Data(contentsOf: URL(filePath: path)))
    }
  }

  /// Transformers loads a file only if its metadata names the framework; an entry that a
  /// safetensors file already has stays.
  @Test(
    arguments: [
      ("torch/state_dict.pth", [:], "pt"), ("safetensors/shapes.safetensors", [:], nil),
      ("safetensors/shapes.safetensors", ["format": "mlx"], "mlx"),
      ("torch/state_dict.pth", ["format": "np"], "np"),
    ] as [(String, [String: String], String?)])
  func frameworkIsRecorded(source: String, metadata: [String: String], framework: String?) throws {
    var archive = try FormatRegistry.standard.open(PackageFolder.fixture(source))
    for (key, text) in metadata { archive.metadata[key] = text }
    try withTemporaryFolder { folder in
      let path = folder.appending("out.safetensors")
      try FormatRegistry.standard.write(archive, as: SafetensorsFormat(), to: path)
      #expect(try FormatRegistry.standard.open(path).metadata["format"] == framework)
    }
  }

  /// MLX writes absent metadata as null.
  @Test func nullMetadataIsReadAsEmpty() throws {
    let archive = try read(
      #"{"__metadata__":null,"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#, data: [1, 2])
    #expect(archive.metadata.isEmpty)
    #expect(try archive.tensors["w"]?.bytes().array == [1, 2])
  }

  // MARK: Errors

  /// Writes a file of `header` and `data` and reads it.
  private func read(_ header: String, data: [UInt8] = []) throws -> TensorArchive {
    try withTemporaryFolder { folder in
      let path = folder.appending("file.safetensors")
      let length = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Array($0) }
      try Data(length + Array(header.utf8) + data).write(to: URL(filePath: path))
      do {
        return try SafetensorsFormat().read(try InputFile(path: path))
      } catch var error as ModelError {
        #expect(error.path == path)
        error.path = nil
        throw error
      }
    }
  }

  @Test(arguments: [
    (
      #"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
      ModelError.mismatch(expected: "8 bytes for float32 [2]", found: "4", tensor: "w")
    ),
    (
      #"{"w":{"dtype":"F99","shape":[2],"data_offsets":[0,4]}}"#,
      .unsupported("the element type 'F99' is unknown", tensor: "w")
    ),
    (
      #"{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"strides":[1]}}"#,
      .malformed("a tensor's entry has the unknown field 'strides'", tensor: "w")
    ),
    (
      #"{"w":{"dtype":"U8","shape":[3],"data_offsets":[1,4]}}"#,
      .mismatch(
        expected: "data that begins at offset 0, where the tensor before it ends", found: "1",
        tensor: "w")
    ),
    (
      #"{"w":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}"#,
      .mismatch(
        expected: "the file to end with its last tensor", found: "1 more byte", offset: 64)
    ),
    (
      #"{"w":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}"#,
      ModelError(
        .truncated(expectedBytes: 9, foundBytes: 4, purpose: "uint8 [9]"), tensor: "w",
        offset: 61)
    ),
    (
      #"{"w":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#,
      .malformed("the shape [4294967296, 4294967296] has more than 2^63 elements", tensor: "w")
    ),
    (
      #"{"w":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}"#,
      .mismatch(
        expected: "elements that fill whole bytes below 2^63", found: "float4_e2m1 [3]",
        tensor: "w")
    ),
    (
      #"{"w":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}}"#,
      .malformed("'shape' has an item that is not a count: 4.0", tensor: "w")
    ),
    (
      #"{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"w":{}}"#,
      .malformed("the JSON key 'w' occurs twice", offset: 61)
    ),
    (
      #"{"__metadata__":{"epoch":12}}"#,
      .malformed("'epoch' in '__metadata__' is not a string")
    ),
    (
      #"{"__metadata__":{"condi.values":"[]"},"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#,
      .malformed("the metadata entry 'condi.values': not a JSON object")
    ),
    (#"[]"#, .malformed("the header does not begin with '{'", offset: 8)),
  ])
  func refusesInvalidHeaders(header: String, expected: ModelError) {
    #expect(throws: expected) { try read(header, data: [1, 2, 3, 4]) }
  }

  @Test func refusesOverlongHeader() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("file.safetensors")
      try Data([0x01, 0xE1, 0xF5, 0x05, 0, 0, 0, 0] + Array("{}".utf8)).write(
        to: URL(filePath: path))
      #expect(
        throws: ModelError(
          .limitExceeded(
            what: "a safetensors header in bytes", limit: 100_000_000, found: "100000001"),
          path: path, offset: 0)
      ) {
        try FormatRegistry.standard.open(path)
      }
    }
  }

  @Test func refusesReservedNames() throws {
    let tensor = try Tensor(elementType: .uint8, shape: [1], bytes: SharedBytes([1]))
    try withTemporaryFolder { folder in
      let path = folder.appending("file.safetensors")
      func write(_ archive: TensorArchive) throws {
        try FormatRegistry.standard.write(archive, as: SafetensorsFormat(), to: path)
      }
      #expect(
        throws: ModelError.unsupported(
          "the name is reserved in safetensors", path: path, tensor: "__metadata__")
      ) {
        try write(TensorArchive(tensors: ["__metadata__": tensor]))
      }
      #expect(
        throws: ModelError.unsupported(
          "the metadata name 'condi.values' is reserved", path: path)
      ) {
        try write(TensorArchive(metadata: ["condi.values": "{}"]))
      }
      let names = try folder.names()
      #expect(names == [])
    }
  }

  /// Values are stored in the metadata as text that other programs leave alone.
  @Test func valuesAreStoredInOneMetadataEntry() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("file.safetensors")
      try FormatRegistry.standard.write(
        TensorArchive(values: ["epoch": .integer(12), "best": .real(.infinity)]),
        as: SafetensorsFormat(), to: path)
      let text = String(
        decoding: try Data(contentsOf: URL(filePath: path)).dropFirst(8), as: UTF8.self)
      #expect(
        text.trimmingCharacters(in: .whitespaces) == #"""
          {"__metadata__":{"condi.values":"{\"epoch\":12,\"best\":{\"real\":\"inf\"}}"}}
          """#)
    }
  }
}
