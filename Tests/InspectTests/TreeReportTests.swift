import Formats
import TestSupport
import Testing

@testable import Inspect
@testable import Reports
@testable import Storage

@Suite struct TreeReportTests {
  private func tensor(_ shape: Shape) throws -> Tensor {
    try Tensor(
      elementType: .float32, shape: shape,
      bytes: SharedBytes([UInt8](repeating: 0, count: shape.elementCount * 4)))
  }

  private func nested() throws -> TensorArchive {
    var archive = TensorArchive()
    archive.tensors["model.layers.0.weight"] = try tensor([2, 3])
    archive.tensors["model.layers.1.weight"] = try tensor([2, 3])
    archive.tensors["optimizer.state.0"] = try tensor([])
    archive.values["epoch"] = .integer(7)
    archive.values["args.0"] = .text("a\u{1B}[31m")
    archive.structure = .dictionary(
      [
        .init(
          key: .text("model"),
          value: .dictionary(
            [
              .init(key: .text("layers.0.weight"), value: .leaf("model.layers.0.weight")),
              .init(key: .text("layers.1.weight"), value: .leaf("model.layers.1.weight")),
            ], isOrdered: true)),
        .init(
          key: .text("optimizer"),
          value: .dictionary(
            [
              .init(
                key: .text("state"),
                value: .dictionary(
                  [.init(key: .integer(0), value: .leaf("optimizer.state.0"))], isOrdered: false))
            ], isOrdered: false)),
        .init(key: .text("epoch"), value: .leaf("epoch")),
        .init(key: .text("args"), value: .tuple([.leaf("args.0"), .list([]), .set([])])),
      ], isOrdered: false)
    return archive
  }

  @Test func drawsContainersAndLeaves() throws {
    let report = TreeReport(archive: try nested(), file: "model.pth", fileByteCount: 2048)
    #expect(
      try report.rendered(as: .text) == """
        model.pth  2.000 KiB, 3 tensors, 52 B of them, 2 values  dict (4)
        ├── model  OrderedDict (2)
        │   └── layers
        │       ├── 0
        │       │   └── weight  float32  [2, 3]  24 B
        │       └── 1
        │           └── weight  float32  [2, 3]  24 B
        ├── optimizer  dict (1)
        │   └── state  dict (1)
        │       └── 0  float32  []  4 B
        ├── epoch  7
        └── args  tuple (3)
            ├── [0]  'a\\u{1b}[31m'
            ├── [1]  list (0)
            └── [2]  set (0)

        """)
  }

  @Test func showsUnreadEntries() throws {
    var archive = TensorArchive(tensors: ["w": try tensor([1])])
    archive.unread = [UnreadEntry(name: "d", kind: "<M8[D]", reason: "dates")]
    let flat = TreeReport(archive: archive, file: "a.npz")
    archive.structure = .dictionary(
      [.init(key: .text("w"), value: .leaf("w")), .init(key: .text("d"), value: .unread("d"))],
      isOrdered: false)
    let nested = TreeReport(archive: archive, file: "a.npz")
    for (report, headline) in [(flat, ""), (nested, "  dict (2)")] {
      #expect(
        try report.rendered(as: .text) == """
          a.npz  1 tensor, 4 B of them\(headline)
          ├── w  float32  [1]  4 B
          └── d  left out: <M8[D], dates

          """)
      #expect(report.unread == archive.unread)
      for format in ReportFormat.allCases {
        #expect(try report.rendered(as: format).contains("dates"))
      }
    }
  }

  @Test func depthLimitSummarizesSubtrees() throws {
    let report = TreeReport(archive: try nested(), file: "model.pth", depth: 1)
    #expect(
      try report.rendered(as: .text) == """
        model.pth  3 tensors, 52 B of them, 2 values  dict (4)
        ├── model  OrderedDict (2)  … 2 tensors, 48 B
        ├── optimizer  dict (1)  … 1 tensor, 4 B
        ├── epoch  7
        └── args  tuple (3)  … 0 tensors, 0 B

        """)
    #expect(report.root.children?[0].children == nil)
    #expect(report.root.children?[0].totalByteCount == 48)
    #expect(TreeReport(archive: try nested(), file: "", depth: 0).root.children == nil)
  }

  @Test func groupsFlatNames() throws {
    var archive = TensorArchive()
    for name in ["a.b", "a", "c..d", "", ".", "a.b.c", "x\ny.\u{202E}z"] {
      archive.tensors[name] = try tensor([1])
    }
    let report = TreeReport(archive: archive, file: "flat")
    #expect(
      report.text(width: 80, rowLimit: nil) == """
        flat  7 tensors, 28 B of them
        ├── a  float32  [1]  4 B
        │   └── b  float32  [1]  4 B
        │       └── c  float32  [1]  4 B
        ├── c
        │   └── ''
        │       └── d  float32  [1]  4 B
        ├── ''  float32  [1]  4 B
        │   └── ''  float32  [1]  4 B
        └── x\\u{a}y
            └── \\u{202e}z  float32  [1]  4 B

        """)
    #expect(report.root.tensorCount == 7)
    // A tensor with names below it counts them as well.
    #expect(report.root.children?[0].tensorCount == 3)
  }

  /// Neither a name of thousands of dots nor one of many parts may exhaust the stack.
  @Test func dottedNameDoesNotExhaustStack() throws {
    let name = String(repeating: "a.", count: 20_000)
    let report = TreeReport(
      archive: TensorArchive(tensors: [name: try tensor([1])]), file: "deep")
    var depth = 0
    var node = report.root
    var keys: [String] = []
    while let child = node.children?.first {
      node = child
      depth += 1
      keys.append(child.key)
    }
    #expect(depth == TreeNode.groupingLimit + 1)
    #expect(keys.joined(separator: ".") == name)
    #expect(node.name == name)
    for format in ReportFormat.allCases { _ = try report.rendered(as: format) }
  }

  /// "é" as one scalar and as two are equal strings but different names.
  @Test func keepsBothUnicodeSpellings() throws {
    var archive = TensorArchive()
    archive.tensors["\u{E9}.a"] = try tensor([1])
    archive.tensors["e\u{301}.b"] = try tensor([1])
    let keys = TreeReport(archive: archive, file: "").root.children?.map { Array($0.key.utf8) }
    #expect(keys == [Array("\u{E9}".utf8), Array("e\u{301}".utf8)])
  }

  @Test func everyLeafOccursOnce() throws {
    for subject in FormatSubject.all {
      let archive = try subject.sampleArchive()
      func names(_ node: TreeNode) -> [String] {
        (node.name.map { [$0] } ?? []) + (node.children ?? []).flatMap(names)
      }
      let found = names(TreeReport(archive: archive, file: "").root)
      #expect(found.sorted() == (Array(archive.tensors.keys) + archive.values.keys).sorted())
    }
  }

  @Test func roundTripsAsJSON() throws {
    let report = TreeReport(archive: try nested(), file: "model.pth", depth: 2)
    let json = try report.rendered(as: .json)
    #expect(try ReportJSON.decode(TreeReport.self, from: json) == report)
    #expect(!json.contains("\u{1B}"))
  }

  @Test func limitsTextLines() throws {
    let text = try TreeReport(archive: try nested(), file: "m").rendered(as: .text, rowLimit: 2)
    #expect(text.hasSuffix("… 12 more lines\n"))
    let table = try TreeReport(archive: try nested(), file: "m").rendered(as: .csv)
    #expect(table.utf8.split(separator: UInt8(ascii: "\n")).count == 15)
  }
}
