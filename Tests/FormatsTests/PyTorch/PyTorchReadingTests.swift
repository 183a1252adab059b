import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Imaging
@testable import Storage

@Suite struct PyTorchReadingTests {
  static let expectations = PyTorchFixtures.expectations("expected.json")
    .filter { $0.key.hasPrefix("torch/") }
  static let shared = PyTorchFixtures.expectations("shared-expected.json")

  static func names(_ isIncluded: (PyTorchFixtures.Expectation) -> Bool) -> [String] {
    expectations.filter { isIncluded($0.value) }.keys.sorted()
  }

  @Test func fixturesArePresent() {
    #expect(Self.expectations.count > 120)
  }

  @Test(arguments: names { $0.refused != true })
  func fixtureReadsAsExpected(name: String) throws {
    let expectation = try #require(Self.expectations[name])
    let file = try PyTorchFixtures.open(name)
    #expect(expectation.mayRefuse == true || PyTorchFormat().recognizes(file))
    do {
      try PyTorchFixtures.expect(try PyTorchFormat().read(file), is: expectation)
    } catch let error as ModelError where expectation.mayRefuse == true {
      #expect(error.path == file.path)
    }
  }

  @Test(arguments: names { $0.refused == true })
  func fixtureIsRefused(name: String) throws {
    let file = try PyTorchFixtures.open(name)
    let error = #expect(throws: ModelError.self) { try PyTorchFixtures.load(file) }
    #expect(error?.path == file.path)
  }

  @Test(arguments: [
    (
      "torch/calls_system.pth",
      "entry 'archive/data.pkl' at byte 59: the global 'posix.system' is refused"
    ),
    (
      "torch/name_collision.pth",
      "tensor 'a.b' at byte 224: two objects of the checkpoint have this name"
    ),
    (
      "torch/tar_calls_system.pth", "at byte 1536: the global 'os.system' is refused"
    ),
    (
      "torch/legacy_truncated.pth",
      "at byte 439: expected 24 bytes for a storage, found 21"
    ),
    ("torch/legacy_trailing.pth", "at byte 463: 4 bytes after the storages"),
    (
      "torch/legacy_wrong_count.pth",
      "at byte 431: expected a storage of 6 elements, found 5"
    ),
    ("torch/legacy_unknown_key.pth", "at byte 431: no tensor has the storage '6'"),
    ("torch/two_pickles.pkl", "at byte 17: 17 bytes after the pickle"),
  ])
  func refusalsNameProblemAndOffset(name: String, message: String) throws {
    let file = try PyTorchFixtures.open(name)
    let error = #expect(throws: ModelError.self) { try PyTorchFixtures.load(file) }
    #expect(error?.description == "\(file.path): \(message)")
  }

  @Test func damagedArchivesAreStillRecognized() throws {
    let file = try PyTorchFixtures.open("torch/truncated.pth")
    #expect(PyTorchFormat().recognizes(file))
    #expect(PyTorchFormat().recognizes(try PyTorchFixtures.open("torch/legacy_truncated.pth")))
    #expect(!PyTorchFormat().recognizes(try PyTorchFixtures.open("expected.json")))
  }

  @Test func valuesAndNestingAreKept() throws {
    let archive = try PyTorchFixtures.read("torch/checkpoint.pth")
    #expect(archive.format?.name == "pytorch")
    #expect(archive.values["epoch"] == .integer(12))
    #expect(archive.values["best"] == .real(38.25))
    #expect(archive.values["optimizer.param_groups.0.betas.1"] == .real(0.999))
    guard case .dictionary(let entries, false)? = archive.structure else {
      Issue.record("the structure is no plain dictionary")
      return
    }
    #expect(entries.contains { $0.key == .text("epoch") && $0.value == .leaf("epoch") })
  }

  @Test func stateDictsAreOrdered() throws {
    let archive = try PyTorchFixtures.read("torch/state_dict.pth")
    guard case .dictionary(let entries, true)? = archive.structure else {
      Issue.record("the structure is no ordered dictionary")
      return
    }
    // `_metadata` is an attribute of the dictionary, not an entry.
    #expect(entries.map(\.key) == archive.tensors.keys.map { .text($0) })
    #expect(archive.values.isEmpty)
  }

  @Test func tiedTensorsShareTheirStorage() throws {
    let archive = try PyTorchFixtures.read("torch/tied.pth")
    let storages = archive.tensors.values.compactMap {
      $0.view.map { ObjectIdentifier($0.storage) }
    }
    #expect(storages.count == 3)
    #expect(Set(storages).count < 3)
  }

  @Test(
    .enabled(if: PyTorchFixtures.hasSharedData, "../shared/data is absent"),
    arguments: shared.keys.filter { $0.hasPrefix("formats/torch_") }.sorted())
  func sharedFileReadsAsExpected(name: String) throws {
    let expectation = try #require(Self.shared[name])
    let path = PyTorchFixtures.sharedData.appendingPathComponent(name).path
    let archive = try FormatRegistry.standard.open(path)
    try PyTorchFixtures.expect(archive, is: expectation)
    // The archive survives being written.
    let again = try PyTorchFormat().read(PyTorchFixtures.rewrite(archive))
    try PyTorchFixtures.expect(again, is: expectation)
    #expect(again.structure == archive.structure)
  }

  /// `torch.jit.load(…).state_dict()` has the parameters and buffers; the reader also reads other
  /// attributes.
  @Test(
    .enabled(if: PyTorchFixtures.hasSharedData, "../shared/data is absent"),
    arguments: shared.keys.filter { $0.hasPrefix("formats/torchscript/") }.sorted())
  func sharedTorchScriptHasItsStateDict(name: String) throws {
    let expected = try #require(Self.shared[name]?.tensors)
    #expect(expected.count > 10)
    let path = PyTorchFixtures.sharedData.appendingPathComponent(name).path
    let archive = try FormatRegistry.standard.open(path)
    for tensor in expected {
      let found = try #require(archive.tensors[tensor.name], "\(tensor.name)")
      #expect(found.elementType.rawValue == tensor.elementType)
      #expect(found.shape.dimensions == tensor.shape)
      #expect(CRC32.checksum(try found.bytes()) == tensor.crc32, "\(tensor.name)")
    }
  }

  @Test(.enabled(if: PyTorchFixtures.hasSharedData, "../shared/data is absent"))
  func realCheckpointsRoundTrip() throws {
    let folder = PyTorchFixtures.sharedData.appendingPathComponent("weights").path
    let names = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
      .filter { $0.hasSuffix(".pth") }
    #expect(!names.isEmpty)
    for name in names {
      let archive = try FormatRegistry.standard.open("\(folder)/\(name)")
      let again = try PyTorchFormat().read(PyTorchFixtures.rewrite(archive))
      #expect(archive.tensors.count > 40, "\(name)")
      #expect(again.tensors.keys == archive.tensors.keys, "\(name)")
      #expect(again.structure == archive.structure, "\(name)")
      for (key, tensor) in archive.tensors {
        let equal = try again.tensors[key]?.bytes().elementsEqual(tensor.bytes())
        #expect(equal == true, "\(name): \(key)")
      }
    }
  }

  @Test(.enabled(if: PyTorchFixtures.hasSharedData, "../shared/data is absent"))
  func adversarialFilesAreRefused() throws {
    let folder = PyTorchFixtures.sharedData.appendingPathComponent("formats/adversarial").path
    let names = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
    #expect(names.count > 30)
    for name in names where !name.hasPrefix("benign") {
      #expect(throws: ModelError.self, "\(name)") {
        try FormatRegistry.standard.open("\(folder)/\(name)")
      }
      let file = try InputFile(path: "\(folder)/\(name)")
      #expect(throws: ModelError.self, "\(name)") { try PyTorchFormat().read(file) }
    }
    let benign = try FormatRegistry.standard.open("\(folder)/benign0_v3.pkl")
    #expect(benign.values == ["0": .text("a"), "1": .text("b"), "2": .text("c")])
  }

  @Test(arguments: [
    "torch/bare_parameter.pth", "torch/legacy_checkpoint.pth", "torch/numpy_protocol0.pkl",
    "torch/tensors_protocol4.pkl",
  ])
  func everyTruncationIsRefused(name: String) throws {
    let file = try PyTorchFixtures.open(name)
    let bytes = try file.bytes(at: 0, count: file.byteCount, purpose: "test").array
    for count in 0..<bytes.count {
      #expect(throws: ModelError.self, "\(count) bytes") {
        try PyTorchFixtures.load(ZipFiles.make(bytes[..<count]))
      }
    }
  }

  /// A changed byte in the archive is found by a checksum, refused, or does no harm.
  @Test(arguments: ["torch/bare_parameter.pth", "torch/tied.pth", "torch/rezipped_deflated.pth"])
  func changedArchivesNeverGiveWrongValues(name: String) throws {
    let expectation = try #require(Self.expectations[name])
    let file = try PyTorchFixtures.open(name)
    var generator = SeededGenerator(seed: 20_250_101)
    for _ in 0..<400 {
      let position = Int.random(in: 0..<file.byteCount, using: &generator)
      let change = UInt8.random(in: 1...255, using: &generator)
      let changed = try ZipFiles.modify(file) { $0[position] ^= change }
      do {
        let archive = try PyTorchFixtures.load(changed)
        try PyTorchFixtures.expect(archive, is: expectation)
      } catch is ModelError {}
    }
  }

  /// Streams have no checksum: a changed one is refused or read, but never causes a crash.
  @Test(arguments: [
    "torch/legacy_checkpoint.pth", "torch/tar.pth", "torch/module_in_dict.pth",
    "torch/numpy_protocol0.pkl", "torch/numpy_protocol5.pkl", "torch/tensors_protocol2.pkl",
    "torch/training.pth", "torch/torchscript.pt", "torch/quantized.pth", "torch/sparse.pth",
  ])
  func changedFilesDoNotCrash(name: String) throws {
    let file = try PyTorchFixtures.open(name)
    var generator = SeededGenerator(seed: 20_250_103)
    for _ in 0..<150 {
      let position = Int.random(in: 0..<file.byteCount, using: &generator)
      let byte = UInt8.random(in: 0...255, using: &generator)
      let changed = try ZipFiles.modify(file) { $0[position] = byte }
      do {
        _ = try PyTorchFixtures.load(changed)
      } catch is ModelError {}
      _ = FileAudit(of: changed).verdict
    }
  }

  /// A changed pickle with a correct checksum is refused or read, but never causes a crash.
  @Test(arguments: ["torch/checkpoint.pth", "torch/views.pth", "torch/protocol5.pth"])
  func changedPicklesDoNotCrash(name: String) throws {
    let zip = try ZipArchive(PyTorchFixtures.open(name))
    let contents = try zip.entries.map { try zip.bytes(of: $0).array }
    let pickle = try #require(zip.entries.firstIndex { PyTorchRecords.isPickle($0.name) })
    let seed: UInt64 = 20_250_102
    var generator = SeededGenerator(seed: seed)
    var refusals = 0
    for round in 0..<300 {
      var changed = contents
      for _ in 0...Int.random(in: 0...2, using: &generator) {
        let position = changed[pickle].indices.randomElement(using: &generator) ?? 0
        changed[pickle][position] = UInt8.random(in: 0...255, using: &generator)
      }
      let file = try ZipFiles.write { writer in
        for (entry, bytes) in Swift.zip(zip.entries, changed) {
          writer.add(entry.name, SharedBytes(bytes))
        }
      }
      do {
        _ = try PyTorchFixtures.load(file)
      } catch is ModelError {
        refusals += 1
      } catch {
        Issue.record("seed \(seed), round \(round): \(error)")
      }
    }
    #expect(refusals > 50)
  }
}

/// A SplitMix64 generator, which reproduces a failure from its seed.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }
}
