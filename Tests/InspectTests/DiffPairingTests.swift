import Formats
import Foundation
import Testing

@testable import Inspect
@testable import Storage

/// The pairing of the tensors of two files.
@Suite struct DiffPairingTests {
  private func diff(
    _ a: TensorArchive, _ b: TensorArchive,
    _ change: (inout DiffReport.Options) throws -> Void = { _ in }
  ) throws -> DiffReport {
    var options = DiffReport.Options()
    options.threads = 2
    try change(&options)
    return try DiffReport(a, b, fileA: "a", fileB: "b", options: options)
  }

  private func ramp(_ shape: Shape, from start: Float = 0) throws -> Tensor {
    try .float32(shape, (0..<shape.elementCount).map { start + Float($0) })
  }

  @Test func prefixesAreStrippedOnBothSides() throws {
    let a = TensorArchive(["module.w": try ramp([2]), "x": try ramp([3])])
    let b = TensorArchive(["w": try ramp([2]), "model.x": try ramp([3])])
    let report = try diff(a, b) { $0.names.strippedPrefixes = ["module.", "model."] }
    #expect(report.isSame)
    #expect(report.same == ["module.w", "x"])
    #expect(
      throws: ModelError.mismatch(
        expected: "a tensor name that begins with 'net.'", found: "none")
    ) { try diff(a, b) { $0.names.strippedPrefixes = ["net."] } }
  }

  @Test(arguments: [
    (#"(l)(\d)?"#, #"<$0,$2,\$1,$7>"#, "<l3,3,$1,>.w"), (#"\.w$"#, "", "l3"), ("[l3]", "x", "xx.w"),
    (#"3(?=\.)"#, "$", "l$.w"),
  ])
  func templatesInsertCaptureGroups(pattern: String, template: String, expected: String) throws {
    var map = NameMap()
    map.replacements = [try NameReplacement(pattern: pattern, template: template)]
    #expect(try map.mapped(["l3.w"], []).a == [expected])
  }

  @Test func regularExpressionsRewriteNamesOfFirstFile() throws {
    let a = TensorArchive(["layers.0.w": try ramp([2]), "layers.11.w": try ramp([3])])
    let b = TensorArchive(["blocks.0.w": try ramp([2]), "blocks.11.w": try ramp([3], from: 1)])
    let map = try NameReplacement(pattern: #"^layers\.(\d+)\."#, template: "blocks.$1.")
    let report = try diff(a, b) { $0.names.replacements = [map] }
    #expect(report.same == ["layers.0.w"])
    #expect(report.changed.map(\.name) == ["layers.11.w"])
    #expect(report.changed.map(\.nameB) == ["blocks.11.w"])
    #expect(throws: ModelError.malformed("'(' is not a valid regular expression")) {
      try NameReplacement(pattern: "(", template: "")
    }
    #expect(
      throws: ModelError.mismatch(
        expected: "a tensor name of the first file that 'blocks' changes", found: "none")
    ) {
      try diff(a, b) {
        $0.names.replacements = [try NameReplacement(pattern: "blocks", template: "")]
      }
    }
    #expect(
      throws: ModelError.malformed("'layers.0.w' and 'layers.11.w' both become 'w'")
    ) {
      try diff(a, b) {
        $0.names.replacements = [try NameReplacement(pattern: ".*w", template: "w")]
      }
    }
  }

  @Test func firstMatchingToleranceApplies() throws {
    let a = TensorArchive(["norm.w": try ramp([2]), "fc.w": try ramp([2])])
    let b = TensorArchive(["norm.w": try ramp([2], from: 0.5), "fc.w": try ramp([2], from: 0.5)])
    #expect(try diff(a, b).changed.count == 2)
    let report = try diff(a, b) {
      $0.tolerances = [(try NameGlob("norm.*"), 0.5), (try NameGlob("*.w"), 0.1)]
    }
    #expect(report.changed.map(\.name) == ["fc.w"])
    #expect(
      report.tolerances == [
        NamedTolerance(pattern: "norm.*", tolerance: 0.5),
        NamedTolerance(pattern: "*.w", tolerance: 0.1),
      ])
    #expect(
      try diff(a, b) {
        $0.tolerance = 0.5
        $0.tolerances = [(try NameGlob("fc.*"), 0)]
      }.changed.map(\.name) == ["fc.w"])
    #expect(
      throws: ModelError.mismatch(expected: "a name that matches 'bias'", found: "none")
    ) { try diff(a, b) { $0.tolerances = [(try NameGlob("bias"), 1)] } }
  }

  @Test func ignoredNamesAreNotCompared() throws {
    var a = TensorArchive(["w": try ramp([2]), "old.steps": try ramp([1])])
    let b = TensorArchive(["w": try ramp([2])])
    a.values["epoch"] = .integer(3)
    #expect(try !diff(a, b).isSame)
    #expect(
      try diff(a, b) { $0.ignored = [try NameGlob("*.steps"), try NameGlob("epoch")] }.isSame)
    #expect(
      throws: ModelError.mismatch(expected: "a name that matches 'gone'", found: "none")
    ) { try diff(a, b) { $0.ignored = [try NameGlob("gone")] } }
  }

  private static let splits = [
    ("attn.qkv.weight", ["attn.q.weight", "attn.k.weight", "attn.v.weight"]),
    ("attn.in_proj_weight", ["attn.q_proj_weight", "attn.k_proj_weight", "attn.v_proj_weight"]),
    ("qkv_proj.bias", ["q_proj.bias", "k_proj.bias", "v_proj.bias"]),
    ("to_qkv.weight", ["to_q.weight", "to_k.weight", "to_v.weight"]),
  ]

  @Test(arguments: splits)
  func fusedAndSplitWeightsAreRecognized(_ fused: String, _ split: [String]) throws {
    let isBias = fused.hasSuffix("bias")
    // Keys and values have fewer rows, as in grouped-query attention.
    let rows = [4, 2, 2]
    let whole = try ramp(isBias ? [8] : [8, 3])
    var start: Float = 0
    var parts = TensorArchive()
    for (name, count) in zip(split, rows) {
      let shape = try #require(Shape(isBias ? [count] : [count, 3]))
      parts.tensors[name] = try ramp(shape, from: start)
      start += Float(shape.elementCount)
    }
    let single = TensorArchive(tensors: [fused: whole])
    let report = try diff(single, parts)
    #expect(report.relaid == [RelaidTensor(namesA: [fused], namesB: split, change: .split)])
    #expect(report.changed.isEmpty && report.onlyInA.isEmpty && report.onlyInB.isEmpty)
    #expect(!report.isSame)
    #expect(try diff(single, parts) { $0.acceptsOtherLayouts = true }.isSame)
    let reverse = try diff(parts, single)
    #expect(reverse.relaid == [RelaidTensor(namesA: split, namesB: [fused], change: .fused)])
    #expect(reverse.changed.isEmpty)

    parts.tensors[split[1]] = try ramp(parts.tensors[split[1]]!.shape, from: 100)
    let changed = try diff(single, parts) { $0.acceptsOtherLayouts = true }
    #expect(changed.changed.map(\.name) == ["\(fused)[k]"])
    #expect(changed.changed.map(\.nameB) == [split[1]])
  }

  @Test func partsThatDoNotFitAreNotPaired() throws {
    let a = TensorArchive(["qkv.weight": try ramp([6, 3])])
    let b = TensorArchive([
      "q.weight": try ramp([2, 3]), "k.weight": try ramp([2, 3]), "v.weight": try ramp([1, 3]),
    ])
    let report = try diff(a, b)
    #expect(report.onlyInA.count == 1 && report.onlyInB.count == 3 && report.relaid.isEmpty)
  }

  @Test func transposesAreRecognized() throws {
    let wide = try Tensor.float32([2, 3], [1, 2, 3, 4, 5, 6])
    let tall = try Tensor.float32([3, 2], [1, 4, 2, 5, 3, 6])
    let square = try Tensor.float32([2, 2], [1, 2, 3, 4])
    let turned = try Tensor.float32([2, 2], [1, 3, 2, 4])
    let a = TensorArchive(["w": wide, "s": square])
    let b = TensorArchive(["w": tall, "s": turned])
    let report = try diff(a, b)
    #expect(report.relaid.map(\.namesA) == [["w"], ["s"]])
    #expect(report.relaid.map(\.change) == [.transposed, .transposed])
    #expect(report.changed.isEmpty && !report.isSame)
    #expect(try diff(a, b) { $0.acceptsOtherLayouts = true }.isSame)
    let other = try diff(a, TensorArchive(["w": ramp([3, 2]), "s": turned]))
    #expect(other.changed.map(\.kind) == [.shape])
    let reshaped = try diff(
      TensorArchive(["w": wide]), TensorArchive(["w": .float32([2, 3, 1], [1, 2, 3, 4, 5, 6])]))
    #expect(reshaped.changed.map(\.note) == ["the same elements in the same order"])
  }

  @Test func verdictSummarizesChanges() throws {
    let a = TensorArchive(["w": try ramp([2]), "gone": try ramp([3]), "s": try ramp([4])])
    let b = TensorArchive(["w": try ramp([2], from: 1), "new": try ramp([5]), "s": try ramp([4])])
    #expect(
      try diff(a, b).verdict
        == "different: 1 of 3 tensors changed, 1 only in A, 1 only in B")
    #expect(try diff(a, a).verdict == "the same: 3 tensors")
    let renamed = TensorArchive(["v": try ramp([2])])
    let original = TensorArchive(["w": try ramp([2])])
    #expect(try diff(original, renamed).verdict == "different: 1 renamed")
    #expect(
      try diff(original, renamed) { $0.acceptsOtherLayouts = true }.verdict
        == "the same: 1 tensor, 1 renamed")
  }

  @Test func budgetLimitsConcurrentLoading() throws {
    let budget = MemoryBudget(limit: 100)
    let inUse = NSCountedSet()
    let lock = NSLock()
    nonisolated(unsafe) var largest = 0
    nonisolated(unsafe) let counted = inUse
    DispatchQueue.concurrentPerform(iterations: 64) { index in
      let byteCount = index == 7 ? 500 : 10 + index % 50
      budget.using(byteCount) {
        lock.withLock {
          counted.add(byteCount)
          let sum = counted.reduce(0) { $0 + ($1 as? Int ?? 0) * counted.count(for: $1) }
          if byteCount != 500 { largest = max(largest, sum) }
        }
        lock.withLock { counted.remove(byteCount) }
      }
    }
    #expect(largest > 0 && largest <= 100)
  }

  @Test func listingHasOneLinePerEntry() throws {
    var archive = TensorArchive(["w": try ramp([2, 3]), "e": try .float32([0], [])])
    archive.values["epoch"] = .integer(3)
    archive.metadata["format"] = "pt\nx"
    let lines = try ArchiveListing(archive, threads: 2).lines
    #expect(lines.count == 4)
    #expect(lines[0].hasPrefix("tensor w float32 [2x3] sha256:"))
    #expect(
      lines[1] == "tensor e float32 [0] sha256:"
        + "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    #expect(lines[2] == "value epoch = 3")
    #expect(lines[3] == "metadata format = pt\\u{a}x")
    archive.tensors["w"] = try ramp([2, 3], from: 1)
    #expect(try ArchiveListing(archive, threads: 1).lines[0] != lines[0])
  }
}
