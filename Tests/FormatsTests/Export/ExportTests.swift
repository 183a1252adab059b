import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Formats
@testable import Storage

/// Exports of a sample written by the Python tests' writer, compared with files that mlx, onnx and
/// gguf made of the same codes, and with errors measured on what those packages read
/// (`generate_exports.py`).
@Suite struct ExportTests {
  static let options = ExportOptions(padsRows: true, dequantizes: true)

  private struct Expected: Decodable {
    let form: String
    let largestError: Double
    let paddedColumns: Int?
  }

  private func sample() throws -> PackedModel {
    try PackedModel(parsing: InputFile(path: PackageFolder.fixture("export/sample.condi")))
  }

  private func export(
    _ target: ExportTarget, to path: String, options: ExportOptions = options
  ) throws -> ExportOutcome {
    try ModelExport(sample(), to: target, options: options).write(to: path)
  }

  /// Threads wait until their tensors fit into memory together.
  @Test(arguments: ExportTarget.allCases)
  func memoryStaysWithinByteLimit(_ target: ExportTarget) throws {
    let model = try sample()
    let largest = try #require(
      model.header.entries.filter { $0.affineBitWidth != nil }.map(\.shape.elementCount).max())
    let limit = MemoryBudget.matrixByteCount(elementCount: largest)
    let budget = MemoryBudget(limit: limit)
    let export = ModelExport(model, to: target, options: Self.options, budget: budget)
    let outcome = try export.planned(runningTasks: allAtOnce)
    #expect(budget.peakByteCount == limit)
    let expected = try ModelExport(model, to: target, options: Self.options).planned()
    #expect(outcome.tensors == expected.tensors)
  }

  @Test(arguments: ExportTarget.allCases)
  func existingOutputIsRefusedBeforeWork(_ target: ExportTarget) throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("out")
      _ = try export(target, to: path)
      let error = #expect(throws: ModelError.self) {
        try ModelExport(sample(), to: target, options: Self.options).write(
          to: path, runningTasks: { _, _ in Issue.record("it works before it looks") })
      }
      #expect(error?.problem == .outputExists)
    }
  }

  @Test(arguments: [ExportTarget.onnx, .onnxMatMulNBits, .gguf])
  func filesEqualThoseOfOriginalPackage(_ target: ExportTarget) throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("sample.\(target.rawValue)")
      let outcome = try export(target, to: path)
      let golden = try PackageFolder.fixture("export/sample.\(target.rawValue)")
      let bytes = try Data(contentsOf: URL(filePath: path))
      let expected = try Data(contentsOf: URL(filePath: golden))
      #expect(bytes == expected)
      #expect(outcome.files == [.init(path: path, byteCount: bytes.count)])
    }
  }

  @Test func mlxTensorsEqualThoseOfMLX() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("model")
      let outcome = try export(.mlx, to: path)
      #expect(
        outcome.files.map(\.path) == ["\(path)/model.safetensors", "\(path)/config.json"])
      #expect(try folder.names() == ["model"])
      let registry = FormatRegistry.standard
      let archive = try registry.open("\(path)/model.safetensors")
      let golden = try registry.open(PackageFolder.fixture("export/mlx/model.safetensors"))
      #expect(Set(archive.tensors.keys) == Set(golden.tensors.keys))
      for (name, tensor) in golden.tensors {
        let written = try #require(archive.tensors[name])
        #expect(written.elementType == tensor.elementType, "\(name)")
        #expect(written.shape == tensor.shape, "\(name)")
        #expect(try written.bytes().elementsEqual(tensor.bytes()), "\(name)")
      }
      #expect(archive.metadata["format"] == "mlx")
      #expect(archive.values == ["epoch": .integer(3)])
      var config = try JSONObjectReader(ModelImport.configuration(at: "\(path)/config.json"))
      var expected = try JSONObjectReader(
        ModelImport.configuration(at: PackageFolder.fixture("export/mlx/config.json")))
      #expect(config.take("quantization") == expected.take("quantization"))
    }
  }

  @Test(arguments: [ExportTarget.mlx, .onnx, .onnxMatMulNBits, .gguf])
  func reportedErrorsMatchOriginalPackage(_ target: ExportTarget) throws {
    let text = try Data(
      contentsOf: URL(filePath: PackageFolder.fixture("export/expected.json")))
    let expected = try JSONDecoder().decode([String: [String: Expected]].self, from: text)
    let ofTarget = try #require(expected[target.rawValue])
    try withTemporaryFolder { folder in
      let outcome = try export(target, to: folder.appending("out"))
      let quantized = outcome.tensors.filter { $0.bitWidth != nil }
      #expect(Set(quantized.map(\.name)) == Set(ofTarget.keys))
      for tensor in quantized {
        let expected = try #require(ofTarget[tensor.name])
        #expect(tensor.form == expected.form, "\(tensor.name)")
        #expect(tensor.largestError == expected.largestError, "\(tensor.name)")
        #expect(tensor.paddedColumns == expected.paddedColumns, "\(tensor.name)")
        #expect((tensor.fidelity == .exact) == (expected.largestError == 0), "\(tensor.name)")
      }
    }
  }

  /// Rounded zero points move values by at most half a scale.
  @Test func zeroPointsAndInputsAreRoundedOnRequest() throws {
    let options = ExportOptions(dequantizes: true, roundsZeroPoints: true, roundsInputs: true)
    let outcome = try ModelExport(sample(), to: .onnxMatMulNBits, options: options).planned()
    let forms = Dictionary(uniqueKeysWithValues: outcome.tensors.map { ($0.name, $0) })
    let model = try sample()
    for name in ["dyadic.weight", "groups.weight", "eight.weight"] {
      let tensor = try #require(forms[name])
      let quantized = try #require(try model.quantizedTensor(named: name))
      #expect(tensor.form.hasSuffix(", integer zeros, int8 inputs"), "\(name): \(tensor.form)")
      #expect(
        tensor.largestError <= Double(try #require(quantized.scale.max())) * 0.501, "\(name)")
    }
    // Some of its lower bounds are positive.
    let five = try #require(forms["five.weight"])
    #expect(
      five.changes == [
        "dequantized: MatMulNBits takes 5-bit codes only with integer zero points from 0 to 255"
      ])
    let fine = try #require(forms["fine.weight"])
    #expect(fine.form == "MatMulNBits, 2 bits, blocks of 16")
    #expect(
      fine.changes == [
        "zero points are kept in float32, as not all round to one from 0 to 3 in blocks that fast "
          + "kernels take"
      ])
  }

  @Test func activationScalingIsKept() throws {
    var members = try JSONObjectReader(ExportDescription(PackedSamples.header()).json)
    let activations = try #require(try members.array("activations"))
    #expect(
      activations.map { activation -> JSONValue? in
        guard case .object(let members) = activation else { return nil }
        return members["scaling"]
      } == [nil, .string("row")])
  }

  @Test func codesAndParametersAreKeptExactly() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("codes.safetensors")
      let outcome = try export(.safetensors, to: path, options: ExportOptions())
      #expect(outcome.tensors.allSatisfy { $0.fidelity == .exact })
      let archive = try FormatRegistry.standard.open(path)
      let model = try sample()
      for name in model.header.names.keys {
        guard let quantized = try model.quantizedTensor(named: name) else {
          let kept = try #require(try model.tensor(named: name))
          #expect(
            try #require(archive.tensors[name]).bytes().elementsEqual(kept.bytes()), "\(name)")
          continue
        }
        let codes = try #require(archive.tensors["\(name).codes"])
        #expect(codes.shape == quantized.shape)
        #expect(try codes.bytes().array == quantized.unpackedCodes(), "\(name)")
        #expect(
          try #require(archive.tensors["\(name).lower"]).floatValues() == quantized.lower)
        #expect(
          try #require(archive.tensors["\(name).scale"]).floatValues() == quantized.scale)
      }
    }
  }

  /// The bytes are the same for any task order.
  @Test func bytesDoNotDependOnTaskOrder() throws {
    try withTemporaryFolder { folder in
      let backwards: TaskRunner = { count, task in
        for index in (0..<count).reversed() { try task(index) }
      }
      let (first, second) = (folder.appending("a.gguf"), folder.appending("b.gguf"))
      let export = ModelExport(try sample(), to: .gguf, options: Self.options)
      let outcomes = try (
        export.write(to: first).tensors,
        export.write(to: second, runningTasks: backwards).tensors
      )
      #expect(outcomes.0 == outcomes.1)
      #expect(
        try Data(contentsOf: URL(filePath: first)) == Data(contentsOf: URL(filePath: second)))
    }
  }

  @Test(arguments: [
    (
      ExportTarget.mlx, false,
      "tensor 'qkv.weight': rows of 60 elements are not whole groups of 32 in MLX"
    ),
    (
      .gguf, false,
      "tensor 'qkv.weight': rows of 60 elements are not whole blocks of 32 in GGUF"
    ),
    (
      .mlx, true,
      "tensor 'ragged.weight': bounds per group:8 cannot be expressed in MLX's groups of 32, 64 or 128"
    ),
    (
      .onnxMatMulNBits, false,
      "tensor 'five.weight': MatMulNBits takes 5-bit codes only with integer zero points"
    ),
    (
      .gguf, true,
      "tensor 'ragged.weight': bounds per group:8 end inside the blocks of TQ2_0, Q2_0, Q2_K, Q4_0, "
        + "Q4_1"
    ),
  ])
  func unrepresentableTensorsAreRefused(target: ExportTarget, pads: Bool, message: String) throws {
    try withTemporaryFolder { folder in
      let input = try PackageFolder.fixture("export/sample.condi")
      let error = #expect(throws: ModelError.self) {
        try export(
          target, to: folder.appending("out"), options: ExportOptions(padsRows: pads))
      }
      #expect(error?.description == "\(input): \(message)")
      #expect(try folder.names().isEmpty)
    }
  }

  @Test func existingOutputsAreNotReplaced() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("model")
      _ = try export(.mlx, to: path)
      try Data("mine".utf8).write(to: URL(filePath: "\(path)/config.json"))
      try FileManager.default.removeItem(atPath: "\(path)/model.safetensors")
      #expect(throws: ModelError(.outputExists, path: "\(path)/config.json")) {
        try export(.mlx, to: path)
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: path) == ["config.json"])
      let file = folder.appending("file")
      try Data().write(to: URL(filePath: file))
      #expect(
        throws: ModelError(.system(operation: "write into it", code: ENOTDIR), path: file)
      ) { try export(.mlx, to: file) }
    }
  }
}

/// Runs all tasks concurrently.
func allAtOnce(_ count: Int, _ task: @escaping @Sendable (Int) throws -> Void) throws {
  let failure = Mutex<(any Error)?>(nil)
  DispatchQueue.concurrentPerform(iterations: count) { index in
    do { try task(index) } catch { failure.withLock { $0 = $0 ?? error } }
  }
  if let error = failure.withLock({ $0 }) { throw error }
}
