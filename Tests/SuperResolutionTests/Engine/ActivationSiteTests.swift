import CKernels
import Formats
import Foundation
import TestSupport
import Testing
import Transform

@testable import Storage
@testable import SuperResolution

@Suite struct ActivationSiteTests {
  static let fixtures = ["swinir_direct_x2", "dat_direct_x2"]

  @Test(arguments: fixtures)
  func sitesMatchPyTorchRecorder(name: String) throws {
    let fixture = try NetworkFixture(name)
    let sites = try fixture.network().sites.filter { $0.tapCount == nil }
    #expect(Set(sites.map(\.name)).count == sites.count)
    #expect(Set(sites.map(\.name)) == Set(try fixture.ranges().keys))
    for site in sites where site.kind == .input {
      let name = try #require(site.weightName)
      let weight = try #require(fixture.weights.tensors[name])
      #expect(weight.shape.dimensions[1] == site.columnCount)
    }
    for site in sites where site.kind != .input { #expect(site.weightName == nil) }
  }

  @Test func sitesAreInForwardOrder() throws {
    let sites = try NetworkFixture("dat_direct_x2").network().sites.filter { $0.tapCount == nil }
    let names = sites.prefix(20).map { String($0.name.dropFirst("layers.0.blocks.".count)) }
    #expect(
      names == [
        "0.attn.qkv.input",
        "0.attn.attns.0.query", "0.attn.attns.0.key", "0.attn.attns.0.value",
        "0.attn.attns.0.probabilities",
        "0.attn.attns.1.query", "0.attn.attns.1.key", "0.attn.attns.1.value",
        "0.attn.attns.1.probabilities",
        "0.attn.proj.input", "0.ffn.fc1.input", "0.ffn.fc2.input",
        "1.attn.qkv.input", "1.attn.query", "1.attn.key", "1.attn.value",
        "1.attn.probabilities", "1.attn.proj.input", "1.ffn.fc1.input", "1.ffn.fc2.input",
      ])
  }

  @Test(arguments: fixtures)
  func observedRangesMatchPyTorch(name: String) throws {
    let fixture = try NetworkFixture(name)
    let network = try fixture.network()
    let source = try NetworkActivations(
      network: network, images: [fixture.input()], observing: { $0.tapCount == nil })
    #expect(source.sampleCount == 1)
    #expect(source.sites == network.sites.filter { $0.tapCount == nil })
    var found: [String: ClosedRange<Float>] = [:]
    try source.run(sample: 0) { site, values, columns in
      let site = source.sites[site]
      #expect(!values.isEmpty && values.count % columns == 0 && columns % site.columnCount == 0)
      for value in values {
        let old = found[site.name] ?? value...value
        found[site.name] = min(old.lowerBound, value)...max(old.upperBound, value)
      }
    }
    let expected = try fixture.ranges()
    #expect(found.count == expected.count)
    for (site, range) in expected {
      let ends = [range.lowerBound, range.upperBound]
      let observed = try #require(found[site])
      #expect(
        largestDifference([observed.lowerBound, observed.upperBound], ends) <= 1e-4, "\(site)")
    }
  }

  @Test(arguments: ["swinir_direct_x2", "hat_x2", "omnisr_x4"])
  func observingDoesNotChangeOutput(name: String) throws {
    let network = try NetworkFixture(name).network()
    let image = noise(height: 17, width: 17, seed: 3)
    var context = ForwardContext(threads: 1)
    var seen: Set<Int> = []
    context.observer = { site, _, _ in seen.insert(site) }
    let difference = largestDifference(
      try network.run(image, context), try network.upscale(image, progress: nil))
    #expect(difference <= 1e-5)
    #expect(seen == Set(network.sites.indices) && !seen.isEmpty)
  }

  @Test func observerErrorEndsRun() throws {
    struct Stop: Error, Equatable {}
    let fixture = try NetworkFixture("dat_direct_x2")
    let source = try NetworkActivations(
      network: try fixture.network(), images: [fixture.input()])
    var calls = 0
    #expect(throws: Stop()) {
      try source.run(sample: 0) { _, _, _ in
        calls += 1
        if calls == 7 { throw Stop() }
      }
    }
    #expect(calls == 7)
  }

  /// Returns 6-bit quantizers for all sites. Their bounds are the sites' ranges or, by rows, 0.95
  /// of the largest magnitude of each row of a layer's inputs and of probabilities.
  private func quantizers(_ fixture: NetworkFixture, byRows: Bool) throws -> [ActivationQuantizer] {
    let ranges = try fixture.ranges()
    return try fixture.network().sites.filter { $0.tapCount == nil }.map { site in
      guard byRows, site.kind.hasRowScales else {
        let range = try #require(ranges[site.name])
        return ActivationQuantizer(
          name: site.name, bitWidth: 6, lower: range.lowerBound, upper: range.upperBound)
      }
      return ActivationQuantizer(
        name: site.name, bitWidth: 6, lower: site.kind == .probabilities ? 0 : -0.95, upper: 0.95,
        scaling: .row)
    }
  }

  /// `layersAgreeWithPyTorchFromEqualCodes` compares the layers one by one.
  @Test(arguments: VectorLevels.available, fixtures)
  func quantizedNetworksAgreeWithPyTorch(level: UInt32, name: String) throws {
    let fixture = try NetworkFixture(name)
    let full = try fixture.output()
    for byRows in [false, true] {
      let network = try SuperResolutionNetwork(
        fixture.weights, name: name, threads: 1,
        activations: try quantizers(fixture, byRows: byRows))
      let found = try VectorLevels.at(level) {
        try network.upscale(fixture.input(), progress: nil)
      }
      let expected = try fixture.quantizedOutput(byRows: byRows)
      let distance = decibelsBelowQuantization(found, expected, full: full)
      #expect(distance >= 20, "by rows: \(byRows)")
    }
    let rows = try squaredDifference(
      fixture.quantizedOutput(byRows: true), fixture.quantizedOutput())
    #expect(rows > 0.1 * squaredDifference(try fixture.quantizedOutput(), full))
  }

  /// Convolutions, of which one at a time has its input rounded.
  @Test(arguments: VectorLevels.available, ["compact_x2", "edsr_x3", "rlfn_x2"])
  func quantizedConvolutionsAgreeWithPyTorch(level: UInt32, name: String) throws {
    let fixture = try NetworkFixture(name)
    let (input, full) = try (fixture.input(), fixture.output())
    let goldens = try FormatRegistry.standard.open(
      PackageFolder.fixture("superresolution/quantized_\(name).safetensors"))
    let prefix = "golden.range."
    let sites = goldens.tensors.keys.filter { $0.hasPrefix(prefix) }
      .map { String($0.dropFirst(prefix.count)) }
    #expect(sites.count >= 3)
    for site in sites {
      let range = try #require(goldens.tensors[prefix + site]).floatValues()
      let quantizers = [
        "quantized": ActivationQuantizer(
          name: site, bitWidth: 3, lower: 0.9 * range[0], upper: 0.9 * range[1]),
        "by_pixels": ActivationQuantizer(
          name: site, bitWidth: 3, lower: -0.9, upper: 0.9, scaling: .row),
      ]
      for (golden, quantizer) in quantizers {
        let network = try SuperResolutionNetwork(
          fixture.weights, name: name, threads: 1, activations: [quantizer])
        let found = try VectorLevels.at(level) { try network.upscale(input, progress: nil) }
        let expected = try goldens.image("golden.\(golden).\(site)")
        let distance = decibelsBelowQuantization(found, expected, full: full)
        #expect(distance >= 30, "\(golden) \(site)")
      }
    }
  }

  /// The codes equal PyTorch's bit for bit. With equal codes, a layer's output may differ only by
  /// the order of additions: n + 1 terms, added in any order with or without fused products, lie
  /// within γ Σ |terms| of their sum, where γ = (n + 1) u / (1 − (n + 1) u) and u = 2⁻²⁴ (Higham,
  /// Accuracy and Stability of Numerical Algorithms, 3.1).
  @Test(arguments: VectorLevels.available, fixtures)
  func layersAgreeWithPyTorchFromEqualCodes(level: UInt32, name: String) throws {
    let fixture = try NetworkFixture(name)
    let layers = try fixture.quantizedLayers()
    let sites = try fixture.network().sites.filter { $0.kind == .input && $0.tapCount == nil }
    #expect(layers.count == sites.count)
    for layer in layers {
      let (rows, inputs, outputs) = (layer.rows, layer.inputs, layer.outputs)
      let linear = Linear(
        weight: layer.weight, bias: layer.bias, outputs: outputs, inputs: inputs)
      var quantizer = ck_quantizer(
        lower: -0.95, upper: 0.95, levels: 63, is_row_scaled: true, group_size: 0)
      var x = layer.input
      var y = [Float](repeating: .nan, count: rows * outputs)
      VectorLevels.at(level) {
        x.write { ck_quantize(&quantizer, $0, rows, inputs, inputs) }
        y.write { linear.apply(rows: rows, x, stride: inputs, to: $0, stride: outputs) }
      }
      #expect(x == layer.decodedInput, "\(layer.name)")
      let terms = Double(inputs + 1)
      let gamma = terms * 0x1p-24 / (1 - terms * 0x1p-24)
      for row in 0..<rows {
        for output in 0..<outputs {
          var sum = Double(layer.bias[output])
          var magnitudes = abs(sum)
          for input in 0..<inputs {
            let weight = Double(layer.weight[output * inputs + input])
            let product = weight * Double(x[row * inputs + input])
            sum += product
            magnitudes += abs(product)
          }
          let place = row * outputs + output
          #expect(abs(Double(y[place]) - sum) <= gamma * magnitudes, "\(layer.name)")
          #expect(abs(Double(layer.output[place]) - sum) <= gamma * magnitudes, "\(layer.name)")
        }
      }
    }
  }

  @Test func packedFileProvidesItsQuantizers() throws {
    let fixture = try NetworkFixture("swinir_direct_x2")
    let site = "layers.0.residual_group.blocks.0.mlp.fc1.input"
    var archive = fixture.weights
    archive.activations = [
      ActivationQuantizer(name: site, bitWidth: 2, lower: -1, upper: 1)
    ]
    let packed = try withTemporaryFolder { folder in
      let path = folder.appending("model.condi")
      try FormatRegistry.standard.write(archive, as: PackedFormat(), to: path)
      var packed = try FormatRegistry.standard.open(path)
      // The tensors are read now, because the folder is about to be deleted.
      for (name, tensor) in packed.tensors {
        packed.tensors[name] = try Tensor(
          elementType: tensor.elementType, shape: tensor.shape, bytes: tensor.bytes())
      }
      return packed
    }
    #expect(packed.activations == archive.activations)
    let input = try fixture.input()
    let found = try SuperResolutionNetwork(packed, name: "packed", threads: 1)
      .upscale(input, progress: nil)
    let expected = try SuperResolutionNetwork(
      fixture.weights, name: "given", threads: 1, activations: archive.activations
    ).upscale(input, progress: nil)
    #expect(found == expected)
    #expect(largestDifference(found, try fixture.output()) > 1e-3)
  }

  @Test func selectingRootRenamesQuantizers() throws {
    var archive = TensorArchive()
    archive.tensors["net.a.weight"] = try Tensor(
      elementType: .uint8, shape: [1], bytes: SharedBytes([0]))
    archive.activations = ["net.a.input", "b.input"].map {
      ActivationQuantizer(name: $0, bitWidth: 4, lower: 0, upper: 1)
    }
    // A quantizer outside the root keeps its name, so that it is refused later and not forgotten.
    #expect(
      try archive.selecting(root: "net").activations.map(\.name) == ["a.input", "b.input"])
  }

  @Test func quantizersWithoutValidSiteAreRefused() throws {
    let weights = try NetworkFixture("swinir_direct_x2").weights
    let site = "layers.0.residual_group.blocks.0.attn.query"
    func load(_ activations: ActivationQuantizer...) throws -> SuperResolutionNetwork {
      try SuperResolutionNetwork(weights, name: "test", threads: 1, activations: activations)
    }
    func quantizer(
      _ name: String, bits: Int = 4, _ lower: Float = 0, _ upper: Float = 1
    ) -> ActivationQuantizer {
      ActivationQuantizer(name: name, bitWidth: bits, lower: lower, upper: upper)
    }
    #expect(
      throws: ModelError("the network has no activation 'nowhere' to quantize")
    ) { try load(quantizer("nowhere")) }
    #expect(throws: ModelError("the activation '\(site)' has two quantizers")) {
      try load(quantizer(site), quantizer(site))
    }
    #expect(
      throws: ModelError(
        "the activation '\(site)' cannot be quantized to 4 bits from 1.0 to 0.5")
    ) { try load(quantizer(site, 1, 0.5)) }
    var scaled = quantizer(site)
    scaled.scaling = .row
    #expect(
      throws: ModelError("the activation '\(site)' has no rows to scale its bounds by")
    ) { try load(scaled) }
    #expect(
      throws: ModelError(
        "the activation '\(site)' cannot be quantized to 9 bits from 0.0 to 1.0")
    ) { try load(quantizer(site, bits: 9)) }
    #expect(
      throws: ModelError(
        "the activation '\(site)' cannot be quantized to 4 bits from 0.0 to nan")
    ) { try load(quantizer(site, 0, .nan)) }
  }
}
