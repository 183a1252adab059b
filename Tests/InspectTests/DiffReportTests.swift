import Formats
import Testing

@testable import Inspect
@testable import Storage

@Suite struct DiffReportTests {
  private func diff(
    _ a: TensorArchive, _ b: TensorArchive,
    _ change: (inout DiffReport.Options) throws -> Void = { _ in }
  ) throws -> DiffReport {
    var options = DiffReport.Options()
    options.threads = 2
    try change(&options)
    return try DiffReport(a, b, fileA: "a.pth", fileB: "b.npz", options: options)
  }

  @Test func archiveEqualsItself() throws {
    let report = try diff(.varied(), .varied())
    #expect(report.isSame)
    #expect(report.same == Array(try TensorArchive.varied().tensors.keys))
    #expect(report.changed.isEmpty && report.renamed.isEmpty)
  }

  @Test func comparingNothingIsAnError() throws {
    #expect(
      throws: ModelError.mismatch(expected: "a tensor that is not ignored", found: "none")
    ) { try diff(.varied(), .varied()) { $0.ignored = [try NameGlob("*")] } }
    #expect(try diff(TensorArchive(), TensorArchive()).isSame)
  }

  @Test func changedNumbersAreMeasured() throws {
    let report = try diff(
      TensorArchive(["w": .float32([4], [1, 2, 0, -4])]),
      TensorArchive(["w": .float32([4], [1, 2.5, 0, -3])]))
    #expect(!report.isSame)
    let change = try #require(report.changed.first)
    #expect(change.kind == .values)
    let numbers = try #require(change.numbers)
    #expect(numbers.elementCount == 4)
    #expect(numbers.changedElementCount == 2)
    #expect(numbers.changedShare == 0.5)
    #expect(numbers.maximumAbsolute == 1)
    #expect(numbers.maximumRelative == 0.25)
    let rootMeanSquare = (1.25 / 4).squareRoot()
    #expect(abs(numbers.rootMeanSquare - rootMeanSquare) < 1e-15)
    // 10 log10(21 / 1.25)
    #expect(abs(numbers.signalToNoise - 12.253092817258629) < 1e-12)
    let (found, cosine) = (try #require(numbers.cosine), 18 / (21 * 16.25).squareRoot())
    #expect(abs(found - cosine) < 1e-15)
  }

  @Test func equalNumbersOfOtherTypeAreTypeChange() throws {
    let a = TensorArchive(["w": try .float32([2], [1, 2])])
    let b = TensorArchive(["w": try .of(.float16, [2], [1, 2] as [Float16])])
    let report = try diff(a, b)
    #expect(!report.isSame)
    let change = try #require(report.changed.first)
    #expect(change.kind == .elementType)
    #expect(change.a.elementType == "float32")
    #expect(change.b.elementType == "float16")
    #expect(change.numbers?.changedElementCount == 0)
    #expect(change.numbers?.signalToNoise == .infinity)
    #expect(try diff(a, b) { $0.ignoresElementTypes = true }.isSame)
  }

  @Test func roundingToAnotherTypeIsMeasured() throws {
    let a = TensorArchive(["w": try .float32([2], [1, 0.1])])
    let b = TensorArchive(["w": try .of(.float16, [2], [1, 0.1] as [Float16])])
    let change = try #require(try diff(a, b).changed.first)
    #expect(change.numbers?.changedElementCount == 1)
    #expect(try diff(a, b) { $0.ignoresElementTypes = true }.changed.first?.kind == .values)
    let tolerant = try diff(a, b) {
      $0.ignoresElementTypes = true
      $0.tolerance = 1e-3
    }
    #expect(tolerant.isSame)
  }

  @Test func toleranceIsInclusive() throws {
    let a = TensorArchive(["w": try .float32([1], [1])])
    let b = TensorArchive(["w": try .float32([1], [1.5])])
    #expect(try diff(a, b) { $0.tolerance = 0.5 }.isSame)
    #expect(try !diff(a, b) { $0.tolerance = 0.499 }.isSame)
  }

  @Test func nanEqualsNaNAndZerosOfEitherSignAreEqual() throws {
    let report = try diff(
      TensorArchive(["w": .of(.float32, [3], [0x7FC0_0000, 0, 0x7F80_0000] as [UInt32])]),
      TensorArchive([
        "w": .of(.float32, [3], [0x7FC0_0001, 0x8000_0000, 0x7F80_0000] as [UInt32])
      ]))
    #expect(report.isSame)
  }

  @Test func nanOnOneSideIsDifference() throws {
    let report = try diff(
      TensorArchive(["w": .float32([4], [.nan, 1, .infinity, 2])]),
      TensorArchive(["w": .float32([4], [1, .nan, -.infinity, 2])]))
    let change = try #require(report.changed.first)
    #expect(change.numbers?.changedElementCount == 3)
    #expect(change.numbers?.nonFiniteDifferenceCount == 3)
    #expect(change.numbers?.maximumAbsolute == 0)
    #expect(
      change.note == "differences with NaN or infinity, left out of the measures: 3")
  }

  @Test func largeIntegersDifferByOne() throws {
    let report = try diff(
      TensorArchive(["i": .of(.int64, [2], [1 << 60, -5] as [Int64])]),
      TensorArchive(["i": .of(.int64, [2], [(1 << 60) + 1, -5] as [Int64])]))
    #expect(report.changed.first?.numbers?.changedElementCount == 1)
    #expect(report.changed.first?.numbers?.maximumAbsolute == 1)
  }

  @Test func unsignedAndSignedIntegersAreComparedExactly() throws {
    let report = try diff(
      TensorArchive(["i": .of(.uint64, [1], [UInt64.max])]),
      TensorArchive(["i": .of(.int64, [1], [-1 as Int64])]))
    #expect(report.changed.first?.numbers?.maximumAbsolute == 0x1p64)
  }

  @Test func tensorsOfDifferentShapesAreNotCompared() throws {
    let report = try diff(
      TensorArchive(["w": .float32([2, 3], [1, 2, 3, 4, 5, 6])]),
      TensorArchive(["w": .float32([3, 2], [1, 2, 3, 4, 5, 6])]))
    #expect(report.changed.map(\.kind) == [.shape])
    #expect(report.changed.first?.a.shape == [2, 3])
    #expect(report.changed.first?.b.shape == [3, 2])
    #expect(report.changed.first?.numbers == nil)
  }

  @Test func unmatchedTensorsAreListedBySide() throws {
    let report = try diff(
      TensorArchive(["both": .float32([1], [1]), "old": .float32([2], [1, 2])]),
      TensorArchive(["new": .float32([2], [1, 3]), "both": .float32([1], [1])]))
    #expect(!report.isSame)
    #expect(report.onlyInA == [UnmatchedTensor(name: "old", elementType: "float32", shape: [2])])
    #expect(report.onlyInB == [UnmatchedTensor(name: "new", elementType: "float32", shape: [2])])
    #expect(report.same == ["both"])
  }

  @Test func renamedTensorsAreFoundByContent() throws {
    let report = try diff(
      TensorArchive([
        "x.weight": .float32([2], [1, 2]), "x.copy": .float32([2], [1, 2]),
        "y": .float32([2], [3, 4]), "gone": .float32([2], [9, 9]),
      ]),
      TensorArchive([
        "z.y": .float32([2], [3, 4]), "z.weight": .float32([2], [1, 2]),
        "reshaped": .float32([1, 2], [9, 9]),
      ]))
    #expect(report.renamed.map(\.nameA) == ["x.weight", "y"])
    #expect(report.renamed.map(\.nameB) == ["z.weight", "z.y"])
    #expect(report.onlyInA.map(\.name) == ["x.copy", "gone"])
    #expect(report.onlyInB.map(\.name) == ["reshaped"])
    #expect(!report.isSame)
  }

  @Test func complexNumbersAreComparedByParts() throws {
    let report = try diff(
      TensorArchive(["c": .of(.complex64, [1], [1, 2] as [Float])]),
      TensorArchive(["c": .of(.complex64, [1], [1, 4] as [Float])]))
    let change = try #require(report.changed.first)
    #expect(change.numbers?.elementCount == 2)
    #expect(change.numbers?.maximumAbsolute == 2)
    #expect(change.note == "real and imaginary parts are compared as numbers")
  }

  @Test func uninterpretedBitsAreComparedByBytes() throws {
    let a = try Tensor.of(.bits8, [3], [1, 2, 3] as [UInt8])
    let b = try Tensor.of(.bits8, [3], [1, 2, 4] as [UInt8])
    let c = try Tensor.of(.uint8, [3], [1, 2, 3] as [UInt8])
    #expect(
      try diff(TensorArchive(["w": a]), TensorArchive(["w": b])).changed.first?.note
        == "compared by bytes: 1 of 3 differ")
    #expect(
      try diff(TensorArchive(["w": a]), TensorArchive(["w": c])).changed.first?.note
        == "bits8 and uint8 cannot be compared as numbers")
  }

  /// The tensors are longer than a piece and differ in the last element; 4-bit elements end in a
  /// piece of their own.
  @Test(arguments: [200_000, 65_536, 65_538])
  func piecesCoverWholeTensor(_ count: Int) throws {
    let shape = try #require(Shape([count]))
    var bytes = [UInt8](repeating: 0x21, count: count / 2)
    let a = try Tensor.of(.float4E2M1, shape, bytes)
    bytes[count / 2 - 1] = 0x71
    let b = try Tensor.of(.float4E2M1, shape, bytes)
    let numbers = try #require(
      try diff(TensorArchive(["w": a]), TensorArchive(["w": b])).changed.first?.numbers)
    #expect(numbers.elementCount == count)
    #expect(numbers.changedElementCount == 1)
    // Code 7 stands for 6 and code 2 for 1.
    #expect(numbers.maximumAbsolute == 5)
  }

  @Test(arguments: [1e-200, 1.0, 1e200])
  func measuresNeitherOverflowNorUnderflow(_ scale: Double) throws {
    let numbers = try #require(
      try diff(
        TensorArchive(["w": .of(.float64, [2], [3 * scale, 4 * scale])]),
        TensorArchive(["w": .of(.float64, [2], [3 * scale, 5 * scale])])
      ).changed.first?.numbers)
    #expect(abs(numbers.rootMeanSquare / scale - 0.5.squareRoot()) < 1e-12)
    #expect(abs(numbers.signalToNoise - 13.979400086720377) < 1e-9)
    #expect((numbers.cosine == nil) == (scale != 1))
  }

  @Test func cosineIsDefinedForZeros() throws {
    func cosine(_ a: [Float], _ b: [Float16]) throws -> Double? {
      try diff(
        TensorArchive(["w": .float32([2], a)]), TensorArchive(["w": .of(.float16, [2], b)])
      ).changed.first?.numbers?.cosine
    }
    #expect(try cosine([0, 0], [0, 0]) == 1)
    #expect(try cosine([0, 0], [0, 1]) == 0)
    #expect(try cosine([0, 2], [0, -1]) == -1)
  }

  @Test func valuesAndMetadataAreCompared() throws {
    let a = TensorArchive(
      values: ["epoch": .integer(5), "loss": .real(.nan), "key": .bytes([1, 2])],
      metadata: ["format": "pt"])
    let b = TensorArchive(
      values: [
        "epoch": .integer(6), "loss": .real(.nan), "name": .text("x"), "key": .bytes([1, 3]),
      ])
    let report = try diff(a, b)
    #expect(
      report.values == [
        ValueDifference(name: "epoch", a: "5", b: "6"),
        ValueDifference(name: "key", a: "0x0102", b: "0x0103"),
        ValueDifference(name: "name", a: nil, b: "'x'"),
      ])
    #expect(report.metadata == [ValueDifference(name: "format", a: "pt", b: nil)])
    #expect(!report.isSame)
    #expect(try diff(TensorArchive(metadata: ["x": "1"]), TensorArchive()).isSame)
  }

  @Test func globsSelectTensorsOfEitherSide() throws {
    let a = TensorArchive(["w": try .float32([1], [1]), "x": try .float32([1], [1])])
    let b = TensorArchive(["w": try .float32([1], [2]), "y": try .float32([1], [7])])
    #expect(try diff(a, b) { $0.tensors = [try NameGlob("w")] }.changed.map(\.name) == ["w"])
    #expect(try diff(a, b) { $0.tensors = [try NameGlob("y")] }.onlyInB.map(\.name) == ["y"])
    #expect(
      throws: ModelError.mismatch(expected: "a tensor name that matches 'z'", found: "none")
    ) { try diff(a, b) { $0.tensors = [try NameGlob("z")] } }
  }

  @Test func unreadableTensorIsNamed() throws {
    let broken = try Tensor(elementType: .float32, shape: [1]) {
      throw ModelError.malformed("the disk is gone")
    }
    #expect(throws: ModelError.malformed("the disk is gone", tensor: "w")) {
      try diff(TensorArchive(["w": broken]), TensorArchive(["w": .float32([1], [1])]))
    }
  }
}
