import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct ShardedTests {
  @Test(
    arguments: try ExpectedArchive.all(
      in: "expected.json", below: ["sharded/", "safetensors/sharded/"]))
  func readsShardedCheckpoints(_ expected: ExpectedArchive) throws {
    for access in [InputFile.Access.mapped, .read] {
      try expected.check(try PackageFolder.fixture(expected.path), access: access)
    }
  }

  @Test func folderOpensItsIndex() throws {
    let index = try PackageFolder.fixture("safetensors/sharded/model.safetensors.index.json")
    let folder = (index as NSString).deletingLastPathComponent
    let archive = try FormatRegistry.standard.open(folder)
    #expect(try archive.firstDifference(from: FormatRegistry.standard.open(index)) == nil)
    #expect(
      archive.sourceFiles == [
        index, folder + "/model-00001-of-00002.safetensors",
        folder + "/model-00002-of-00002.safetensors",
      ])
    #expect(archive.notes == [])
  }

  /// Expects what `sha256sum model.safetensors.index.json model-0000* | sha256sum` gives in the
  /// folder.
  @Test func digestCoversEveryFile() throws {
    let folder = (try PackageFolder.fixture("safetensors/sharded") as NSString)
    let archive = try FormatRegistry.standard.open(folder as String)
    let names = [
      "model.safetensors.index.json", "model-00001-of-00002.safetensors",
      "model-00002-of-00002.safetensors",
    ]
    let files = try names.map { try InputFile(path: folder.appendingPathComponent($0)) }
    #expect(try archive.sourceByteCount() == files.reduce(0) { $0 + $1.byteCount })
    #expect(
      try archive.sourceSHA256()
        == "43d45711c46b945276df12e536c9ca27c82a09a706df945bc4840f2ad16d0bfc")
    let single = try FormatRegistry.standard.open(files[1].path)
    #expect(try single.sourceSHA256() == files[1].sha256())
  }

  // MARK: Disagreement

  private func tensor(_ values: [Float]) throws -> Tensor {
    try Tensor(
      elementType: .float32, shape: [values.count], bytes: SharedBytes(elementsOf: values))
  }

  /// Calls `body` with a folder of safetensors shards and the path of its index.
  private func withShards(
    _ shards: [String: [String: [Float]]], index: String,
    metadata: [String: [String: String]] = [:], _ body: (TemporaryFolder, String) throws -> Void
  ) throws {
    try withTemporaryFolder { folder in
      for (name, tensors) in shards {
        var archive = TensorArchive()
        for (key, values) in tensors.sorted(by: { $0.key < $1.key }) {
          archive.tensors[key] = try tensor(values)
        }
        for (key, text) in metadata[name, default: [:]] { archive.metadata[key] = text }
        try FormatRegistry.standard.write(
          archive, as: SafetensorsFormat(), to: folder.appending(name))
      }
      let path = folder.appending("model.safetensors.index.json")
      try Data(index.utf8).write(to: URL(filePath: path))
      try body(folder, path)
    }
  }

  private static let one = "model-00001-of-00002.safetensors"
  private static let two = "model-00002-of-00002.safetensors"
  private static let map = #"{"weight_map":{"a":"\#(one)","b":"\#(two)"}}"#

  @Test func namesMissingShards() throws {
    try withShards([Self.one: ["a": [1]]], index: Self.map) { _, path in
      #expect(
        throws: ModelError.malformed("1 of 2 shards are missing: '\(Self.two)'", path: path)
      ) {
        try FormatRegistry.standard.open(path)
      }
    }
  }

  @Test func namesMissingTensors() throws {
    try withShards([Self.one: ["a": [1]], Self.two: ["c": [1]]], index: Self.map) { _, path in
      #expect(
        throws: ModelError.malformed(
          "the shard '\(Self.two)' lacks tensors that the index assigns to it: 'b'", path: path)
      ) {
        try FormatRegistry.standard.open(path)
      }
    }
  }

  @Test func takesTensorsMissingFromIndex() throws {
    try withShards(
      [Self.one: ["a": [1], "c": [3]], Self.two: ["a": [9], "b": [2]]], index: Self.map
    ) { _, path in
      let archive = try FormatRegistry.standard.open(path)
      #expect(Array(archive.tensors.keys) == ["a", "b", "c"])
      #expect(try archive.tensors["a"]?.floatValues() == [1])
      #expect(
        archive.notes == [
          "the shard '\(Self.two)' also holds tensors that the index takes from another one: 'a'",
          "the index lacks 1 tensor of the shards, which are part of the model: 'c'",
        ])
    }
  }

  @Test func refusesUnindexedTensorsInTwoShards() throws {
    try withShards(
      [Self.one: ["a": [1], "c": [3]], Self.two: ["b": [2], "c": [4]]], index: Self.map
    ) { _, path in
      #expect(
        throws: ModelError.malformed(
          "it is not in the index, but in both '\(Self.one)' and '\(Self.two)'", path: path,
          tensor: "c")
      ) {
        try FormatRegistry.standard.open(path)
      }
    }
  }

  @Test func namesExtraShards() throws {
    let extra = "model-00003-of-00003.safetensors"
    try withShards(
      [Self.one: ["a": [1]], Self.two: ["b": [1]], extra: ["z": [1]], "other.safetensors": [:]],
      index: Self.map
    ) { _, path in
      let archive = try FormatRegistry.standard.open(path)
      #expect(Array(archive.tensors.keys) == ["a", "b"])
      #expect(
        archive.notes == ["the index lacks 1 file that may be a shard by name: '\(extra)'"])
    }
  }

  @Test func notesShardCountMismatch() throws {
    try withShards([Self.one: ["a": [1]]], index: #"{"weight_map":{"a":"\#(Self.one)"}}"#) {
      _, path in
      let notes = try FormatRegistry.standard.open(path).notes
      #expect(notes == ["the shards' names imply 2 shards, but the index has 1"])
    }
  }

  @Test func wrongTotalSizeIsNoted() throws {
    let index = #"{"metadata":{"total_size":9,"k":"v"},"weight_map":{"a":"a.st"},"extra":1}"#
    try withShards(["a.st": ["a": [1]]], index: index) { _, path in
      let archive = try FormatRegistry.standard.open(path)
      #expect(archive.metadata == ["k": "v"])
      #expect(
        archive.notes == [
          "the index says 9 bytes of tensors (total_size), but the shards hold 4",
          "the index has members that are not read: 'extra'",
        ])
    }
  }

  @Test func differingMetadataIsKeptPerShard() throws {
    try withShards(
      [Self.one: ["a": [1]], Self.two: ["b": [1]]], index: Self.map,
      metadata: [
        Self.one: ["format": "pt", "part": "1"], Self.two: ["format": "pt", "part": "2"],
      ]
    ) { _, path in
      let metadata = try FormatRegistry.standard.open(path).metadata
      #expect(metadata["format"] == "pt")
      #expect(metadata["\(Self.one)/part"] == "1")
      #expect(metadata["\(Self.two)/part"] == "2")
      #expect(metadata.count == 3)
    }
  }

  @Test(arguments: [
    "../a.st", "/etc/passwd", "b/../../a.st", "", "./a.st", "b//a.st", "..", "b/", "a.st/",
  ])
  func refusesShardPathsOutsideFolder(name: String) throws {
    try withShards(["a.st": ["a": [1]]], index: #"{"weight_map":{"a":"\#(name)"}}"#) { _, path in
      #expect(
        throws: ModelError.unsupported(
          "the file name '\(name)' is not a plain path below the folder of the file that names it",
          path: path)
      ) {
        try FormatRegistry.standard.open(path)
      }
    }
  }

  @Test(arguments: [
    (#"{"weight_map":[]}"#, "weight_map: expected an object, found an empty list"),
    (#"{"weight_map":{"a":1}}"#, "weight_map.a: expected a string, found 1"),
    (#"{"weight_map":{"a":"x","a":"y"}}"#, "the JSON key 'a' occurs twice"),
    (#"{"a":"weight_map","b":{"weight_map":{}}}"#, "weight_map: expected an object, found none"),
  ])
  func refusesInvalidIndexes(index: String, message: String) throws {
    try withShards([:], index: index) { _, path in
      let error = #expect(throws: ModelError.self) { try FormatRegistry.standard.open(path) }
      #expect(error?.problem == .malformed(message))
      #expect(error?.path == path)
    }
  }

  @Test func shardThatIsNoModelFileIsRefused() throws {
    try withShards([:], index: #"{"weight_map":{"a":"a.st"}}"#) { folder, path in
      try Data(Self.map.utf8).write(to: URL(filePath: folder.appending("a.st")))
      #expect(
        throws: ModelError.unsupported(
          "a shard is neither a safetensors nor a PyTorch file: it looks like a JSON text",
          path: folder.appending("a.st"))
      ) {
        try FormatRegistry.standard.open(path)
      }
    }
  }

  @Test func folderNeedsExactlyOneIndex() throws {
    try withShards(["a.st": ["a": [1]]], index: #"{"weight_map":{"a":"a.st"}}"#) { folder, path in
      try FileManager.default.copyItem(
        atPath: path, toPath: folder.appending("other.index.json"))
      #expect(
        throws: ModelError.unsupported(
          "the folder holds several indexes; name one of 'model.safetensors.index.json', "
            + "'other.index.json'", path: folder.path)
      ) {
        try FormatRegistry.standard.open(folder.path)
      }
    }
    try withTemporaryFolder { folder in
      try Data("{}".utf8).write(to: URL(filePath: folder.appending("no.index.json")))
      #expect(
        throws: ModelError.unsupported(
          "the folder holds neither a model file nor an index of one (*.index.json); name a file",
          path: folder.path)
      ) {
        try FormatRegistry.standard.open(folder.path)
      }
    }
  }

  // MARK: Writing

  private func archive(_ counts: [Int]) throws -> TensorArchive {
    var archive = TensorArchive(values: ["step": .integer(3)], metadata: ["license": "none"])
    for (index, count) in counts.enumerated() {
      archive.tensors["t\(9 - index)"] = try tensor((0..<count).map { Float($0 + index) })
    }
    return archive
  }

  @Test func writtenShardsReadAsOneArchive() throws {
    let archive = try archive([4, 2, 9, 0, 1, 3])
    let shards = try SafetensorsShards(archive, byteCountLimit: 24)
    #expect(shards.count == 3)
    try withTemporaryFolder { folder in
      let path = folder.appending("model.safetensors")
      let files = try shards.plan(named: path).write(
        to: path, replacesExisting: false, runningTasks: sequentially, progress: nil)
      let names = (1...3).map { "model-0000\($0)-of-00003.safetensors" }
      #expect(try folder.names() == names + ["model.safetensors.index.json"])
      #expect(files.last?.path == "\(path).index.json")
      let read = try FormatRegistry.standard.open(folder.path)
      #expect(read.notes == [])
      var expected = archive
      expected.metadata["format"] = read.metadata["format"]
      #expect(try read.firstDifference(from: expected) == nil)
      #expect(read.fileOfTensor["t7"] == folder.appending(names[1]))
      let index = try String(contentsOfFile: "\(path).index.json", encoding: .utf8)
      #expect(index.hasPrefix("{\n  \"metadata\": {\n    \"total_size\": 76\n  },\n"))
    }
  }

  @Test func singleShardIsPlainFile() throws {
    let archive = try archive([4, 2])
    let shards = try SafetensorsShards(archive, byteCountLimit: 24)
    #expect(shards.count == 1)
    try withTemporaryFolder { folder in
      let path = folder.appending("model.safetensors")
      let paths = try shards.plan(named: path).paths(for: path)
      #expect(paths == [path])
    }
    #expect(try SafetensorsShards(TensorArchive(), byteCountLimit: 1).count == 1)
    #expect(throws: ModelError.self) { try SafetensorsShards(archive, byteCountLimit: 0) }
  }
}
