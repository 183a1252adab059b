import Foundation
import OrderedCollections
import TestSupport
import Testing

@testable import Formats
@testable import Storage

/// Checkpoints quantized by mlx, and GPTQ layouts from a NumPy oracle (`generate_exports.py`).
@Suite struct ImportTests {
  private func packed(
    _ folder: String, _ source: ImportSource,
    _ body: (PackedModel, ExportOutcome) throws -> Void
  ) throws {
    let path = try PackageFolder.fixture("\(folder)/model.safetensors")
    try withTemporaryFolder { temporary in
      let output = temporary.appending("model.condi")
      let config = try ModelImport.configuration(beside: path, of: source).json
      let outcome = try ModelImport(
        FormatRegistry.standard.open(path), from: source, config: config
      ).write(to: output)
      let model = try PackedModel(parsing: InputFile(path: output))
      #expect(try model.verifyRecords().isEmpty)
      try body(model, outcome)
    }
  }

  /// Threads wait until their matrices fit into memory together.
  @Test(arguments: [("mlx", ImportSource.mlx), ("gptq-4", .gptq)])
  func memoryStaysWithinByteLimit(_ folder: String, _ source: ImportSource) throws {
    let path = try PackageFolder.fixture("import/\(folder)/model.safetensors")
    let archive = try FormatRegistry.standard.open(path)
    let config = try ModelImport.configuration(beside: path, of: source).json
    try withTemporaryFolder { temporary in
      let budget = MemoryBudget(limit: 1)
      let (bounded, free) = (temporary.appending("bounded"), temporary.appending("free"))
      let outcome = try ModelImport(archive, from: source, config: config, budget: budget)
        .write(to: bounded, runningTasks: allAtOnce)
      // Without room for two matrices, the peak is the largest one alone.
      let largest = try #require(
        outcome.tensors.filter { $0.bitWidth != nil }.map { $0.shape.reduce(1, *) }.max())
      #expect(budget.peakByteCount == MemoryBudget.matrixByteCount(elementCount: largest))
      _ = try ModelImport(archive, from: source, config: config).write(to: free)
      #expect(
        try Data(contentsOf: URL(filePath: bounded)) == Data(contentsOf: URL(filePath: free)))
    }
  }

  @Test func existingOutputIsRefusedBeforeWork() throws {
    let path = try PackageFolder.fixture("import/mlx/model.safetensors")
    let model = try ModelImport(
      FormatRegistry.standard.open(path), from: .mlx,
      config: ModelImport.configuration(beside: path, of: .mlx).json)
    try withTemporaryFolder { folder in
      let output = folder.appending("out")
      try Data().write(to: URL(filePath: output))
      let error = #expect(throws: ModelError.self) {
        try model.write(
          to: output, runningTasks: { _, _ in Issue.record("it works before it looks") })
      }
      #expect(error?.problem == .outputExists)
    }
  }

  @Test func mlxCodesDecodeAsInMLX() throws {
    let values = try FormatRegistry.standard.open(
      PackageFolder.fixture("import/mlx-values.safetensors"))
    try packed("import/mlx", .mlx) { model, outcome in
      #expect(model.header.names.count == 7)
      var negative = 0
      for (name, expected) in values.tensors {
        let record = try #require(outcome.tensors.first { $0.name == name })
        let tensor = try #require(try model.tensor(named: name))
        let found = try tensor.floatValues()
        let difference = try largestDifference(found, expected.floatValues())
        #expect(record.largestError == difference, "\(name)")
        // With 16-bit scales every sum is exact in Float32.
        if tensor.elementType != .float32 { #expect(difference == 0, "\(name)") }
        #expect(difference < 1e-7, "\(name)")
        let module = name.dropLast("weight".count)
        let scales = try #require(
          try FormatRegistry.standard.open(
            PackageFolder.fixture("import/mlx/model.safetensors")
          ).tensors["\(module)scales"])
        negative += try scales.floatValues().filter { $0 < 0 }.count
      }
      // Negative scales, which need mirrored codes, do occur.
      #expect(negative > 0)
    }
  }

  @Test(arguments: ["gptq", "gptq_v2"], [2, 3, 4, 8])
  func gptqCodesDecodeExactly(_ version: String, _ bits: Int) throws {
    let values = try FormatRegistry.standard.open(
      PackageFolder.fixture("import/\(version)-\(bits)/values.safetensors"))
    try packed("import/\(version)-\(bits)", .gptq) { model, outcome in
      #expect(Array(model.header.names.keys).sorted() == ["fc.bias", "fc.weight"])
      #expect(outcome.tensors.allSatisfy { $0.fidelity == .exact })
      let tensor = try #require(try model.tensor(named: "fc.weight"))
      let expected = try #require(values.tensors["fc.weight"])
      #expect(tensor.shape == expected.shape)
      #expect(try tensor.bytes().elementsEqual(expected.bytes()))
      #expect(try model.quantizedTensor(named: "fc.weight")?.bitWidth == bits)
    }
  }

  @Test func awqCodesDecodeExactly() throws {
    let values = try FormatRegistry.standard.open(
      PackageFolder.fixture("logical/awq/values.safetensors"))
    try packed("logical/awq", .awq) { model, outcome in
      #expect(Array(model.header.names.keys) == ["fc.weight"])
      #expect(outcome.tensors.allSatisfy { $0.fidelity == .exact })
      let expected = try #require(values.tensors["fc.weight"])
      #expect(try model.tensor(named: "fc.weight")?.firstDifference(from: expected) == nil)
      let quantized = try #require(try model.quantizedTensor(named: "fc.weight"))
      #expect(quantized.bitWidth == 4)
      #expect(quantized.layout.granularity == .group(32))
    }
  }

  /// Codes of compressed-tensors itself, with and without zero points.
  @Test(arguments: [2, 3, 4, 8])
  func compressedTensorsCodesDecodeAsInCompressedTensors(_ bits: Int) throws {
    let folder = "import/compressed-\(bits)"
    let values = try FormatRegistry.standard.open(
      PackageFolder.fixture("\(folder)/values.safetensors"))
    try packed(folder, .compressedTensors) { model, outcome in
      #expect(Set(model.header.names.keys) == Set(values.tensors.keys))
      for (name, expected) in values.tensors {
        let tensor = try #require(try model.tensor(named: name))
        #expect(tensor.elementType == expected.elementType)
        let difference = try largestDifference(tensor.floatValues(), expected.floatValues())
        // With 16-bit scales every product is exact in Float32.
        #expect(difference <= (tensor.elementType == .float32 ? 1e-6 : 0), "\(name)")
        #expect(try model.quantizedTensor(named: name)?.bitWidth == bits)
      }
      #expect(
        outcome.tensors.filter { $0.fidelity == .lossy }.allSatisfy { $0.elementType == "float32" })
    }
    // Reading without 'import' gives the same weights.
    let path = try PackageFolder.fixture("\(folder)/model.safetensors")
    let assembled = try FormatRegistry.standard.open(path).assembled()
    for (name, expected) in values.tensors {
      let found = try #require(assembled.tensors[name])
      #expect(try found.firstDifference(from: expected) == nil, "\(name)")
    }
  }

  @Test func compressedTensorsNeedWordsForTheirCodes() throws {
    let archive = try FormatRegistry.standard.open(
      PackageFolder.fixture("import/compressed-4/model.safetensors"))
    let config = #"{"config_groups": {"a": {"weights": {"num_bits": 5, "group_size": 32}}}}"#
    let error = #expect(throws: ModelError.self) {
      try ModelImport(
        archive, from: .compressedTensors,
        config: JSONDocument.parse(SharedBytes(config.utf8)))
    }
    #expect(
      error?.description.hasSuffix(
        "expected codes of 5 × 96 in words, found 12 words per row") ?? false)
  }

  @Test(arguments: [
    (#"{}"#, "config.bits: expected an integer, found none"),
    (
      #"{"bits": 5, "group_size": 32}"#,
      "GPTQ codes of 5 bits are not supported, only 2, 3, 4 and 8"
    ),
    (#"{"bits": 4, "group_size": 0}"#, "'group_size' is 0, not positive or -1"),
    (
      #"{"bits": 4, "group_size": 32, "checkpoint_format": "marlin"}"#,
      "the checkpoint format 'marlin' is not supported, only 'gptq' and 'gptq_v2'"
    ),
    (
      #"{"bits": 4, "group_size": 32, "dynamic": {"+:a": {"bits": 8}}}"#,
      "modules with their own settings ('dynamic') are not supported"
    ),
    (
      #"{"bits": 4, "group_size": 48}"#,
      "tensor 'fc.qweight': expected shapes of 4 bits in groups of 48, found [12, 32], qzeros [3, 4] "
        + "and scales [3, 32]"
    ),
  ])
  func badGPTQConfigurationsAreRefused(config: String, message: String) throws {
    let archive = try FormatRegistry.standard.open(
      PackageFolder.fixture("import/gptq-4/model.safetensors"))
    let error = #expect(throws: ModelError.self) {
      try ModelImport(
        archive, from: .gptq, config: JSONDocument.parse(SharedBytes(config.utf8)))
    }
    #expect(error?.description == message)
  }

  @Test(arguments: [
    (#"{}"#, "config.quantization: expected an object, found none"),
    (
      #"{"quantization": {"mode": "mxfp4", "bits": 4, "group_size": 32}}"#,
      "config.quantization has the mode 'mxfp4'; only 'affine' is supported"
    ),
    (
      #"{"quantization": {"bits": 7, "group_size": 32}}"#,
      "config.quantization has 7 bits in groups of 32, which MLX's affine mode does not support"
    ),
    (
      #"{"quantization": {"bits": 4, "group_size": 128}}"#,
      "tensor 'm3.weight': expected shapes of 4 bits in groups of 128, found [3, 12], scales [3, 2] "
        + "and biases [3, 2]"
    ),
    (
      #"{"quantization": {}}"#,
      "tensor 'm3.weight': expected bits and a group size in the configuration, found none"
    ),
  ])
  func badMLXConfigurationsAreRefused(config: String, message: String) throws {
    var archive = try FormatRegistry.standard.open(
      PackageFolder.fixture("import/mlx/model.safetensors"))
    archive.tensors = archive.tensors.filter { $0.key.hasPrefix("m3.") }
    let error = #expect(throws: ModelError.self) {
      try ModelImport(
        archive, from: .mlx, config: JSONDocument.parse(SharedBytes(config.utf8)))
    }
    #expect(error?.description == message)
  }

  @Test(arguments: [(1, "1"), (UInt64.max, "1.8446744073709552e+19")])
  func activationOrderedInputsAreRefused(group: UInt64, text: String) throws {
    let path = try PackageFolder.fixture("import/gptq-4/model.safetensors")
    var archive = try FormatRegistry.standard.open(path)
    var order = (0..<96).map { UInt64($0 / 32) }
    order[3] = group
    archive.tensors["fc.g_idx"] = try Tensor(
      elementType: .uint64, shape: [96], bytes: SharedBytes(elementsOf: order))
    let config = try ModelImport.configuration(beside: path, of: .gptq).json
    try withTemporaryFolder { folder in
      let error = #expect(throws: ModelError.self) {
        try ModelImport(archive, from: .gptq, config: config)
          .write(to: folder.appending("x.condi"))
      }
      #expect(
        error?.problem
          == .unsupported(
            "inputs are ordered by their activations (desc_act): input 3 is in group \(text), "
              + "but packed groups are contiguous"))
      #expect(error?.tensor == "fc.qweight")
      let names = try folder.names()
      #expect(names.isEmpty)
    }
  }

  @Test(arguments: ImportSource.allCases)
  func checkpointsWithoutQuantizedModulesAreRefused(_ source: ImportSource) throws {
    let config = #"{"quantization": {"bits": 4, "group_size": 32}, "bits": 4, "group_size": 32}"#
    #expect(throws: ModelError.self) {
      try ModelImport(
        TensorArchive(), from: source, config: JSONDocument.parse(SharedBytes(config.utf8)))
    }
  }
}
