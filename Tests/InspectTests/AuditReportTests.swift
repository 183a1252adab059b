import Formats
import Foundation
import TestSupport
import Testing

@testable import Inspect
@testable import Reports

/// Files assembled here byte by byte, and files that are known to be malicious.
@Suite struct AuditReportTests {
  func audit(_ bytes: [UInt8], named name: String = "file") throws -> AuditReport {
    try withTemporaryFolder { folder in
      let path = folder.appending(name)
      try Data(bytes).write(to: URL(filePath: path))
      return try AuditReport(auditing: path)
    }
  }

  func audit(_ text: String, named name: String = "file") throws -> AuditReport {
    try audit(text.unicodeScalars.map { UInt8($0.value) }, named: name)
  }

  /// Returns the opcode, name, byte and verdict of every finding, in order.
  func findings(_ report: AuditReport) -> [String] {
    report.pickles.flatMap { pickle in
      pickle.findings.map {
        let place = pickle.place.isEmpty ? "" : "\(pickle.place): "
        return "\(place)\($0.opcode) \($0.name ?? "-") @\($0.offset) \($0.verdict.rawValue)"
      }
    }
  }

  @Test(arguments: [
    (
      "cos\nsystem\n(Vid\ntR.", ["GLOBAL os.system @0 dangerous", "REDUCE os.system @17 dangerous"]
    ),
    (
      "(Vid\nios\nsystem\n.", ["INST os.system @5 dangerous", "INST os.system @5 dangerous"]
    ),
    (
      "(c__builtin__\neval\nV1\no.",
      ["GLOBAL builtins.eval @1 dangerous", "OBJ builtins.eval @22 dangerous"]
    ),
    (
      "Vos\nVsystem\n\u{93}(Vid\nt\u{81}.",
      ["STACK_GLOBAL os.system @12 dangerous", "NEWOBJ os.system @19 dangerous"]
    ),
    ("\u{82}\u{01}.", ["EXT1 - @0 dangerous"]),
    // A computed name, and the call of it.
    (
      "cmod\nname\n)RVsystem\n\u{93})R.",
      [
        "GLOBAL mod.name @0 unknown", "REDUCE mod.name @11 unknown",
        "STACK_GLOBAL - @20 dangerous", "REDUCE a computed name @22 unknown",
      ]
    ),
    // The state of an object, and of a class itself.
    (
      "cmod\nNet\n)R}bcmod\nNet\n}b.",
      [
        "GLOBAL mod.Net @0 unknown", "REDUCE mod.Net @10 unknown", "BUILD mod.Net @12 unknown",
        "GLOBAL mod.Net @13 unknown", "BUILD mod.Net @23 dangerous",
      ]
    ),
    // Dotted names walk through attributes, and old modules have new names.
    (
      "Vtorch\nVserialization.os.system\n\u{93}.",
      [
        "STACK_GLOBAL torch.serialization.os.system @32 dangerous"
      ]
    ),
    ("ccommands\ngetoutput\n.", ["GLOBAL subprocess.getoutput @0 dangerous"]),
    // Functions that are harmless only with visible arguments.
    (
      "ctorch.storage\n_load_from_bytes\n(cmod\nf\n)RtR.",
      [
        "GLOBAL torch.storage._load_from_bytes @0 allowed", "GLOBAL mod.f @33 unknown",
        "REDUCE mod.f @41 unknown", "REDUCE torch.storage._load_from_bytes @43 dangerous",
      ]
    ),
    (
      "c_codecs\nencode\n(Vabc\nVrot13\ntR.",
      ["GLOBAL _codecs.encode @0 allowed", "REDUCE _codecs.encode @30 unknown"]
    ),
  ])
  func everythingExecutableIsFound(pickle: String, expected: [String]) throws {
    let report = try audit(pickle)
    #expect(findings(report) == expected)
    #expect(report.problems.isEmpty)
    let isClean = expected.allSatisfy { $0.hasSuffix("allowed") }
    #expect(report.verdict == (isClean ? .clean : .suspicious))
  }

  /// These identifiers execute nothing, but unlike a checkpoint's they do not name storages.
  @Test(arguments: [
    ("(Vpid\ntQ.", "BINPERSID - @7 allowed"), ("Ppid\n.", "PERSID - @0 allowed"),
  ])
  func unknownPersistentIdentifiersAreNotClean(pickle: String, finding: String) throws {
    let report = try audit(pickle)
    #expect(findings(report) == [finding])
    #expect(
      report.problems.map(\.message) == ["a tensor's storage is identified in an unknown way"])
    #expect(report.verdict == .unreadable)
  }

  @Test func knownDangersAreExplained() throws {
    let report = try audit("cos\nsystem\n.")
    #expect(report.pickles.first?.findings.first?.knownFor == "runs programs and shell commands")
  }

  @Test func nestedPicklesAreFound() throws {
    // The pickle is in bytes, and in a text in which Python 2 kept bytes.
    let inner = "cos\nsystem\n(Vid\ntR."
    let bytes = Array("C\u{13}\(inner).".unicodeScalars.map { UInt8($0.value) })
    #expect(
      findings(try audit(bytes)) == [
        "bytes at 0: GLOBAL os.system @0 dangerous", "bytes at 0: REDUCE os.system @17 dangerous",
      ])
    let text = try audit("X\u{13}\0\0\0\(inner).")
    #expect(text.verdict == .suspicious)
    // The pickle is also in a pickle that does nothing itself, and in a zip archive.
    let twice = Array("C".utf8) + [UInt8(bytes.count)] + bytes + Array(".".utf8)
    #expect(
      findings(try audit(twice)).first
        == "bytes at 0/bytes at 0: GLOBAL os.system @0 dangerous")
    let zip = stored([("data.pkl", evil)])
    let archive = Array("C".utf8) + [UInt8(zip.count)] + zip + Array(".".utf8)
    #expect(try audit(archive).verdict == .suspicious)
    // A text that only begins like a pickle is not reported.
    #expect(try audit("Vcat\\u000adog\\u000a and more\n.").verdict == .clean)
  }

  @Test func everyPickleInStreamIsAudited() throws {
    let report = try audit("N.N.cos\nsystem\n.")
    #expect(report.pickles.map(\.place) == ["", "pickle 2", "pickle 3"])
    #expect(findings(report) == ["pickle 3: GLOBAL os.system @4 dangerous"])
    let broken = try audit("N.\u{FF}")
    #expect(broken.verdict == .unreadable)
    #expect(
      broken.problems.map(\.message) == [
        "the data after the pickle (1 byte) is not a pickle: unknown pickle opcode 255"
      ])
  }

  /// A file that cannot be read completely is never clean; dangers before the break are still
  /// reported.
  @Test(arguments: [
    ("cos\nsystem\n(Vid\ntR", AuditReport.Verdict.suspicious),
    ("cmod\nNet\n)R\u{FF}", .unreadable), ("(lp0\nVa", .unreadable), ("", .unreadable),
    ("\u{89}PNG\r\n\u{1A}\n", .unreadable), ("7z\u{BC}\u{AF}\u{27}\u{1C}", .unreadable),
    ("g1\n.", .unreadable), (".", .unreadable), ("(.", .unreadable),
    // Complete pickles that are not readable checkpoints.
    ("Ppid\n.", .unreadable), ("ctorch.storage\n_load_from_bytes\n(Vid\ntR.", .unreadable),
    (
      String(repeating: "]", count: 1000) + String(repeating: "a", count: 999) + ".", .unreadable
    ),
  ])
  func brokenFilesAreNeverClean(content: String, verdict: AuditReport.Verdict) throws {
    #expect(try audit(content, named: "file.pkl").verdict == verdict)
  }

  /// Numbers and texts that only Python's own parsers accept must not end the search.
  @Test(arguments: [
    "I0x10\n0cos\nsystem\n.", "F1_0.5\n0cos\nsystem\n.", "L 5 L\n0cos\nsystem\n.",
    "NN0cos\nsystem\n.", "(N1cos\nsystem\n.", "Np 1 \n0cos\nsystem\n.", "V\\ud800\n0cos\nsystem\n.",
    "X\u{3}\0\0\0\u{ED}\u{A0}\u{80}0cos\nsystem\n.", "}N0cos\nsystem\n(Va\nd.",
  ])
  func lenientPythonLiteralsHideNothing(pickle: String) throws {
    #expect(try audit(pickle).verdict == .suspicious)
  }

  @Test func objectArraysAreAuditedAsPickles() throws {
    let header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
    let file = "\u{93}NUMPY\u{1}\0\(Character(Unicode.Scalar(UInt8(header.utf8.count))))\0\(header)"
    let report = try audit("\(file)cos\nsystem\n.")
    #expect(findings(report) == ["GLOBAL os.system @\(10 + header.utf8.count) dangerous"])
    #expect(report.notes == ["it holds NumPy arrays of objects, which are pickles"])
    #expect(try audit("\(file)(lp0\nN").verdict == .unreadable)
    #expect(try audit("\(file)(lp0\nNa.").verdict == .clean)
  }

  // MARK: Archives

  private func little(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian, Array.init)
  }

  func stored(_ entries: [(name: String, content: [UInt8])], flags: UInt16 = 0) -> [UInt8] {
    var file: [UInt8] = []
    var directory: [UInt8] = []
    for (name, content) in entries {
      var fields = little(flags) + [0, 0, 0, 0, 0, 0]  // stored; no date
      fields += little(checksum(content))
      fields += little(UInt32(content.count))
      fields += little(UInt32(content.count))
      fields += little(UInt16(name.utf8.count)) + [0, 0]
      directory += [0x50, 0x4B, 1, 2, 20, 3, 20, 0]
      directory += fields
      directory += [UInt8](repeating: 0, count: 10)
      directory += little(UInt32(file.count))
      directory += Array(name.utf8)
      file += [0x50, 0x4B, 3, 4, 20, 0]
      file += fields
      file += Array(name.utf8) + content
    }
    var end: [UInt8] = [0x50, 0x4B, 5, 6, 0, 0, 0, 0]
    end += little(UInt16(entries.count))
    end += little(UInt16(entries.count))
    end += little(UInt32(directory.count))
    end += little(UInt32(file.count))
    end += [0, 0]
    file += directory
    file += end
    return file
  }

  private func checksum(_ bytes: [UInt8]) -> UInt32 {
    var state = ~UInt32(0)
    for byte in bytes {
      state ^= UInt32(byte)
      for _ in 0..<8 { state = state & 1 == 1 ? (state >> 1) ^ 0xEDB8_8320 : state >> 1 }
    }
    return ~state
  }

  var evil: [UInt8] { Array("cos\nsystem\n.".utf8) }

  @Test func archivesAreSearchedRegardlessOfNames() throws {
    let inner = stored([("weights.bin", evil)])
    let report = try audit(stored([("notes.txt", Array("hello".utf8)), ("inner.dat", inner)]))
    #expect(findings(report) == ["inner.dat/weights.bin: GLOBAL os.system @41 dangerous"])
    #expect(try audit(stored([("notes.txt", Array("hello".utf8))])).verdict == .clean)
    let closed = stored([("x.7z", [0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C])])
    #expect(try audit(closed).verdict == .unreadable)
  }

  @Test(arguments: [0x01, 0x20, 0x40] as [UInt16])
  func flagBitsHideNothing(flags: UInt16) throws {
    let report = try audit(stored([("model/config.pkl", evil)], flags: flags))
    #expect(report.verdict == .suspicious)
    #expect(report.counts.dangerous == 1)
    let harmless = try audit(stored([("model/config.pkl", Array("N.".utf8))], flags: flags))
    #expect(harmless.verdict == (flags == 0x20 ? .clean : .unreadable))
  }

  @Test func wrongChecksumsHideNothing() throws {
    var archive = stored([("data.pkl", evil)])
    archive[14] ^= 1
    #expect(try audit(archive).verdict == .suspicious)
    var harmless = stored([("data.pkl", Array("N.".utf8))])
    harmless[14] ^= 1
    #expect(try audit(harmless).verdict == .unreadable)
  }

  @Test func archivesAfterPicklesAreSearched() throws {
    let report = try audit(Array("N.".utf8) + stored([("a", evil)]))
    #expect(report.verdict == .suspicious)
    #expect(report.problems.map(\.message) == ["a zip archive follows the pickle"])
  }

  @Test func archiveNestingIsLimited() throws {
    var archive = evil
    for depth in 0..<12 { archive = stored([("level\(depth)", archive)]) }
    #expect(try audit(archive).verdict == .unreadable)
  }

  @Test func shardsAreSearchedThroughTheirIndex() throws {
    try withTemporaryFolder { folder in
      let index = #"{"weight_map": {"a": "one.bin", "b": "two.bin"}}"#
      try Data(index.utf8).write(to: URL(filePath: folder.appending("m.bin.index.json")))
      try Data(evil).write(to: URL(filePath: folder.appending("one.bin")))
      let report = try AuditReport(auditing: folder.appending("m.bin.index.json"))
      #expect(findings(report) == ["one.bin: GLOBAL os.system @0 dangerous"])
      #expect(report.problems.count == 1)
    }
  }

  // MARK: Real files

  @Test(
    .serialized,
    arguments: [
      "torch/checkpoint.pth", "torch/legacy_checkpoint.pth", "torch/tar.pth", "torch/training.pth",
      "torch/torchscript.pt", "torch/tensors_protocol2.pkl", "torch/numpy_protocol5.pkl",
      "torch/whole_module.pth", "torch/float32.pth", "sharded/torch/pytorch_model.bin.index.json",
    ])
  func ordinaryCheckpointsAreClean(name: String) throws {
    let report = try AuditReport(auditing: PackageFolder.fixture(name))
    #expect(report.problems.isEmpty)
    #expect(report.counts.unknown == 0 && report.counts.dangerous == 0)
    #expect(report.verdict == .clean)
  }

  @Test(arguments: [
    ("torch/module.pth", AuditReport.Verdict.suspicious), ("torch/calls_eval.pth", .suspicious),
    ("torch/calls_eval_legacy.pth", .suspicious), ("torch/tar_calls_system.pth", .suspicious),
    ("torch/legacy_truncated.pth", .unreadable), ("torch/flipped_storage.pth", .unreadable),
    ("torch/truncated.pth", .unreadable), ("torch/no_stop.pth", .unreadable),
  ])
  func maliciousAndBrokenFilesAreNotClean(name: String, verdict: AuditReport.Verdict) throws {
    #expect(try AuditReport(auditing: PackageFolder.fixture(name)).verdict == verdict)
  }

  @Test(SharedData.require("formats/adversarial"))
  func everyAdversarialFileIsReported() throws {
    let folder = try SharedData.path("formats/adversarial")
    let names = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
    #expect(names.count > 30)
    for name in names {
      let report = try AuditReport(auditing: "\(folder)/\(name)")
      let expected: AuditReport.Verdict =
        name.hasPrefix("benign")
        ? .clean : ["bad_pytorch.pt", "malicious1.7z"].contains(name) ? .unreadable : .suspicious
      #expect(report.verdict == expected, "\(name)")
    }
  }

  @Test(SharedData.require("weights"))
  func realFilesAreClean() throws {
    for folder in ["weights", "formats/torch_zip", "formats/torch_legacy", "formats/torchscript"] {
      let root = URL(filePath: try SharedData.path(folder))
      let files = FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil)
      while let file = files?.nextObject() as? URL {
        guard !file.hasDirectoryPath else { continue }
        #expect(try AuditReport(auditing: file.path).verdict == .clean, "\(file.path)")
      }
    }
  }

  @Test func reportsAreRendered() throws {
    let report = try audit("cmod\nf\n0cos\nsystem\n(Vid\ntR.")
    for format in ReportFormat.allCases {
      #expect(try report.rendered(as: format).contains("system"))
    }
    let csv = try report.rendered(as: .csv).split(whereSeparator: \.isNewline)
    try #require(csv.count > 3)
    #expect(csv.first == "verdict,kind,name,offset,opcode,place,argument,knownFor")
    #expect(csv[1].hasPrefix("dangerous,global,os.system,8,GLOBAL"))
    #expect(csv.last?.hasPrefix("unknown,global,mod.f,0,GLOBAL") == true)
    let json = try report.rendered(as: .json)
    #expect(try ReportJSON.decode(AuditReport.self, from: json) == report)
  }
}

extension AuditReport {
  typealias Verdict = FileAudit.Verdict
}
