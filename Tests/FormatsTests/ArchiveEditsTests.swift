import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

/// Names and element types that change on the way to an output.
@Suite struct ArchiveEditsTests {
  private func archive(_ names: String...) throws -> TensorArchive {
    var archive = TensorArchive()
    for (index, name) in names.enumerated() {
      archive.tensors[name] = try Tensor(
        elementType: .float32, shape: [2],
        bytes: SharedBytes(elementsOf: [Float(index), -1.5]))
    }
    return archive
  }

  private func replacement(_ pattern: String, _ template: String) throws -> NameReplacement {
    try NameReplacement(pattern: pattern, template: template)
  }

  // MARK: Casts

  /// The oracle is PyTorch: `Tests/Fixtures/generate_casts.py`.
  @Test(arguments: [
    ElementType.float16, .bfloat16, .float8E4M3FN, .float8E4M3FNUZ, .float8E5M2, .float8E5M2FNUZ,
  ])
  func castsRoundAsPyTorchDoes(_ type: ElementType) throws {
    let data = try Data(contentsOf: URL(filePath: PackageFolder.fixture("casts.json")))
    let document = try #require(JSONSerialization.jsonObject(with: data) as? [String: [Int]])
    let bits = try #require(document["float32"]).map { UInt32($0) }
    let expected = try #require(document[type.rawValue])
    let values = bits.map { Float(bitPattern: $0) }
    for source in [ElementType.float32, .float64] {
      let tensor = try Tensor(
        elementType: source, shape: Shape([values.count])!,
        bytes: source == .float32
          ? SharedBytes(elementsOf: values) : SharedBytes(elementsOf: values.map(Double.init)))
      var loss = CastLoss(name: "x", from: source, to: type)
      let bytes = try tensor.castBytes(to: type, counting: &loss)
      let cast = try Tensor(elementType: type, shape: tensor.shape, bytes: bytes)
      let results = try cast.doubleValues()
      let isWide = type.bitWidth == 16
      for (index, value) in values.enumerated() {
        guard !value.isNaN else {
          #expect(results[index].isNaN)
          continue
        }
        let code = bytes.withUnsafeBytes {
          isWide
            ? Int($0.loadUnaligned(fromByteOffset: 2 * index, as: UInt16.self)) : Int($0[index])
        }
        // NaN has several codes.
        if !results[index].isNaN { #expect(code == expected[index], "\(type) of \(value)") }
      }
      let pairs = zip(values.map(Double.init), results).filter { $0.0.isFinite && $0.0 != $0.1 }
      #expect(loss.elementCount == values.count)
      #expect(loss.roundedCount == pairs.count)
      let overflowCount = pairs.count { !$0.1.isFinite }
      let zeroedCount = pairs.count { $0.1 == 0 }
      #expect(loss.overflowCount == overflowCount)
      #expect(loss.zeroedCount == zeroedCount)
      // It has the range of Float32.
      #expect(type == .bfloat16 || loss.overflowCount > 0)
      #expect(loss.zeroedCount > 0)
      #expect(loss.subnormalCount > 0)
    }
  }

  /// Rounding to Float32 first would give a tie, and then 1.
  @Test func float64IsRoundedToBfloat16Once() throws {
    let above = 1 + 0x1p-8 + 0x1p-40
    let tensor = try Tensor(
      elementType: .float64, shape: [3],
      bytes: SharedBytes(elementsOf: [above, -above, 1 + 0x1p-8])
    )
    var loss = CastLoss(name: "x", from: .float64, to: .bfloat16)
    let bytes = try tensor.castBytes(to: .bfloat16, counting: &loss)
    let values = try Tensor(elementType: .bfloat16, shape: [3], bytes: bytes).doubleValues()
    let expected: [Double] = [1.0078125, -1.0078125, 1]
    #expect(values == expected)
    #expect(loss.roundedCount == 3)
  }

  @Test func castsCountPerTensorAndOnlyOnce() throws {
    var archive = TensorArchive()
    let values: [Float] = [1, 1e6, -1e6, 1e-9, 1e-6, 0.1, .infinity, .nan]
    archive.tensors["a.weight"] = try Tensor(
      elementType: .float32, shape: [8], bytes: SharedBytes(elementsOf: values))
    archive.tensors["b.bias"] = try Tensor(
      elementType: .float32, shape: [1], bytes: SharedBytes(elementsOf: [Float(2)]))
    archive.tensors["count"] = try Tensor(
      elementType: .int64, shape: [1], bytes: SharedBytes(elementsOf: [Int64(7)]))
    let (edited, changes) = try archive.edited(
      by: ArchiveEdits(casts: [.init("*.weight", to: .float16), .init("*", to: .float64)]))
    let types = edited.tensors.values.map(\.elementType)
    #expect(types == [ElementType.float16, .float64, .int64])
    #expect(changes.uncast.map(\.name) == ["count"])
    #expect(changes.uncast[0].reason == "int64: only floating-point tensors are cast")
    for _ in 0..<2 { _ = try edited.tensors["a.weight"]?.bytes() }
    let losses = try changes.castLosses()
    #expect(losses.map(\.name) == ["a.weight", "b.bias"])
    #expect(losses[0].elementCount == 8)
    #expect(losses[0].overflowCount == 2)
    #expect(losses[0].zeroedCount == 1)
    #expect(losses[0].subnormalCount == 1)
    #expect(losses[0].roundedCount == 5)
    #expect(losses[1].roundedCount == 0)
  }

  @Test func sharedTensorsStayShared() throws {
    let storage = TensorStorage(SharedBytes(elementsOf: [Float(1), 2, 3, 4]))
    func view(_ offset: Int) throws -> Tensor {
      try Tensor(
        elementType: .float32, shape: [2], storage: storage, elementOffset: offset, strides: [1])
    }
    var archive = TensorArchive()
    archive.tensors["embed.weight"] = try view(0)
    archive.tensors["head.weight"] = try view(0)
    archive.tensors["other.weight"] = try view(2)
    let (edited, changes) = try archive.edited(
      by: ArchiveEdits(casts: [.init("*", to: .bfloat16)]))
    let storages = edited.tensors.values.map { $0.view.map { ObjectIdentifier($0.storage) } }
    #expect(storages[0] == storages[1] && storages[1] != storages[2])
    #expect(try changes.castLosses().map(\.name) == ["embed.weight", "other.weight"])
    #expect(try edited.tensors["other.weight"]?.floatValues() == [3, 4])
  }

  /// Codes without their scales would mean other numbers.
  @Test func scaledCodesAreCastAsTheirWeight() throws {
    let folder = try PackageFolder.fixture("logical/fp8/model.safetensors")
    let stored = try FormatRegistry.standard.open(folder)
    let assembled = stored.assembled()
    let group = try #require(assembled.groups.first { $0.isAssembled })
    let (edited, changes) = try stored.edited(
      by: ArchiveEdits(casts: [.init(group.name, to: .float32)]))
    for part in group.parts where part != group.name { #expect(edited.tensors[part] == nil) }
    #expect(
      try edited.tensors[group.name]?.floatValues()
        == assembled.tensors[group.name]?.floatValues())
    #expect(try changes.castLosses().allSatisfy { $0.roundedCount == 0 })
  }

  // MARK: Names

  @Test func dropsThenRenamesThenCasts() throws {
    let (edited, changes) = try archive("module.a.w", "module.b.w", "module.b.m").edited(
      by: ArchiveEdits(
        renames: [replacement("^module\\.", ""), replacement("^([ab])\\.", "layer_$1.")],
        drops: [NameGlob("module.*.m")], casts: [.init("layer_b.*", to: .float16)]))
    #expect(Array(edited.tensors.keys) == ["layer_a.w", "layer_b.w"])
    #expect(edited.tensors.values.map(\.elementType) == [.float32, .float16])
    #expect(changes.dropped == ["module.b.m"])
    #expect(changes.renamed.map(\.to) == ["layer_a.w", "layer_b.w"])
  }

  @Test func collisionNamesBothSources() throws {
    let archive = try archive("a.w", "b.w")
    #expect(throws: ModelError.malformed("'a.w' and 'b.w' both become 'w'")) {
      try archive.edited(by: ArchiveEdits(renames: [replacement("^[ab]\\.", "")]))
    }
  }

  @Test func patternsThatMatchNothingAreErrors() throws {
    let archive = try archive("a.w")
    for edits in [
      ArchiveEdits(renames: [try replacement("x", "y")]),
      ArchiveEdits(drops: [try NameGlob("x*")]),
      ArchiveEdits(casts: [try .init("x*", to: .float16)]),
    ] {
      let error = #expect(throws: ModelError.self) { try archive.edited(by: edits) }
      let text = "\(try #require(error))"
      #expect(text.contains("expected a tensor name that 'x"))
    }
    #expect(throws: ModelError.self) {
      try archive.edited(by: ArchiveEdits(drops: [NameGlob("*")]))
    }
  }

  /// A name that leaves its dictionary moves to the outermost one.
  @Test func nestingFollowsNames() throws {
    var archive = try archive("params.a", "params.b", "optimizer.0")
    typealias Entry = ArchiveStructure.Entry
    archive.structure = .dictionary(
      [
        Entry(
          key: .text("params"),
          value: .dictionary(
            [
              Entry(key: .text("a"), value: .leaf("params.a")),
              Entry(key: .text("b"), value: .leaf("params.b")),
            ], isOrdered: true)),
        Entry(key: .text("optimizer"), value: .list([.leaf("optimizer.0")])),
      ], isOrdered: false)
    let (edited, _) = try archive.edited(
      by: ArchiveEdits(
        renames: [replacement("a$", "c"), replacement("^params\\.b", "ema.b")],
        drops: [NameGlob("optimizer.*")]))
    let inner = ArchiveStructure.dictionary(
      [Entry(key: .text("c"), value: .leaf("params.c"))], isOrdered: true)
    let expected = ArchiveStructure.dictionary(
      [
        Entry(key: .text("params"), value: inner),
        Entry(key: .text("ema.b"), value: .leaf("ema.b")),
      ], isOrdered: false)
    #expect(edited.structure == expected)
    // Dropping one item of a list would rename the others.
    archive.tensors["optimizer.1"] = archive.tensors["optimizer.0"]
    archive.structure = .dictionary(
      [
        Entry(
          key: .text("optimizer"), value: .list([.leaf("optimizer.0"), .leaf("optimizer.1")])),
        Entry(key: .text("params.a"), value: .leaf("params.a")),
        Entry(key: .text("params.b"), value: .leaf("params.b")),
      ], isOrdered: false)
    #expect(throws: ModelError.self) {
      try archive.edited(by: ArchiveEdits(drops: [NameGlob("optimizer.0")]))
    }
  }

  /// Every writer keeps what edits make, if it has the types of the casts.
  @Test(
    arguments: FormatSubject.all.filter {
      !$0.isSingleTensor && Set([.bfloat16, .float8E4M3FN]).isSubset(of: $0.elementTypes)
    })
  func everyFormatKeepsEditedArchives(_ subject: FormatSubject) throws {
    let edits = ArchiveEdits(
      renames: [try replacement("^a", "x")], drops: [try NameGlob("c.*")],
      casts: [try .init("x.*", to: .bfloat16), try .init("b.*", to: .float8E4M3FN)])
    let (edited, changes) = try archive("a.w", "b.w", "c.w").edited(by: edits)
    try withTemporaryFolder { folder in
      let path = folder.appending("out")
      try FormatRegistry.standard.write(edited, as: subject.format, to: path)
      let again = try FormatRegistry.standard.open(path)
        .interpretingRawBytes(as: [.bfloat16, .float8E4M3FN])
      #expect(Set(again.tensors.keys) == ["x.w", "b.w"])
      #expect(again.tensors["x.w"]?.elementType == .bfloat16)
      #expect(try again.tensors["x.w"]?.floatValues() == [0, -1.5])
      #expect(again.tensors["b.w"]?.elementType == .float8E4M3FN)
      #expect(try again.tensors["b.w"]?.floatValues() == [1, -1.5])
      #expect(try changes.castLosses().map(\.elementCount) == [2, 2])
    }
  }

  @Test func editsComeBackFromJSON() throws {
    let edits = ArchiveEdits(
      renames: [try replacement("^a", "x$1")], drops: [try NameGlob("c.*")],
      casts: [try .init("x.*", to: .bfloat16)])
    var members = try JSONObjectReader(
      JSONDocument.parse(SharedBytes(Array(edits.json.serialized().utf8))))
    #expect(try ArchiveEdits(parsing: &members) == edits)
    for text in [
      #"{"casts": [{"pattern": "*", "elementType": "int8"}]}"#, #"{"other": 1}"#,
      #"{"renames": [{"pattern": "(", "replacement": ""}]}"#, #"{"drops": [1]}"#,
    ] {
      var members = try JSONObjectReader(JSONDocument.parse(SharedBytes(Array(text.utf8))))
      #expect(throws: ModelError.self) { try ArchiveEdits(parsing: &members) }
    }
  }
}
