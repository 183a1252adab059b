import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct NumPyTests {
  /// Files that NumPy wrote, and files broken in one way each.
  @Test(arguments: try ExpectedArchive.all(in: "expected.json", below: ["npy/", "npz/"]))
  func readsWhatNumPyWrites(_ expected: ExpectedArchive) throws {
    for access in [InputFile.Access.mapped, .read] {
      try expected.check(try PackageFolder.fixture(expected.path), access: access)
    }
  }

  @Test(
    SharedData.require("formats/npz"),
    arguments: try ExpectedArchive.all(in: "shared-expected.json", below: ["formats/npz/"]))
  func readsRealFiles(_ expected: ExpectedArchive) throws {
    try expected.check(try SharedData.path(expected.path))
  }

  /// Object arrays written by Python 2 and 3, from NumPy's own tests.
  @Test(
    SharedData.require("formats/npz/numpy_objarr_adversarial"),
    arguments: ["py2-objarr.npy", "py2-objarr.npz", "py3-objarr.npy", "py3-objarr.npz"])
  func readsObjectArrays(name: String) throws {
    let archive = try FormatRegistry.standard.open(
      SharedData.path("formats/npz/numpy_objarr_adversarial/\(name)"))
    #expect(archive.tensors.isEmpty)
    let values = Array(archive.values.values)
    #expect(values.count == 4)
    #expect(values[..<3] == [.none, .text("builtins.range"), .text("優良")])
  }

  @Test(arguments: [
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16",
    "float32", "float64", "complex64", "complex128", "scalar", "empty", "empty_3d", "rank_32",
  ])
  func writesWhatNumPyWrites(name: String) throws {
    let path = try PackageFolder.fixture("npy/\(name).npy")
    let archive = try NPYFormat().read(try InputFile(path: path))
    try withTemporaryFolder { folder in
      let copy = folder.appending("copy.npy")
      try FormatRegistry.standard.write(archive, as: NPYFormat(), to: copy)
      #expect(
        try Data(contentsOf: URL(filePath: copy)) == Data(contentsOf: URL(filePath: path)))
    }
  }

  /// Every entry of an archive equals the one that `numpy.savez` writes.
  @Test(arguments: ["stored", "deflated", "positional", "nested_names"], [false, true])
  func writesEntriesThatNumPyWrites(name: String, isCompressed: Bool) throws {
    let original = try ZipArchive(
      try InputFile(path: try PackageFolder.fixture("npz/\(name).npz")))
    let archive = try NPZFormat().read(original.file)
    try withTemporaryFolder { folder in
      let path = folder.appending("copy.npz")
      try FormatRegistry.standard.write(
        archive, as: NPZFormat(isCompressed: isCompressed), to: path)
      let copy = try ZipArchive(try InputFile(path: path))
      #expect(copy.entries.map(\.name) == original.entries.map(\.name))
      for (left, right) in zip(copy.entries, original.entries) {
        let (written, expected) = (try copy.bytes(of: left), try original.bytes(of: right))
        #expect(written.elementsEqual(expected))
        #expect(left.method == (isCompressed ? .deflated : .stored))
      }
    }
  }

  // MARK: The extra entry

  @Test func extraEntryIsWrittenOnlyWhereNeeded() throws {
    let plain = try Tensor(elementType: .float32, shape: [1], bytes: SharedBytes([0, 0, 0, 0]))
    let raw = try Tensor(elementType: .bfloat16, shape: [2], bytes: SharedBytes([1, 2, 3, 4]))
    let narrow = try Tensor(
      elementType: .float4E2M1, shape: [2, 3], bytes: SharedBytes([1, 2, 3]))
    #expect(try sidecar(of: TensorArchive(tensors: ["w": plain])) == nil)
    #expect(
      try sidecar(of: TensorArchive(tensors: ["w": raw, "n": narrow])) == """
        {"version":1,"types":{"w":"bfloat16","n":"float4_e2m1"},"shapes":{"n":[2,3]}}
        """)
    #expect(
      try sidecar(of: TensorArchive(tensors: ["../w": plain], metadata: ["a": "b"])) == """
        {"version":1,"names":{"tensor_0":"../w"},"metadata":{"a":"b"}}
        """)
    #expect(
      try sidecar(of: TensorArchive(values: ["epoch": .integer(12), "none": ArchiveValue.none]))
        == #"{"version":1,"values":{"epoch":{"entry":"epoch"},"none":null}}"#)
    #expect(try sidecar(of: TensorArchive()) == #"{"version":1}"#)
  }

  /// Writes `archive` and returns the text of its extra entry.
  private func sidecar(of archive: TensorArchive) throws -> String? {
    try withTemporaryFolder { folder in
      let path = folder.appending("file.npz")
      try FormatRegistry.standard.write(archive, as: NPZFormat(), to: path)
      let zip = try ZipArchive(try InputFile(path: path))
      guard let entry = zip.entry(named: "__condi__.npy") else { return nil }
      #expect(zip.entries.last?.name == entry.name)
      let content = try zip.bytes(of: entry)
      let header = try NPYHeader(byteCount: content.count) { offset, count, _ in
        content.slice(offset..<offset + count)
      }
      guard case .text(let text) = try NPYScalar.value(of: NPYArray(header: header) { content })
      else { return nil }
      return text
    }
  }

  @Test(arguments: [
    (
      #"{"version":2}"#,
      ModelError.Problem.unsupported("version 2 is unknown; known is 1")
    ),
    (#"{"version":1,"more":{}}"#, .malformed("the unknown member 'more'")),
    (
      #"{"version":1,"types":{"w":"float128"}}"#,
      .unsupported("the element type 'float128' is unknown")
    ),
    (#"[1]"#, .malformed("not a JSON object")),
  ])
  func refusesInvalidSidecars(text: String, problem: ModelError.Problem) {
    #expect(throws: ModelError(problem)) { try NPZSidecar(parsing: text) }
  }

  @Test(arguments: [
    ("plain", true), ("a/b", true), ("layer.0.weight", true), ("имя", true), ("a:b", true),
    ("layer/kernel:0", true), ("w:0", true), ("c:/b", false), ("c:", false),
    ("", false), ("/a", false), ("a/", false), ("a//b", false), ("..", false), ("a/../b", false),
    ("./a", false), ("a\\b", false), ("a\nb", false), ("a.npy", false), ("a\0", false),
    (String(repeating: "a", count: 200), true), (String(repeating: "a", count: 201), false),
  ])
  func unsafeNamesAreNotEntryNames(name: String, isPlain: Bool) {
    #expect(NPZPlan.isPlain(name) == isPlain)
  }

  // MARK: Headers

  @Test(arguments: [
    ("{}", PythonLiteral.dictionary([])), ("( )", .tuple([])), ("(1)", .integer(1)),
    ("(1,)", .tuple([.integer(1)])), ("[1, 2 ,]", .list([.integer(1), .integer(2)])),
    ("(10L, -3)", .tuple([.integer(10), .integer(-3)])), ("True", .boolean(true)),
    ("None", .none), (#"'a\'b\\\x41\u00e9'"#, .text("a'b\\Aé")), (#""it's""#, .text("it's")),
    (
      "{'a': False, \"b\": (),}\n",
      .dictionary([
        .init(key: .text("a"), value: .boolean(false)), .init(key: .text("b"), value: .tuple([])),
      ])
    ),
  ])
  func parsesLiterals(text: String, literal: PythonLiteral) throws {
    #expect(try PythonLiteral(parsing: text) == literal)
  }

  @Test(arguments: [
    ("", 0, "expected a literal"), ("{'a': 1 'b': 2}", 8, "expected a comma"),
    ("{'a' 1}", 5, "expected a colon"), ("{'a': 1, 'a': 2}", 13, "a key occurs twice"),
    ("(1, 2", 5, "expected a comma"), ("(,)", 1, "expected a literal"),
    ("1 2", 2, "expected the end of the literal"), ("007", 0, "an integer that cannot be read"),
    ("99999999999999999999", 0, "an integer that cannot be read"),
    ("-", 0, "an integer that cannot be read"), ("__import__('os')", 0, "expected a literal"),
    ("'a", 2, "an unterminated text"), ("'a\n'", 3, "an unterminated text"),
    (#"'\q'"#, 3, "an unknown escape"), (#"'\x4'"#, 3, "an unknown escape"),
    ("true", 0, "expected a literal"),
  ])
  func refusesInvalidLiterals(text: String, position: Int, message: String) {
    #expect(
      throws: ModelError.malformed(
        "the NumPy header at its character \(position): \(message)")
    ) { try PythonLiteral(parsing: text) }
  }

  @Test func limitsNestingOfLiterals() {
    #expect(
      throws: ModelError(
        .limitExceeded(what: "the nesting of a NumPy header", limit: 16, found: "more"))
    ) {
      try PythonLiteral(parsing: String(repeating: "(", count: 9000))
    }
  }

  @Test(arguments: [
    (
      "|O",
      ModelError.Problem.unsupported(
        "the object array ('|O') holds a Python pickle")
    ),
    ("<M8[s]", .unsupported("NumPy dates ('<M8[s]') are not supported; save them as int64")),
    (
      "<f16",
      .unsupported("the NumPy element type '<f16' is not supported; save it as a narrower one")
    ),
    ("<i3", .unsupported("the NumPy element type '<i3' is not supported")),
    ("f4", .malformed("the NumPy element type 'f4' has no byte order")),
    ("|f4", .malformed("the NumPy element type '|f4' has no byte order")),
    ("<U-1", .unsupported("the NumPy element type '<U-1' is not supported")),
    ("", .malformed("the NumPy element type '' has no byte order")),
  ])
  func refusesUnsupportedElementTypes(descriptor: String, problem: ModelError.Problem) {
    #expect(throws: ModelError(problem)) { try NPYElement(descriptor) }
  }

  // MARK: Raw bytes

  /// `numpy.savez` keeps only the element width of an ml_dtypes array.
  @Test func rawBytesBecomeTensorOnceTypeIsNamed() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("file.npz")
      var zip = ZipWriter()
      for (name, descriptor, bytes) in [
        ("b", "<V2", [0x80, 0x3F, 0x00, 0x40]), ("f", "<V1", [0x38, 0x40]),
        ("v", "|V2", [1, 2, 3, 4]),
      ] as [(String, String, [UInt8])] {
        let header = try NPYHeader.encode(descriptor: descriptor, shape: [2])
        zip.add("\(name).npy", SharedBytes(header + bytes))
      }
      var writer = try AtomicFileWriter(path: path)
      try writer.write(zip.plan())
      try writer.finish()

      let archive = try FormatRegistry.standard.open(path)
      #expect(archive.tensors.mapValues(\.unreadableType) == ["b": "<V2", "f": "<V1"])
      #expect(archive.unread.map(\.name) == ["v"])
      #expect(
        throws: ModelError.unsupported(
          "NumPy did not keep the type of its raw bytes ('<V2')", tensor: "b"
        ).offering(.rawElementType)
      ) { try archive.requireReadableTensors() }

      let one = try archive.interpretingRawBytes(as: [.bfloat16])
      #expect(try one.tensors["b"]?.floatValues() == [1, 2])
      #expect(one.tensors["f"]?.unreadableType == "<V1")
      let both = try archive.interpretingRawBytes(as: [.float8E4M3FN, .bfloat16])
      #expect(both.tensors["f"]?.elementType == .float8E4M3FN)
      #expect(try both.tensors["f"]?.floatValues() == [1, 2])
      try both.requireReadableTensors()
    }
  }

  // MARK: Long lists

  /// The losses of 300 steps are stored as one entry and read back as the same values.
  @Test func longListsAreStoredAsOneEntry() throws {
    var archive = TensorArchive()
    func list(_ name: String, _ values: [ArchiveValue]) -> ArchiveStructure {
      .list(
        values.enumerated().map { index, value in
          archive.values["\(name).\(index)"] = value
          return .leaf("\(name).\(index)")
        })
    }
    let items: [(String, [ArchiveValue])] = [
      ("losses", (0..<300).map { .real(Double($0) / 4) }),
      ("steps", (0..<300).map { .integer($0) }),
      ("mixed", (0..<5000).map { $0 == 0 ? .integer(0) : .real(0.5) }),
      ("short", [.integer(1), .integer(2)]),
    ]
    archive.structure = .dictionary(
      items.map { .init(key: .text($0.0), value: list($0.0, $0.1)) }, isOrdered: false)
    try withTemporaryFolder { folder in
      var source = archive
      // The values outside lists of an archive that was read form one container, which the extra
      // entry holds.
      for (copy, short) in [("file.npz", ["short.0.npy", "short.1.npy"]), ("copy.npz", [])] {
        let copy = folder.appending(copy)
        try FormatRegistry.standard.write(source, as: NPZFormat(), to: copy)
        let zip = try ZipArchive(try InputFile(path: copy))
        #expect(
          zip.entries.map(\.name) == ["losses.npy", "steps.npy"] + short + ["__condi__.npy"])
        source = try FormatRegistry.standard.open(copy)
        #expect(source.values == archive.values)
      }
    }
  }

  @Test func npyFileHoldsExactlyOneTensor() throws {
    let tensor = try Tensor(elementType: .uint8, shape: [1], bytes: SharedBytes([1]))
    try withTemporaryFolder { folder in
      let path = folder.appending("file.npy")
      #expect(
        throws: ModelError.unsupported(
          "a .npy file holds exactly one tensor, not 2; .npz holds several", path: path)
      ) {
        try FormatRegistry.standard.write(
          TensorArchive(tensors: ["a": tensor, "b": tensor]), as: NPYFormat(), to: path)
      }
      #expect(
        throws: ModelError.unsupported(
          "a .npy file holds one tensor and no values or metadata; .npz holds them", path: path)
      ) {
        try FormatRegistry.standard.write(
          TensorArchive(tensors: ["a": tensor], values: ["b": .integer(1)]), as: NPYFormat(),
          to: path)
      }
    }
  }
}
