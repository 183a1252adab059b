import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import FuzzTargets
@testable import Storage

/// Files that request too much, or that contradict themselves.
@Suite struct LimitsTests {
  private func open(_ bytes: [UInt8]) throws -> TensorArchive {
    let file = InputFile(SharedBytes(bytes), path: "file")
    return try FormatRegistry.standard.format(of: file).read(file)
  }

  private func safetensors(_ header: String, data: Int = 0, length: UInt64? = nil) -> [UInt8] {
    var bytes: [UInt8] = []
    ZipBytes.append(length ?? UInt64(header.utf8.count), to: &bytes)
    return bytes + Array(header.utf8) + [UInt8](repeating: 0, count: data)
  }

  private func npy(_ value: UInt8 = 0) -> SharedBytes {
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }"
    var bytes: [UInt8] = [0x93] + Array("NUMPY".utf8) + [1, 0]
    ZipBytes.append(UInt16(header.utf8.count), to: &bytes)
    return SharedBytes(bytes + Array(header.utf8) + [value])
  }

  private func expect(
    _ bytes: [UInt8], _ message: String, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let error = #expect(throws: ModelError.self, sourceLocation: sourceLocation) {
      try open(bytes)
    }
    #expect(
      error.map { "\($0)".contains(message) } ?? false, "\(String(describing: error))",
      sourceLocation: sourceLocation)
  }

  @Test func documentationListsEveryLimit() throws {
    let page = try String(
      contentsOf: PackageFolder.root.appending(path: "Sources/Formats/Formats.docc/Limits.md"),
      encoding: .utf8)
    let rows = page.split(separator: "\n").filter { $0.hasPrefix("| ") }.dropFirst()
    let listed = rows.map { row in
      row.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
    }
    #expect(
      listed == Limit.all.map { [$0.subject, grouped($0.maximum), $0.unit.rawValue] })
  }

  private func grouped(_ value: Int) -> String {
    String(
      String(value).reversed().enumerated().flatMap { index, digit in
        index > 0 && index.isMultiple(of: 3) ? [",", digit] : [digit]
      }.reversed())
  }

  @Test func overlongHeadersAreRefused() {
    expect(
      safetensors("{}", length: 100_000_001),
      "a safetensors header in bytes is limited to 100000000, found 100000001")
    var numpy: [UInt8] = [0x93] + Array("NUMPY".utf8) + [2, 0]
    ZipBytes.append(UInt32(65_537), to: &numpy)
    expect(numpy + [UInt8](repeating: 0x20, count: 65_537), "is limited to 65536, found 65537")
  }

  @Test func deepNestingIsRefused() {
    let deep = String(repeating: "[", count: 65) + String(repeating: "]", count: 65)
    expect(safetensors("{\"a\":\(deep)}"), "nesting")
    let tuples = String(repeating: "(", count: 100_000)
    var numpy: [UInt8] = [0x93] + Array("NUMPY".utf8) + [1, 0]
    let header = "{'descr': \(tuples.prefix(60_000))"
    ZipBytes.append(UInt16(header.utf8.count), to: &numpy)
    expect(numpy + Array(header.utf8), "the nesting of a NumPy header is limited to 16")
  }

  @Test func overlappingAndStrayOffsetsAreRefused() {
    func entry(_ name: String, _ begin: String, _ end: String, count: Int = 4) -> String {
      "\"\(name)\":{\"dtype\":\"U8\",\"shape\":[\(count)],\"data_offsets\":[\(begin),\(end)]}"
    }
    expect(safetensors("{\(entry("a", "0", "4")),\(entry("b", "2", "6"))}", data: 6), "begins at")
    expect(safetensors("{\(entry("a", "0", "4")),\(entry("b", "8", "12"))}", data: 12), "begins at")
    expect(
      safetensors("{\(entry("a", "9223372036854775804", "9223372036854775807", count: 3))}"),
      "begins at")
    expect(safetensors("{\(entry("a", "0", "18446744073709551615"))}"), "is not a count")
    expect(safetensors("{\(entry("a", "-4", "0"))}"), "is not a count")
    expect(
      safetensors("{\(entry("a", "0", "9223372036854775807", count: .max))}", data: 1),
      "'a'")
  }

  @Test func ambiguousNamesAreRefused() throws {
    let twice = ZipBytes.archive([("a.npy", npy()), ("a.npy", npy())]).array
    expect(twice, "two zip entries have this name")
    // Swift considers these strings equal, others see two names: they are refused so that neither
    // is lost.
    let composed = ("\u{E9}.npy", npy())
    let decomposed = ("e\u{301}.npy", npy())
    expect(ZipBytes.archive([composed, decomposed]).array, "two zip entries have this name")
    func entry(_ name: String, _ begin: Int) -> String {
      "\"\(name)\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[\(begin),\(begin + 1)]}"
    }
    expect(
      safetensors("{\(entry("\u{E9}", 0)),\(entry("e\u{301}", 1))}", data: 2), "\u{E9}")
    expect(safetensors("{\(entry("a", 0)),\(entry("a", 1))}", data: 2), "'a'")
    // Names that differ only in case are distinct.
    let cases = try open(ZipBytes.archive([("A.npy", npy(1)), ("a.npy", npy(2))]).array)
    #expect(try cases.tensors.values.map { try $0.bytes().array } == [[1], [2]])
  }

  /// No file is ever written under a name from a file, so these names are like any others.
  @Test func pathLikeNamesAreAccepted() throws {
    let names = ["../a", "/etc/passwd", "C:\\a", "a/../../b"]
    let archive = try open(ZipBytes.archive(names.map { ("\($0).npy", npy()) }).array)
    #expect(Array(archive.tensors.keys) == names)
    let long = String(repeating: "a", count: 4093)
    expect(
      ZipBytes.archive([("\(long).npy", npy())]).array,
      "the bytes of a zip entry's name is limited to 4096, found 4097")
    expect(ZipBytes.archive([("a\0b.npy", npy())]).array, "is empty or contains a NUL")
  }

  @Test func checkpointsWithTwoPicklesAreRefused() {
    let pickle = SharedBytes([0x80, 2, 0x7D, 0x2E])
    expect(
      ZipBytes.archive([("a/data.pkl", pickle), ("b/data.pkl", pickle)]).array,
      "expected one 'data.pkl' in a folder of the archive, found 2")
  }

  /// A length that deflate cannot reach is refused before allocating; one that it could reach but
  /// does not is found when inflating.
  @Test(arguments: [(1_000_000_000, "is limited to"), (900, "900")])
  func falseInflatedLengthsAreRefused(byteCount: Int, message: String) {
    var bytes = ZipBytes.archive([("a.npy", npy())]).array
    // Marks the entry as deflated instead of stored, in the local and the central header.
    for (signature, method, length) in [([3, 4], 8, 22), ([1, 2], 10, 24)] {
      let start = bytes.indices.dropLast(4).first {
        bytes[$0] == 0x50 && bytes[$0 + 1] == 0x4B && bytes[$0 + 2] == signature[0]
          && bytes[$0 + 3] == signature[1]
      }
      guard let start else { continue }
      bytes[start + method] = 8
      for index in 0..<4 {
        bytes[start + length + index] = UInt8(truncatingIfNeeded: byteCount >> (8 * index))
      }
    }
    let error = #expect(throws: ModelError.self) { try open(bytes) }
    #expect(error != nil)
    if byteCount > 1 << 20 { #expect("\(error.map { "\($0)" } ?? "")".contains(message)) }
  }
}
