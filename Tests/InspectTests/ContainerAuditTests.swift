import Formats
import Foundation
import TestSupport
import Testing

@testable import Inspect
@testable import Reports
@testable import Storage

/// Content that programs other than an unpickler run or load, and members of unknown kinds.
@Suite struct ContainerAuditTests {
  private let files = AuditReportTests()

  private func audit(_ members: [(name: String, content: [UInt8])]) throws -> AuditReport {
    try files.audit(files.stored(members), named: "file.zip")
  }

  private func audit(_ text: String, as name: String) throws -> AuditReport {
    try audit([(name, Array(text.utf8))])
  }

  // MARK: Members of unknown kinds

  @Test(
    arguments: [
      (
        [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3], "it is gzip-compressed data, which is not vouched for"
      ),
      (
        [
          0x78, 0x9C, 0x4B, 0x4C, 0x4A, 0x4E, 0x49, 0x4D, 0x4B, 0xCF, 0x00, 0x00, 0x0E, 0x00, 0x03,
          0x25,
        ],
        "it is zlib-compressed data, which is not vouched for"
      ),
      (
        [0x42, 0x5A, 0x68, 0x39, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59],
        "it is bzip2-compressed data, which is not vouched for"
      ),
      ([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0], "it is xz-compressed data, which is not vouched for"),
      ([0x5D, 0, 0, 0x80, 0], "it is LZMA-compressed data, which is not vouched for"),
      ([0x28, 0xB5, 0x2F, 0xFD, 0], "it is zstd-compressed data, which is not vouched for"),
      ([0x04, 0x22, 0x4D, 0x18, 0], "it is LZ4-compressed data, which is not vouched for"),
      (
        [0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C], "it is a 7-Zip archive, which is not vouched for"
      ),
      (
        [0x89, 0x48, 0x44, 0x46, 0x0D, 0x0A, 0x1A, 0x0A],
        "it is an HDF5 file, which is not examined"
      ),
      ([0x89, 0x50, 0x4E, 0x47], "it is a PNG image, which is not examined"),
      (
        [0xEE, 1, 2, 3, 0xEE], "its content is of no known kind, so nothing is vouched for"
      ),
      ([0, 0, 0, 0], "its content is of no known kind, so nothing is vouched for"),
    ] as [([UInt8], String)])
  func unknownContentIsNotVouchedFor(content: [UInt8], message: String) throws {
    let report = try audit([("weights", content), ("config.json", Array("{}".utf8))])
    #expect(report.verdict == .unreadable)
    #expect(report.problems.first?.place == "weights")
    #expect(report.problems.first?.message == message)
  }

  /// Bytes count as numbers only where a pickle of the archive says so.
  @Test func storagesUnnamedByPickleAreNotVouchedFor() throws {
    let random: [UInt8] = [0xEE, 1, 2, 3, 0xEE, 5, 6, 7]
    let pickle = Array(
      "(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI2\ntQ.".utf8)
    let named = try audit([("a/data.pkl", pickle), ("a/data/0", random)])
    #expect(named.problems.filter { $0.place == "a/data/0" }.isEmpty)
    let members = [("a/data.pkl", pickle), ("a/data/0", random), ("a/data/1", random)]
    #expect(try audit(members).problems.contains { $0.place == "a/data/1" })
    let short = try audit([("a/data.pkl", pickle), ("a/data/0", Array(random.prefix(4)))])
    #expect(short.problems.contains { $0.place == "a/data/0" })
  }

  @Test func picklesAfterPicklesAreFound() throws {
    let report = try audit("N.N.cos\nsystem\n.", as: "notes")
    #expect(files.findings(report) == ["notes/pickle 3: GLOBAL os.system @39 dangerous"])
  }

  @Test func picklesAfterPaddingAreFound() throws {
    let padded = try audit([("weights", [UInt8](repeating: 0, count: 64) + files.evil)])
    #expect(padded.verdict == .suspicious)
    #expect(files.findings(padded) == ["weights: GLOBAL os.system @101 dangerous"])
  }

  private func tar(_ name: String, _ content: [UInt8]) -> [UInt8] {
    var header = [UInt8](repeating: 0, count: 512)
    func put(_ text: String, at offset: Int) {
      for (index, byte) in text.utf8.enumerated() { header[offset + index] = byte }
    }
    put(name, at: 0)
    put("0000644\0", at: 100)
    put(String(repeating: "0", count: 11 - String(content.count, radix: 8).count), at: 124)
    put(String(content.count, radix: 8), at: 135 - String(content.count, radix: 8).count)
    put("        ", at: 148)
    put("0", at: 156)
    let sum = header.reduce(0) { $0 + Int($1) }
    let digits = String(sum, radix: 8)
    put(String(repeating: "0", count: 6 - digits.count) + digits + "\0 ", at: 148)
    let padding = [UInt8](repeating: 0, count: (512 - content.count % 512) % 512 + 1024)
    return header + content + padding
  }

  @Test func tarArchivesAreSearched() throws {
    let evil = try audit([("weights", tar("inner.bin", files.evil))])
    #expect(files.findings(evil) == ["weights/inner.bin: GLOBAL os.system @549 dangerous"])
    #expect(try files.audit(tar("settings.yaml", Array("a: 1\n".utf8))).verdict == .clean)
    #expect(try files.audit(tar("weights", [0xEE, 1, 2])).verdict == .unreadable)
    let followed = tar("a.txt", Array("a".utf8)) + [1]
    #expect(
      try files.audit(followed).problems.map(\.message) == [
        "bytes follow the end of the tar archive"
      ])
  }

  // MARK: Texts

  @Test(arguments: [
    "# Title\n\nclass of its own.\nimport duties apply; from here on.\n",
    "cat\ndog\n. More text.\n",
    "cos\nsystem\nsin\ntan\n", "a: 1\nb:\n  - c\n", "3\n", "little", "os.system\n", "(a list)\n",
    "[net]\nbatch=64\n", "0 1 2\n", "N.B. this is text.\n", "# x\n```python\nimport os\n```\n",
    "<html><body></body></html>", "Grüße\n", "ios\nandroid\n", "S3 bucket\n'quoted'\n",
  ])
  func textsAreNotTakenForPickles(text: String) throws {
    let report = try audit(text, as: "notes")
    #expect(report.verdict == .clean, "\(report)")
    #expect(report.pickles.isEmpty)
  }

  @Test(arguments: [
    ("import os\nos.system('true')\n", "weights"), ("from os import system\n", "hook.txt"),
    ("#!/bin/sh\ntrue\n", "setup"), ("x = 1\n", "model.py"), ("print('x')\n", "run"),
    ("def load(path):\n  return 1\n", "a"), ("class A:\n  pass\n", "b"),
    ("__import__('os').system('true')", "c"), ("a = 1; import os\n", "d"), ("true\n", "e.sh"),
  ])
  func sourceCodeIsSuspicious(text: String, name: String) throws {
    let report = try audit(text, as: name)
    #expect(report.verdict == .suspicious)
    #expect(report.programs.map(\.kind) == [.source])
    #expect(report.programs.map(\.place) == [name])
    #expect(report.counts.unknown == 1)
    #expect(report.pickles.isEmpty)
  }

  @Test(arguments: [
    ("a: !!python/object/apply:os.system [x]\n", PickleVerdict.dangerous),
    ("encoder:\n  _target_: os.system\n", .dangerous), ("_target_: 'mine.Net'\n", .unknown),
    (#"{"_target_": "mine.Net"}"#, .unknown), (#"{"py/object": "mine.Net"}"#, .unknown),
    (#"{"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["true"]}]}"#, .dangerous),
    (#"{"__class__": "Net", "__module__": "mine", "__loader__": "ObjectNode"}"#, .unknown),
  ])
  func settingsThatNameClassesAreSuspicious(text: String, verdict: PickleVerdict) throws {
    let report = try audit(text, as: "settings")
    #expect(report.verdict == .suspicious)
    #expect(report.programs.first?.kind == .configuredClass)
    #expect(report.programs.first?.verdict == verdict)
  }

  @Test func brokenJSONIsNotVouchedFor() throws {
    let report = try audit(#"{"class_name": NaN}"#, as: "config.json")
    #expect(report.verdict == .unreadable)
    #expect(report.problems.map(\.place) == ["config.json"])
  }

  // MARK: Programs that load containers

  /// stable-baselines3 stores what JSON cannot hold as cloudpickle in base64.
  @Test func picklesInJSONAreFound() throws {
    let base64 = Data(files.evil).base64EncodedString()
    let data = #"{"policy_class": {":type:": "x", ":serialized:": "\#(base64)"}, "gamma": 0.99}"#
    let report = try audit(data, as: "data")
    #expect(files.findings(report) == ["data/policy_class: GLOBAL os.system @0 dangerous"])
    let harmless = data.replacing(base64, with: Data("N.".utf8).base64EncodedString())
    #expect(try audit(harmless, as: "data").verdict == .clean)
    let broken = data.replacing(base64, with: "?")
    #expect(try audit(broken, as: "data").verdict == .unreadable)
  }

  @Test(
    arguments: [
      (#""module": "keras.layers", "class_name": "Dense""#, nil),
      (#""module": "keras.src.ops.numpy", "class_name": "Mean""#, nil),
      (#""module": null, "class_name": "__keras_tensor__""#, nil),
      (#""module": "keras.layers", "class_name": "Lambda""#, .dangerous),
      (#""class_name": "Lambda""#, .dangerous), (#""class_name": "__lambda__""#, .dangerous),
      (#""module": "keras.layers", "class_name": "TFSMLayer""#, .dangerous),
      (#""module": "keras.utils", "class_name": "get_file""#, .dangerous),
      (#""module": "mine.layers", "class_name": "Net""#, .unknown),
      (#""module": "os", "class_name": "system""#, .dangerous),
      (#""module": "builtins", "class_name": "eval""#, .dangerous),
      (
        #""module": null, "registered_name": "mine>Net", "class_name": "Net""#, .unknown
      ),
    ] as [(String, PickleVerdict?)])
  func kerasConfigurationsAreJudged(members: String, verdict: PickleVerdict?) throws {
    let config = #"{"config": {"layers": [{\#(members), "config": {}}]}, "class_name": "Model"}"#
    let report = try audit(config, as: "config.json")
    #expect(report.programs.map(\.verdict) == (verdict.map { [$0] } ?? []))
    #expect(report.verdict == (verdict == nil ? .clean : .suspicious))
  }

  @Test func foreignFunctionsAndFilesOfKerasAreSuspicious() throws {
    let function = #"{"module": "os", "class_name": "function", "config": "system"}"#
    #expect(try audit(function, as: "config.json").programs.map(\.name) == ["os.system"])
    let vocabulary =
      #"{"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/x"}}"#
    #expect(try audit(vocabulary, as: "config.json").programs.map(\.kind) == [.reference])
  }

  @Test func librariesAreDangerous() throws {
    let report = try audit([("data/model.so", [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1])])
    #expect(report.programs.map(\.kind) == [.library])
    #expect(report.counts.dangerous == 1)
  }

  // MARK: Files of real programs

  @Test(arguments: [
    ("package.pt", AuditReport.Verdict.suspicious, ["net/layers.py"], PickleVerdict.dangerous),
    ("export.pt2", .clean, [], .allowed), ("chat_template.gguf", .suspicious, [""], .unknown),
    ("reaching_template.gguf", .suspicious, [""], .dangerous),
    ("custom_operator.onnx", .suspicious, [""], .unknown),
    ("microsoft_operator.onnx", .clean, [], .allowed),
    ("compiled_operator.onnx", .suspicious, [""], .dangerous),
  ])
  func containersAreJudged(
    name: String, verdict: AuditReport.Verdict, places: [String], worst: PickleVerdict
  ) throws {
    let report = try AuditReport(auditing: PackageFolder.fixture("containers/\(name)"))
    #expect(report.verdict == verdict)
    #expect(report.problems.isEmpty)
    #expect(report.programs.map { $0.place.suffix(13) } == places.map { $0.suffix(13) })
    #expect(report.programs.allSatisfy { $0.verdict == worst })
    let json = try report.rendered(as: .json)
    #expect(try ReportJSON.decode(AuditReport.self, from: json) == report)
    if let program = report.programs.first {
      #expect(try report.rendered(as: .csv).contains(program.knownFor))
    }
  }

  /// Decoding and safety are different questions.
  @Test(arguments: ["q8_1", "q8_k"])
  func undecodableBlocksAreClean(type: String) throws {
    let path = try PackageFolder.fixture("gguf/unreadable_\(type).gguf")
    #expect(try AuditReport(auditing: path).verdict == .clean)
  }

  @Test(arguments: [
    ("npz/odd_entries.npz", true), ("npy/objects.npy", false),
  ])
  func undecodableArraysAreClean(name: String, isPlain: Bool) throws {
    let report = try AuditReport(auditing: PackageFolder.fixture(name))
    #expect(report.problems.isEmpty)
    #expect(report.pickles.isEmpty == isPlain)
    #expect(report.verdict == .clean)
  }

  @Test func foldersAreIdentifiedAndRefused() throws {
    try withTemporaryFolder { folder in
      try Data().write(to: URL(filePath: folder.appending("saved_model.pb")))
      let error = #expect(throws: ModelError.self) { try AuditReport(auditing: folder.path) }
      #expect(error.map { "\($0)".contains("a TensorFlow SavedModel") } ?? false)
    }
  }
}
