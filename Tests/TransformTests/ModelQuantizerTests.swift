import Formats
import Foundation
import LinearAlgebra
import TestSupport
import Testing

@testable import Storage
@testable import Transform

/// The methods from end to end on a network of two linear layers.
@Suite struct ModelQuantizerTests {
  private func recipe(_ method: QuantizationMethod, bits: Int, isWeightsOnly: Bool = false) throws
    -> Recipe
  {
    var recipe = try Recipe.named("all-linear")
    recipe.defaults.bitWidth = bits
    recipe.defaults.search = method.search
    recipe.method = MethodSettings(method, isWeightsOnly: isWeightsOnly)
    return recipe
  }

  private func calibration(_ bits: [Int] = []) throws -> Calibration {
    try Calibrator(bitWidths: bits, threads: 2).calibrate(LinearNetwork(sampleCount: 20))
  }

  private func quantized(
    _ method: QuantizationMethod, bits: Int, calibration: Calibration?,
    isWeightsOnly: Bool = false, threads: Int = 1
  ) throws -> QuantizedModel {
    let archive = try LinearNetwork.archive()
    let recipe = try recipe(method, bits: bits, isWeightsOnly: isWeightsOnly)
    let settings = recipe.method
    return try ModelQuantizer(
      archive, plan: QuantizationPlan(archive, recipe: recipe), settings: settings,
      calibration: calibration
    ).quantized(threads: threads)
  }

  /// Returns the relative mean square error of both layers' outputs on samples that calibration did
  /// not see.
  private func outputError(_ model: QuantizedModel) throws -> Double {
    let network = LinearNetwork(sampleCount: 40)
    var (noise, signal) = (0.0, 0.0)
    for (index, name) in ["a", "b"].enumerated() {
      let weight = LinearNetwork.weight(index)
      let layer = try #require(model.layers["\(name).weight"])
      let found = Matrix(
        rows: weight.rows, columns: weight.columns,
        values: try layer.tensor.floatValues().map(Double.init))
      let bias = (0..<weight.rows).map { Double($0) / 4 }
      let quantizer = model.activations["\(name).input"]
      for sample in 20..<40 {
        let values = network.rows(sample)[index]
        for start in stride(from: 0, to: values.count, by: weight.columns) {
          let row = values[start..<start + weight.columns]
          let expected = weight.multiplied(by: row.map(Double.init))
          let images =
            quantizer.map { quantizer in
              Array(row).withUnsafeBufferPointer {
                quantizer.images(of: $0, columns: weight.columns)
              }
            } ?? row.map(Double.init)
          let outputs = found.multiplied(by: images)
          for output in outputs.indices {
            let shift = (layer.bias ?? bias)[output] - bias[output]
            let error = outputs[output] + shift - expected[output]
            noise += error * error
            signal += expected[output] * expected[output]
          }
        }
      }
    }
    return noise / signal
  }

  @Test(arguments: [2, 3]) func betterMethodsHaveLessError(_ bits: Int) throws {
    let calibration = try calibration([bits])
    func error(_ method: QuantizationMethod) throws -> Double {
      try outputError(quantized(method, bits: bits, calibration: calibration))
    }
    let plain = try error(.minimumMaximum)
    let dobi = try error(.dobi)
    let best = try error(.best)
    #expect(dobi < plain)
    #expect(best < 0.85 * dobi)
  }

  @Test func activationsAreQuantizedUnlessWeightsOnly() throws {
    let calibration = try calibration()
    for method in QuantizationMethod.allCases {
      let model = try quantized(method, bits: 3, calibration: calibration)
      guard method != .nearest else {
        #expect(model.activations.isEmpty)
        continue
      }
      #expect(Array(model.activations.keys) == ["a.input", "b.input", "b.probabilities"])
      #expect(model.activations.values.allSatisfy { $0.bitWidth == 3 && $0.lower <= $0.upper })
      let weights = try quantized(
        method, bits: 3, calibration: calibration, isWeightsOnly: true)
      #expect(weights.activations.isEmpty)
      #expect(try quantized(method, bits: 3, calibration: nil).activations.isEmpty)
    }
  }

  /// The layers' input is the same for every sample, so moments about the mean are rounding errors.
  @Test(arguments: [ActivationScaling.tensor, .row], [false, true])
  func constantInputsLeaveWeightsUnchanged(_ scaling: ActivationScaling, isMeasured: Bool) throws {
    struct Constant: ActivationSource {
      var sites: [ActivationSite] {
        LinearNetwork(sampleCount: 1).sites.filter { $0.kind == .input }
      }
      let sampleCount = 3
      func run(
        sample: Int, observe: (Int, UnsafeBufferPointer<Float>, Int) throws -> Void
      ) throws {
        for (site, columns) in LinearNetwork.columns.enumerated() {
          let row = (0..<columns).map { Float($0) / 3 - 0.7 }
          let rows = [Float]((0..<7).map { _ in row }.joined())
          try rows.withUnsafeBufferPointer { try observe(site, $0, columns) }
        }
      }
    }
    let calibration = try Calibrator(
      bitWidths: isMeasured ? [4] : [], search: .free, scaling: scaling, threads: 1
    ).calibrate(Constant())
    let archive = try LinearNetwork.archive()
    let recipe = try recipe(.best, bits: 4)
    let model = try ModelQuantizer(
      archive, plan: QuantizationPlan(archive, recipe: recipe),
      settings: MethodSettings(.best, activationScaling: scaling),
      calibration: calibration
    ).quantized(threads: 1)
    for (name, layer) in model.layers {
      let weight = try #require(archive.tensors[name]).floatValues()
      #expect(layer.target == weight, "\(name)")
      #expect(layer.bias?.allSatisfy(\.isFinite) == true)
    }
  }

  @Test func onlyErrorAwareMethodChangesBiases() throws {
    let calibration = try calibration()
    for method in QuantizationMethod.allCases {
      let model = try quantized(method, bits: 2, calibration: calibration)
      #expect(model.layers.values.allSatisfy { ($0.bias != nil) == (method == .best) })
      let uncalibrated = try quantized(method, bits: 2, calibration: nil)
      #expect(uncalibrated.layers.values.allSatisfy { $0.bias == nil })
    }
  }

  @Test func conditionedTargetsMeetLimit() throws {
    var archive = try LinearNetwork.archive()
    // The matrix is nearly singular: the last row repeats the first.
    var values = LinearNetwork.weight(0).values
    for column in 0..<6 { values[18 + column] = values[column] * 1.001 }
    archive.tensors["a.weight"] = try Tensor(
      elementType: .float32, shape: [4, 6], bytes: ElementType.float32.bytes(of: values))
    for (method, calibration) in [
      (QuantizationMethod.condiQuant, try calibration()), (.condiQuant, nil),
      (.best, try calibration()),
    ] {
      let recipe = try recipe(method, bits: 3)
      let plan = try QuantizationPlan(archive, recipe: recipe)
      var settings = MethodSettings(method)
      settings.constraint = .target(8)
      let layer = try #require(
        try ModelQuantizer(archive, plan: plan, settings: settings, calibration: calibration)
          .quantized(threads: 1).layers["a.weight"])
      let target = Matrix(rows: 4, columns: 6, values: layer.target.map(Double.init))
      let spectrum = try SingularValues(of: target, method: .decomposition).values
      #expect((Conditioner.conditionNumber(spectrum) ?? .infinity) < 8.001)
      #expect((layer.summary.conditionNumberAfter ?? .infinity) < 8.001)
      settings.constraint = nil
      let plain = try #require(
        try ModelQuantizer(archive, plan: plan, settings: settings, calibration: calibration)
          .quantized(threads: 1).layers["a.weight"])
      #expect(plain.summary.conditionNumberAfter == nil)
    }
  }

  @Test(arguments: [2, 5]) func resultDoesNotDependOnThreads(_ threads: Int) throws {
    let calibration = try calibration([2])
    let single = try quantized(.best, bits: 2, calibration: calibration)
    let several = try quantized(.best, bits: 2, calibration: calibration, threads: threads)
    for (name, layer) in single.layers {
      let other = try #require(several.layers[name])
      #expect(layer.tensor.codes.elementsEqual(other.tensor.codes))
      #expect(layer.tensor.parameterBytes.elementsEqual(other.tensor.parameterBytes))
      #expect(layer.bias == other.bias)
      #expect(layer.summary == other.summary)
    }
    #expect(single.activations == several.activations)
  }

  @Test func packedFileHasBoundsAndAdjustedNames() throws {
    let archive = try LinearNetwork.archive()
    let recipe = try recipe(.best, bits: 2)
    let calibration = try calibration()
    try withTemporaryFolder { folder in
      let path = folder.appending("a.condi")
      let plan = try CompressionPlan(
        archive, recipe: recipe, calibration: calibration, source: nil, threads: 2)
      let summaries = try plan.write(to: path).layers
      #expect(summaries.map(\.name) == ["a.weight", "b.weight"])
      #expect(summaries.allSatisfy { $0.relativeOutputError != nil })
      let model = try PackedModel(parsing: InputFile(path: path))
      #expect(model.header.activations.map(\.name) == Array(calibration.sites.keys))
      #expect(model.header.adjustedNames == ["a.bias", "b.bias"])
      let expected = try quantized(.best, bits: 2, calibration: calibration)
      for name in ["a", "b"] {
        let stored = try #require(try model.tensor(named: "\(name).bias")).doubleValues()
        let layer = try #require(expected.layers["\(name).weight"])
        #expect(stored == layer.bias?.map { Double(Float($0)) })
        let codes = try #require(try model.quantizedTensor(named: "\(name).weight")).codes
        #expect(codes.elementsEqual(layer.tensor.codes))
      }
    }
  }

  @Test func onlyDistillingMethodsUseRefiner() throws {
    let widening: CompressionPlan.Refinement = { model, _ in
      var model = model
      for name in model.activations.keys { model.activations[name]?.upper += 1 }
      return model
    }
    let archive = try LinearNetwork.archive()
    let calibration = try calibration()
    try withTemporaryFolder { folder in
      for method in QuantizationMethod.allCases {
        func uppers(_ refine: CompressionPlan.Refinement?) throws -> [Float] {
          let path = folder.appending("a.condi")
          _ = try CompressionPlan(
            archive, recipe: recipe(method, bits: 4), calibration: calibration, refining: refine,
            source: nil, threads: 1
          ).write(to: path, replacesExisting: true)
          return try PackedModel(parsing: InputFile(path: path)).header.activations.map(\.upper)
        }
        let plain = try uppers(nil)
        #expect(try uppers(widening) == (method.distills ? plain.map { $0 + 1 } : plain))
      }
    }
  }

  @Test func equalWeightsOfDifferentLayersStaySeparate() throws {
    var archive = try LinearNetwork.archive()
    let weight = try #require(archive.tensors["a.weight"])
    archive.tensors["b.weight"] = try Tensor(
      elementType: .float32, shape: [4, 6], bytes: weight.bytes())
    var calibration = try calibration()
    var moments = try #require(calibration.sites["a.input"]?.moments)
    for index in 0..<6 { moments.second[index, index] *= Double(1 + 20 * index) }
    calibration.sites["b.input"] = calibration.sites["a.input"]
    calibration.sites["b.input"]?.moments = moments
    let changed = calibration
    try withTemporaryFolder { folder in
      let path = folder.appending("a.condi")
      let plan = try CompressionPlan(
        archive, recipe: recipe(.best, bits: 2), calibration: changed, source: nil, threads: 1)
      _ = try plan.write(to: path)
      let model = try PackedModel(parsing: InputFile(path: path))
      let first = try #require(try model.quantizedTensor(named: "a.weight"))
      let second = try #require(try model.quantizedTensor(named: "b.weight"))
      #expect(!first.codes.elementsEqual(second.codes))
    }
  }
}
