import Formats
import Foundation
import LinearAlgebra
import TestSupport
import Testing

@testable import Storage
@testable import Transform

@Suite("WeightQuantizer")
struct WeightQuantizerTests {
  private func tensor(_ values: [Float], _ shape: Shape) throws -> Tensor {
    try Tensor(elementType: .float32, shape: shape, bytes: SharedBytes(elementsOf: values))
  }

  private func archive(seed: UInt64) throws -> TensorArchive {
    var generator = SplitMix(seed: seed)
    var archive = TensorArchive()
    for index in 0..<7 {
      let rows = 18 + 3 * index
      let values = (0..<rows * 20).map { _ in generator.nextNormal() }
      archive.tensors["layers.\(index).qkv.weight"] = try tensor(
        values, #require(Shape([rows, 20])))
      archive.tensors["layers.\(index).qkv.bias"] = try tensor(
        Array(values[..<rows]), #require(Shape([rows])))
    }
    return archive
  }

  private func quantizer(_ archive: TensorArchive, bits: Int = 3) throws -> WeightQuantizer {
    var recipe = try Recipe.named("body-linear")
    recipe.defaults.bitWidth = bits
    return WeightQuantizer(plan: try QuantizationPlan(archive, recipe: recipe))
  }

  /// Returns the outcome of every planned tensor, on several threads as in the program.
  private func outcomes(_ quantizer: WeightQuantizer, _ archive: TensorArchive, threads: Int) throws
    -> [(name: String, outcome: (tensor: QuantizedTensor, summary: QuantizationSummary))]
  {
    let names = quantizer.plan.quantizedNames
    let found = try parallelMap(count: names.count, threads: threads) { index in
      try quantizer.quantize(names[index], #require(archive.tensors[names[index]]))
    }
    return zip(names, found).map { name, outcome in
      let summary = QuantizationSummary(name: name, plan: quantizer.plan, outcome)
      return (name, (outcome.tensor, summary))
    }
  }

  /// Columns whose inputs are large count more, if inputs are known.
  @Test func jointSearchWeighsColumnsByTheirInputs() throws {
    let columns = 64
    var random = SplitMix(seed: 4)
    let energies = (0..<columns).map { $0 % 4 == 0 ? Float(25) : 0.01 }
    let inputs = (0..<2_000 * columns).map {
      random.nextNormal() * energies[$0 % columns].squareRoot()
    }
    var accumulator = SiteAccumulator(
      ActivationSite(name: "a.input", kind: .input, weightName: "a.weight", columnCount: columns))
    try inputs.withUnsafeBufferPointer { try accumulator.add($0, columns: columns) }
    let site = try accumulator.statistics()
    let values = (0..<32 * columns).map { _ in random.nextNormal() }
    var archive = TensorArchive()
    archive.tensors["a.weight"] = try tensor(values, [32, columns])
    func error(_ method: QuantizationMethod, _ layer: WeightQuantizer.Layer) throws -> Double {
      var recipe = try Recipe.named("body-linear")
      recipe.defaults = QuantizationSettings(
        bitWidth: 2, granularity: .group(32), parameterType: .scaled6)
      recipe.method = MethodSettings(method, isWeightsOnly: true)
      recipe.method.constraint = nil
      let quantizer = WeightQuantizer(plan: try QuantizationPlan(archive, recipe: recipe))
      let found = try quantizer.quantize(
        "a.weight", #require(archive.tensors["a.weight"]), of: layer)
      #expect(found.tensor.parameterType == .scaled6)
      let decoded = try found.tensor.floatValues()
      return values.indices.reduce(0) { sum, index in
        let difference = Double(values[index] - decoded[index])
        return sum + Double(energies[index % columns]) * difference * difference
      }
    }
    let plain = try error(.dobi, .init())
    #expect(try error(.dobi, .init(site: site)) < 0.8 * plain)
    #expect(try error(.best, .init(site: site)) < 0.8 * plain)
  }

  @Test(arguments: [2, 3, 8])
  func quantizationDoesNotDependOnThreads(threads: Int) throws {
    let archive = try archive(seed: 1)
    let quantizer = try quantizer(archive)
    let single = try outcomes(quantizer, archive, threads: 1)
    let several = try outcomes(quantizer, archive, threads: threads)
    #expect(single.map(\.name) == (0..<7).map { "layers.\($0).qkv.weight" })
    for ((name, outcome), (_, other)) in zip(single, several) {
      #expect(other.tensor.codes.elementsEqual(outcome.tensor.codes))
      #expect(other.tensor.parameterBytes.elementsEqual(outcome.tensor.parameterBytes))
      #expect(other.summary == outcome.summary)
      #expect(outcome.summary.name == name)
      let alone = try quantizer.quantize(name, #require(archive.tensors[name])).tensor
      #expect(alone.codes.elementsEqual(outcome.tensor.codes))
    }
  }

  @Test func eachPartHasItsOwnBounds() throws {
    let archive = try archive(seed: 2)
    let name = "layers.0.qkv.weight"
    let source = try #require(archive.tensors[name])
    let result = try quantizer(archive).quantize(name, source).tensor
    let values = try source.floatValues()
    let search = BoundSearch(method: .dobi, bitWidth: 3)
    #expect(result.layout.parts == 3)
    for part in 0..<3 {
      let bounds = search.bounds(of: Array(values[part * 120..<(part + 1) * 120]))
      #expect(result.lower[part] == bounds.lower)
      #expect(result.scale[part] == bounds.scale)
    }
  }

  @Test func planAndResultAgreeOnSizes() throws {
    let archive = try archive(seed: 3)
    let quantizer = try quantizer(archive, bits: 5)
    for (name, outcome) in try outcomes(quantizer, archive, threads: 2) {
      let planned = try #require(quantizer.plan.entries[name]?.quantization)
      #expect(outcome.tensor.codes.count == planned.codeByteCount)
      #expect(outcome.tensor.parameterBytes.count == planned.parameterByteCount)
      #expect(
        outcome.summary.payloadByteCount == quantizer.plan.entries[name]?.payloadByteCount)
    }
  }

  @Test func summaryMatchesKnownValues() throws {
    // One bit, bounds 0 and 1: errors 0, 0.25, 0, −0.5; the last value's nearest code is 2.
    let values: [Float] = [0, 0.25, 1, 1.5]
    let quantized = try QuantizedTensor.encode(
      values: values,
      spec: AffineSpec(
        layout: AffineLayout(rows: 2, columns: 2, granularity: .tensor), bitWidth: 1,
        parameterType: .float32), lower: [0], scale: [1], elementType: .float32, shape: [2, 2])
    let summary = try QuantizationSummary(
      name: "w", values: values, tensor: quantized, search: .dobi)
    #expect(summary.signalToQuantizationNoise == 10 * log10((0.0625 + 1 + 2.25) / 0.3125))
    #expect(summary.rootMeanSquareError == (0.3125 / 4).squareRoot())
    #expect(summary.maximumError == 0.5)
    #expect(summary.clippedShare == 0.25)
    #expect(summary.shape == [2, 2])
    #expect(summary.payloadByteCount == 1 + 8)
    let data = try JSONEncoder().encode(summary)
    #expect(try JSONDecoder().decode(QuantizationSummary.self, from: data) == summary)
  }

  /// Weights that Float32 cannot hold are an error in both ways of quantizing.
  @Test(
    arguments: [
      (
        [1, 2, 1e300, 4],
        "element 2 is 1e+300, beyond Float32's largest number, which cannot be quantized"
      ),
      ([1, 2, -.infinity, 4], "element 2 is -inf, which cannot be quantized"),
      (
        [1e-60, -3e-60, 2e-60, 0],
        "its largest magnitude, 3e-60, is less than Float32's smallest number, so that every weight "
          + "would become zero"
      ),
      (
        [-3e38, 3e38, 0, 1],
        "its values from -3e+38 to 3e+38 lie further apart than Float32's largest number"
      ),
      (
        [1e-45, 3e-45, 0, 1e-45],
        "its values from 0.0 to 3e-45 lie so close that a step between them is less than Float32's "
          + "smallest number"
      ),
    ] as [([Double], String)])
  func weightsBeyondFloat32AreErrors(values: [Double], reason: String) throws {
    let name = "body.weight"
    let tensor = try Tensor(
      elementType: .float64, shape: [2, 2], bytes: SharedBytes(elementsOf: values))
    var archive = TensorArchive()
    archive.tensors[name] = tensor
    let recipe = try Self.recipe(#"{"bits": 4, "rules": [{"match": "*", "action": "quantize"}]}"#)
    let plan = try QuantizationPlan(archive, recipe: recipe)
    let text = "tensor '\(name)': \(reason)"
    let plain = #expect(throws: ModelError.self) {
      try WeightQuantizer(plan: plan).quantize(name, tensor)
    }
    #expect(plain?.description == text)
    let byMethod = #expect(throws: ModelError.self) {
      try ModelQuantizer(
        archive, plan: plan, settings: MethodSettings(.minimumMaximum), calibration: nil
      ).layer(name, activations: [:])
    }
    #expect(byMethod?.description == text)
  }

  private static func recipe(_ text: String) throws -> Recipe {
    try Recipe(JSONDocument.parse(SharedBytes(text.utf8)))
  }

  /// One vanishing group beside others is merely lost in rounding.
  @Test func vanishingGroupBesideOthersIsNoError() throws {
    let tensor = try self.tensor([1, 2, 3, 4, 0, .leastNonzeroMagnitude, 0, 0], [2, 4])
    var archive = TensorArchive()
    archive.tensors["body.weight"] = tensor
    let recipe = try Self.recipe(
      #"{"bits": 4, "granularity": "channel", "rules": [{"match": "*", "action": "quantize"}]}"#)
    let quantizer = WeightQuantizer(plan: try QuantizationPlan(archive, recipe: recipe))
    #expect(try quantizer.quantize("body.weight", tensor).tensor.scale[1] == 0)
  }

  @Test(arguments: [Float(0), 0.3])
  func constantsHaveNoNoise(value: Float) throws {
    var archive = TensorArchive()
    archive.tensors["a.weight"] = try tensor([Float](repeating: value, count: 400), [20, 20])
    let outcome = try outcomes(quantizer(archive), archive, threads: 1).first?.outcome
    #expect(outcome?.summary.name == "a.weight")
    #expect(outcome?.summary.signalToQuantizationNoise == nil)
    #expect(outcome?.summary.maximumError == 0)
    #expect(outcome?.summary.clippedShare == 0)
  }

  @Test func minimumMaximumBoundsClipNothing() throws {
    let archive = try archive(seed: 4)
    var recipe = try Recipe.named("body-linear")
    recipe.defaults.search = .minimumMaximum
    let quantizer = WeightQuantizer(plan: try QuantizationPlan(archive, recipe: recipe))
    for (_, outcome) in try outcomes(quantizer, archive, threads: 2) {
      #expect(outcome.summary.clippedShare == 0)
      let scale = try #require(outcome.tensor.scale.max())
      #expect(outcome.summary.maximumError <= Double(scale) / 2 * 1.000_01)
    }
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity], [1, 2])
  func nonFiniteElementsAreNamed(value: Float, threads: Int) throws {
    var archive = try archive(seed: 5)
    var values = [Float](repeating: 1, count: 400)
    values[17] = value
    archive.tensors["layers.9.weight"] = try tensor(values, [20, 20])
    let quantizer = try quantizer(archive)
    let complete = archive
    let error = ModelError(
      "element 17 is \(value), which cannot be quantized", tensor: "layers.9.weight")
    #expect(throws: error) { try outcomes(quantizer, complete, threads: threads) }
    #expect(
      "\(error)"
        == "tensor 'layers.9.weight': element 17 is \(value), which cannot be quantized")
  }

  @Test func unplannedTensorsAreRefused() throws {
    let archive = try archive(seed: 6)
    let quantizer = try quantizer(archive)
    let bias = try #require(archive.tensors["layers.0.qkv.bias"])
    #expect(
      throws: ModelError("the plan does not quantize it", tensor: "layers.0.qkv.bias")
    ) { try quantizer.quantize("layers.0.qkv.bias", bias) }
    #expect(
      throws: ModelError(
        "the plan is for float32 [18, 20], found float32 [18]",
        tensor: "layers.0.qkv.weight")
    ) { try quantizer.quantize("layers.0.qkv.weight", bias) }
  }

  @Test func scalesBelowFloat16AreErrors() throws {
    var archive = TensorArchive()
    var values = [Float](repeating: 0, count: 400)
    values[3] = 1e-7
    archive.tensors["a.weight"] = try tensor(values, [20, 20])
    var recipe = try Recipe.named("body-linear")
    recipe.defaults = QuantizationSettings(
      bitWidth: 8, search: .minimumMaximum, parameterType: .float16)
    let quantizer = WeightQuantizer(plan: try QuantizationPlan(archive, recipe: recipe))
    let source = try #require(archive.tensors["a.weight"])
    let scale = Float(Double(Float(1e-7)) / 255)
    #expect(
      throws: ModelError(
        "the scale \(scale) of cell 0 is too small for float16", tensor: "a.weight")
    ) { try quantizer.quantize("a.weight", source) }
  }
}
