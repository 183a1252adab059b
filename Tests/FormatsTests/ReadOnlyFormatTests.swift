import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

/// The conformance kit that every read-only format passes.
@Suite struct ReadOnlyFormatTests {
  /// A format and files of it, relative to the fixtures.
  struct Subject: Sendable, CustomTestStringConvertible {
    let format: any ModelFormat
    let files: [String]
    var testDescription: String { format.identifier.name }
  }

  static let subjects = [
    Subject(
      format: GGUFFormat(),
      files: [
        "gguf/metadata.gguf", "gguf/tq2_0.gguf", "gguf/q2_0.gguf", "gguf/unreadable_q8_k.gguf",
        "gguf/iq1_m.gguf", "gguf/nvfp4.gguf", "gguf/split/model-00002-of-00003.gguf",
      ]),
    Subject(
      format: ONNXFormat(),
      files: [
        "onnx/raw.onnx", "onnx/typed.onnx", "onnx/branches.onnx", "onnx/packed.onnx",
        "onnx/external/model.onnx",
      ]),
    Subject(
      format: NCNNFormat(),
      files: ["ncnn/convolutions.param", "ncnn/others.param", "ncnn/custom.param"]),
    Subject(format: DistributedCheckpointFormat(), files: ["dcp/shards/.metadata"]),
    Subject(
      format: FlaxFormat(),
      files: ["flax/types.msgpack", "flax/state.msgpack", "flax/chunked.msgpack"]),
    Subject(format: ExportedProgramFormat(), files: ["zipped/exported.pt2"]),
    Subject(format: ZippedFormat(), files: ["zipped/agent.zip", "zipped/agent_deflated.zip"]),
    Subject(
      format: ShardedFormat(),
      files: [
        "safetensors/sharded/model.safetensors.index.json",
        "sharded/torch/pytorch_model.bin.index.json",
      ]),
  ]

  @Test(arguments: try ExpectedArchive.all(in: "expected.json", below: ["zipped/"]))
  func readsZippedModels(_ expected: ExpectedArchive) throws {
    for access in [InputFile.Access.mapped, .read] {
      try expected.check(try PackageFolder.fixture(expected.path), access: access)
    }
  }

  @Test func everyReadOnlyFormatIsTested() {
    let names = Set(Self.subjects.map(\.format.identifier.name))
    let standard = FormatRegistry.standard
    #expect(
      names == Set(standard.formats.filter { !$0.canWrite }.map(\.identifier.name)))
  }

  @Test(arguments: subjects)
  func isNeverWritten(_ subject: Subject) throws {
    for path in subject.format.identifier.fileExtensions {
      #expect(FormatRegistry.standard.format(forOutput: "model.\(path)") == nil)
    }
    try withTemporaryFolder { folder in
      let path = folder.appending("model")
      #expect(
        throws: ModelError.unsupported(
          "\(subject.format.identifier.displayName) files can be read but not written", path: path)
      ) {
        try FormatRegistry.standard.write(TensorArchive(), as: subject.format, to: path)
      }
      let names = try folder.names()
      #expect(names == [])
    }
  }

  @Test(arguments: subjects)
  func isRecognizedByNoOtherFormat(_ subject: Subject) throws {
    for name in subject.files {
      let file = try InputFile(path: try PackageFolder.fixture(name))
      let found = FormatRegistry.standard.formats.filter { $0.recognizes(file) }
      #expect(found.map(\.identifier) == [subject.format.identifier], "\(name)")
    }
  }

  /// No fixture of another format is recognized.
  @Test(arguments: subjects)
  func recognizesNoOtherFormat(_ subject: Subject) throws {
    let own =
      [
        "gguf": "gguf/", "onnx": "onnx/", "ncnn": "ncnn/", "pt2": "zipped/exported",
        "zip": "zipped/agent", "dcp": "dcp/", "flax": "flax/",
      ][subject.format.identifier.name] ?? "sharded"
    // A zip archive that no other format reads may hold models.
    let isZip = subject.format.identifier == ZippedFormat().identifier
    for expected in try ExpectedArchive.all(in: "expected.json", below: [""])
    where !expected.path.contains(own)
      && !(isZip && (expected.isRefused || expected.mayBeRefused))
    {
      let file = try InputFile(path: try PackageFolder.fixture(expected.path))
      #expect(!subject.format.recognizes(file), "\(expected.path)")
    }
  }

  // MARK: Damage

  /// Calls `body` with a copy of the fixture `name` and of its whole folder.
  private func withCopy(
    of name: String, _ body: (String, TensorArchive, [UInt8]) throws -> Void
  ) throws {
    let original = URL(filePath: try PackageFolder.fixture(name))
    try withTemporaryFolder { folder in
      let copy = URL(filePath: folder.appending("copy"))
      try FileManager.default.copyItem(at: original.deletingLastPathComponent(), to: copy)
      let archive = try FormatRegistry.standard.open(original.path)
      try body(
        copy.appending(path: original.lastPathComponent).path, archive,
        [UInt8](try Data(contentsOf: original)))
    }
  }

  /// Reads an archive and loads its readable tensors.
  private func readWhole(_ path: String, _ format: any ModelFormat) throws -> TensorArchive {
    let archive = try format.read(try InputFile(path: path))
    for tensor in archive.tensors.values where tensor.unreadableType == nil {
      _ = try tensor.bytes()
    }
    return archive
  }

  /// A truncated file is an error, unless only padding or a trailing note is cut; then it holds the
  /// same tensors.
  @Test(arguments: subjects)
  func refusesEveryTruncation(_ subject: Subject) throws {
    for name in subject.files {
      try withCopy(of: name) { path, original, bytes in
        for count in 0..<bytes.count {
          try writeUnsynced(bytes[..<count], to: path)
          do {
            let archive = try readWhole(path, subject.format)
            #expect(archive.tensors.count == original.tensors.count, "\(name) cut to \(count)")
            for (name, tensor) in original.tensors where tensor.unreadableType == nil {
              let other = try #require(archive.tensors[name])
              #expect(try tensor.firstDifference(from: other) == nil, "\(name) cut to \(count)")
            }
          } catch let error as ModelError {
            // The weights of a description that lacks some are too many.
            #expect(
              error.path == path || error.path == path.replacing(/\.param$/, with: ".bin"),
              "\(name) cut to \(count)")
          }
        }
      }
    }
  }

  /// Changing, inserting or removing one to four bytes gives an error or another archive, never a
  /// crash.
  @Test(arguments: subjects, 1...4)
  func survivesMutation(_ subject: Subject, seed: UInt64) throws {
    print("mutating \(subject.testDescription), seed \(seed)")
    for name in subject.files {
      try withCopy(of: name) { path, _, bytes in
        for index in 0..<150 {
          var random = SplitMix(seed: seed << 32 &+ UInt64(index))
          var damaged = bytes
          for _ in 0..<Int.random(in: 1...4, using: &random) {
            let position = Int.random(in: 0..<damaged.count, using: &random)
            switch Int.random(in: 0..<6, using: &random) {
            case 0: damaged.remove(at: position)
            case 1: damaged.insert(.random(in: 0...255, using: &random), at: position)
            case 2: damaged[position] = [0, 1, 0x7F, 0x80, 0xFF][Int(random.next() % 5)]
            default: damaged[position] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            }
          }
          try writeUnsynced(damaged, to: path)
          do {
            _ = try readWhole(path, subject.format)
            _ = FormatRegistry.standard.formats.map { format in
              (try? InputFile(path: path)).map(format.recognizes)
            }
          } catch is ModelError {}
        }
      }
    }
  }
}
