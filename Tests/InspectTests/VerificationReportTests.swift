import Formats
import Foundation
import TestSupport
import Testing

@testable import Inspect
@testable import Reports
@testable import Storage

@Suite struct VerificationReportTests {
  private static func weight() throws -> Tensor {
    try .float32([2, 4], [0, 0.25, 0.5, 1, 2, -3, 0.125, 7])
  }

  /// Returns the examination of a file with one tensor at 2 bits and one that is kept.
  private func examination(
    lower: Float = 0, scale: Float = 0.5, changing change: (inout [UInt8]) -> Void = { _ in }
  ) throws -> PackedExamination {
    let weight = try Self.weight()
    let layout = try AffineLayout(shape: weight.shape, granularity: .tensor)
    let item = PackedItem<Never>(
      name: "w", role: .weight, source: weight,
      action: .quantize(
        AffineSpec(layout: layout, bitWidth: 2, parameterType: .float32), method: "test"
      ) {
        let quantized = try QuantizedTensor.encode(
          values: weight.floatValues(),
          spec: AffineSpec(layout: layout, bitWidth: 2, parameterType: .float32),
          lower: [lower], scale: [scale], elementType: .float32, shape: weight.shape)
        return (quantized, nil)
      })
    let bias = PackedItem<Never>(
      name: "b", role: .parameter, source: try .float32([2], [1, 2]), action: .keep)
    return try withTemporaryFolder { folder in
      let path = folder.appending("m.condi")
      try PackedPlan(header: PackedHeader(producer: "tests"), items: [item, bias]).file
        .write(to: path)
      var bytes = Array(try Data(contentsOf: URL(filePath: path)))
      change(&bytes)
      return try PackedExamination(InputFile(SharedBytes(bytes), path: "m.condi"))
    }
  }

  private func report(
    _ examination: PackedExamination, reference: TensorArchive? = nil,
    gates: [VerificationGate] = []
  ) throws -> VerificationReport {
    try VerificationReport(
      file: "m.condi", examination, reference: reference.map { ("ref", $0) }, gates: gates,
      threads: 2)
  }

  @Test func clippedValuesAreNotStray() throws {
    let reference = TensorArchive(["w": try Self.weight(), "b": try .float32([2], [1, 2])])
    let report = try report(examination(), reference: reference)
    #expect(report.isPassed && report.verdict == "passed")
    let layer = try #require(report.fidelity?.layers.first)
    // 2, −3 and 7 lie outside 0…1.5.
    #expect(layer.clippedShare == 3.0 / 8 && layer.isWithinStep)
  }

  @Test func strayTensorsAreNamed() throws {
    let other = TensorArchive([
      "w": try .float32([2, 4], [1.25, 0.25, 0.5, 1, 2, -3, 0.125, 7]),
      "b": try .float32([2], [1, 2]),
    ])
    let report = try report(examination(), reference: other)
    #expect(report.fidelity?.strayTensors == ["w"])
    #expect(!report.isPassed && report.verdict == "FAILED: not true to the reference")
  }

  @Test func conditionGateLimitsConditionNumber() throws {
    let whole = try examination()
    let outcome = try report(whole, gates: [.conditionNumber(maximum: 1e6)]).gates[0]
    let found = try #require(outcome.found)
    #expect(outcome.isMet && outcome.layer == "w" && found >= 1)
    let strict = try report(whole, gates: [.conditionNumber(maximum: found / 2)])
    #expect(!strict.isPassed && !strict.gates[0].isMet)
    #expect(strict.verdict.hasPrefix("FAILED: not met: condition number"))
  }

  /// A requirement that was not measured is not met, and the report gives the reason.
  @Test func unmeasuredRequirementsAreNotMet() throws {
    let packed = try packed(["b": .float32([2], [1, 2])])
    let reference = TensorArchive(["b": try .float32([2], [1, 2])])
    let found = try report(
      packed, reference: reference,
      gates: [
        .ratio(.paper, minimum: 0.5), .ratio(.parameters, minimum: 0), .ratio(.file, minimum: 0),
        .signalToQuantizationNoise(minimum: -100), .conditionNumber(maximum: 1e300),
      ])
    #expect(found.fidelity?.isTrue == true && !found.isPassed)
    #expect(found.gates.allSatisfy { !$0.isMet && $0.found == nil })
    #expect(
      found.gates.map(\.obstacle) == [
        "the file holds no quantized tensor", "the file holds no quantized tensor",
        "the file does not say how large its source was",
        "the reference has no quantized tensor of the file in the same shape",
        "the file has no weight matrix",
      ])
    #expect(
      found.verdict.hasPrefix(
        "FAILED: not met: ratio paper of at least 0.5 (the file holds no quantized tensor); "))
    #expect(try report(packed, gates: [.ratio(.tensors, minimum: 0)]).isPassed)
  }

  @Test func fileWithoutTensorsDoesNotPass() throws {
    let found = try report(packed([:]), reference: TensorArchive([:]))
    #expect(found.isWhole && !found.isPassed)
    #expect(
      found.verdict == "FAILED: the file holds no tensor, so there is nothing to verify")
  }

  /// Returns the examination of a file that keeps all of its tensors.
  private func packed(_ tensors: KeyValuePairs<String, Tensor>) throws -> PackedExamination {
    try withTemporaryFolder { folder in
      let path = folder.appending("m.condi")
      let items = tensors.map {
        PackedItem<Never>(name: $0.key, role: .parameter, source: $0.value, action: .keep)
      }
      try PackedPlan(header: PackedHeader(producer: "tests"), items: items).file.write(to: path)
      return try PackedExamination(
        InputFile(SharedBytes(try Data(contentsOf: URL(filePath: path))), path: "m.condi"))
    }
  }

  @Test func damagedHeaderIsReported() throws {
    let report = try report(
      examination { $0[$0.count - 5] ^= 1 }, gates: [.fileByteCount(maximum: 1 << 30)])
    #expect(report.summary == nil && !report.isWhole && !report.isPassed)
    #expect(report.faults.map(\.region) == [.header])
    #expect(report.verdict.hasPrefix("FAILED: damaged: the header at byte "))
    #expect(report.gates.map(\.isMet) == [false])
    for format in ReportFormat.allCases { _ = try report.rendered(as: format) }
    let json = try report.rendered(as: .json)
    #expect(try ReportJSON.decode(VerificationReport.self, from: json) == report)
  }
}
