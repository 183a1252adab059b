import Formats
import TestSupport
import Testing

@testable import Storage
@testable import SuperResolution

@Suite struct DistillationTests {
  static let goldens = [
    "swinir_direct_x2", "swinir_nearest_x4", "dat_direct_x2", "dat_shuffle_x3",
  ]

  /// Networks of `GraphNetworkTests` and SwinIR's: all that are described.
  static let networks =
    GraphNetworkTests.networks.map(\.0) + [
      "swinir_direct_x2", "swinir_direct_x3_grey", "swinir_shuffle_x4", "swinir_shuffle_x3",
      "swinir_shuffle_x8", "swinir_nearest_x4", "swinir_nearest_x2", "swinir_denoise_grey",
      "swinir_jpeg_colour", "swinir_positions",
    ]

  @Test(arguments: networks)
  func unquantizedNetworkMatchesPyTorch(_ name: String) throws {
    let fixture = try NetworkFixture(name)
    let distillation = try Distillation(
      teacher: fixture.weights, student: fixture.weights, weights: [], activations: [],
      .everything(threads: 2))
    let image = try fixture.input()
    let expected = try fixture.output()
    #expect(try largestDifference(distillation.upscale([image])[0], expected) < 1e-4)
    let target = try #require(try distillation.teach([image]).first)
    #expect(largestDifference(target.image, expected) < 1e-4)
    let groups = try fixture.groups()
    if !groups.isEmpty {
      #expect(groups.count == target.groups.count)
      for (found, expected) in zip(target.groups, groups) {
        #expect(largestDifference(found, expected) < 1e-4)
      }
    }
  }

  /// A student whose convolutions take quantized inputs computes what the network does.
  @Test(arguments: ["compact_x4", "rrdb_new_x4", "rlfn_x2", "safmn_x4"])
  func quantizedConvolutionsMatchNetwork(_ name: String) throws {
    let fixture = try NetworkFixture(name)
    let input = try fixture.input()
    let full = try fixture.network().upscale(input, progress: nil)
    for site in try fixture.network().sites.prefix(8) {
      let quantizer = ActivationQuantizer(
        name: site.name, bitWidth: 3, lower: -0.9, upper: 0.8, scaling: .row)
      let distillation = try Distillation(
        teacher: fixture.weights, student: fixture.weights, weights: [],
        activations: [quantizer], .everything(threads: 1))
      let expected = try SuperResolutionNetwork(
        fixture.weights, name: name, threads: 1, activations: [quantizer]
      ).upscale(input, progress: nil)
      #expect(try largestDifference(distillation.upscale([input])[0], expected) < 1e-4)
      #expect(largestDifference(expected, full) > 1e-4)
    }
  }

  /// Along a random direction of every tensor, the loss changes as its gradient says. `gradientsMatchPyTorch`
  /// compares SwinIR's and DAT's.
  @Test(arguments: [
    "rrdb_x2_unshuffle", "compact_x4", "span_x4", "span_merged_x4", "edsr_x3", "rcan_x2_unshuffle",
    "rlfn_x4",
    "realplksr_x4", "realplksr_dysample_x3", "safmn_deep_x4", "mosr_shuffle_x4",
    "mosr_dysample_x2", "omnisr_x4", "hat_x2", "swin2sr_aux_x2", "hitsrf_x2", "hitsir_x4",
    "ngswin_x2", "drct_x4",
  ])
  func gradientsMatchDifferenceQuotients(_ name: String) throws {
    let fixture = try NetworkFixture(name)
    var options = Distillation.Options.everything(threads: 2)
    options.loss.features = 0
    var distillation = try Distillation(
      teacher: fixture.weights, student: fixture.weights, weights: [], activations: [], options)
    let image = try fixture.input()
    var generator = SplitMix(seed: 3)
    func sign() -> Float { Bool.random(using: &generator) ? 1 : -1 }
    // So far from the output, the loss is a sum of its samples with fixed signs.
    var target = try distillation.upscale([image])[0]
    let signs = target.samples.map { _ in sign() }
    for index in signs.indices { target.samples[index] -= 1e3 * signs[index] }
    _ = try distillation.differentiate([image], [TeacherOutput(image: target, groups: [])])
    let (gradients, kept) = (distillation.store.gradients, distillation.store.values)
    func loss() throws -> Double {
      let output = try distillation.upscale([image])[0]
      let sum = zip(output.samples, signs).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
      return sum / Double(signs.count)
    }
    var changes: [(name: String, found: Double, expected: Double)] = []
    for entry in distillation.store.entries where entry.group != nil {
      let range = entry.reference.range
      let directions = range.map { _ in sign() }
      let size = kept[range].reduce(0) { $0 + $1 * $1 } / Float(range.count)
      let step = max(1e-3, size.squareRoot()) / 512
      let losses = try [step, -step].map { step in
        for (index, direction) in zip(range, directions) {
          distillation.store.values[index] = kept[index] + step * direction
        }
        return try loss()
      }
      distillation.store.values[range] = kept[range]
      let found = zip(range, directions).reduce(0.0) {
        $0 + Double(gradients[$1.0]) * Double($1.1)
      }
      changes.append((entry.name, found * Double(step), (losses[0] - losses[1]) / 2))
    }
    // Kinks and curvature take their part of a difference quotient.
    let largest = changes.reduce(0) { max($0, abs($1.expected)) }
    #expect(largest > 1e-6)
    for (name, found, expected) in changes {
      let tolerance = 0.1 * max(abs(found), abs(expected)) + 0.02 * largest
      #expect(abs(found - expected) <= tolerance, "\(name)")
    }
  }

  /// Of weights that are merged, or of a transposed convolution, the bounds stay, and the network is that
  /// of the rounded ones.
  @Test(arguments: [
    ("span_x4", "conv_1.conv.0.weight"), ("ncnn_gated_x3", "layer_11.weight"),
  ])
  func boundsOfWeightsBehindOthersStay(fixture name: String, weight: String) throws {
    let fixture = try NetworkFixture(name)
    let weights = fixture.weights
    let tensor = try #require(weights.tensors[weight])
    let count = tensor.shape.elementCount
    let quantization = try WeightQuantization(
      name: weight, layout: AffineLayout(rows: 1, columns: count, granularity: .tensor),
      bitWidth: 2, lower: [-0.3], scale: [0.2])
    let image = try fixture.input()
    var distillation = try Distillation(
      teacher: weights, student: weights, weights: [quantization], activations: [],
      .everything(threads: 1))
    #expect(distillation.fixedWeights == [weight])
    #expect(distillation.weights == [])
    let rounded = try tensor.floatValues().map {
      -0.3 + 0.2 * min(max((($0 + 0.3) / 0.2).rounded(), 0), 3)
    }
    var expected = weights
    expected.tensors[weight] = try Tensor(
      elementType: .float32, shape: tensor.shape, bytes: SharedBytes(elementsOf: rounded))
    let network = try SuperResolutionNetwork(expected, name: "rounded", threads: 1)
    let result = try network.upscale(image, progress: nil)
    // The products of several tensors' weights are summed by another library, in an order of its own.
    let largest = result.samples.reduce(1) { max($0, abs($1)) }
    let difference = try largestDifference(distillation.upscale([image])[0], result)
    #expect(difference < 1e-5 * largest, "\(difference) of \(largest)")
    #expect(try largestDifference(fixture.output(), result) > 1e-3 * largest)
    _ = try distillation.step([image])
    #expect(distillation.tensors[weight] == rounded)
  }

  @Test func imageWithTooFewPixelsIsRefused() throws {
    let fixture = try NetworkFixture("rlfn_x2")
    let distillation = try Distillation(
      teacher: fixture.weights, student: fixture.weights, weights: [], activations: [],
      .everything(threads: 1))
    #expect(
      throws: ModelError(
        "the image has 40 × 9 pixels with its padding, too few for the network")
    ) { try distillation.teach([noise(channelCount: 3, height: 9, width: 40, seed: 1)]) }
  }

  @Test(
    arguments: goldens
      + ["swinir_nearest_x4_rows", "dat_shuffle_x3_rows"]
      + ["swinir_nearest_x4_groups", "dat_shuffle_x3_groups"])
  func gradientsMatchPyTorch(_ name: String) throws {
    let fixture = try DistillationFixture(name)
    var distillation = try fixture.distillation()
    let images = try fixture.images()
    for (found, expected) in try zip(distillation.upscale(images), fixture.output()) {
      #expect(largestDifference(found, expected) < 1e-4)
    }
    let targets = try distillation.teach(images)
    let loss = try distillation.differentiate(images, targets)
    let expectedLoss = try fixture.loss().map(Double.init)
    #expect(abs(loss.total - expectedLoss[0]) < 1e-4 * expectedLoss[0])
    #expect(abs(loss.pixels - expectedLoss[1]) < 1e-4 * expectedLoss[1])
    #expect(abs(loss.features - expectedLoss[2]) < 1e-4 * expectedLoss[2])

    let gradients = try fixture.gradients()
    #expect(gradients.count > 50)
    for (name, expected, magnitude) in gradients {
      let found = try #require(distillation.gradient(name), "no gradient of \(name)")
      let error = zip(found, expected).reduce(Float(0)) { largest, pair in
        let difference = abs(pair.0 / magnitude - pair.1)
        return difference.isNaN ? .infinity : max(largest, difference)
      }
      // If all gradients are rounding errors, so are their differences.
      if magnitude > 1e-6 { #expect(error < 2e-3, "\(name)") }
      #expect(found.count == expected.count, "\(name)")
    }
  }

  @Test(arguments: ["swinir_direct_x2", "dat_shuffle_x3"])
  func resultsDoNotDependOnThreads(_ name: String) throws {
    let fixture = try DistillationFixture(name)
    let images = try fixture.images() + fixture.images()
    func values(threads: Int) throws -> [UInt32] {
      var distillation = try fixture.distillation(.everything(threads: threads))
      for _ in 0..<2 { _ = try distillation.step(images) }
      return distillation.store.values.map(\.bitPattern)
    }
    let expected = try values(threads: 1)
    #expect(try values(threads: 2) == expected)
    #expect(try values(threads: 3) == expected)
  }

  @Test(arguments: ["swinir_direct_x2", "dat_shuffle_x3"])
  func learningBoundsLowersLoss(_ name: String) throws {
    let fixture = try DistillationFixture(name)
    var options = Distillation.Options.everything(threads: 2)
    options.optimizer = Adam(rates: [.activationBounds: 0.03, .weightBounds: 0.03])
    options.schedule = CosineSchedule(stepCount: 12)
    var distillation = try fixture.distillation(options)
    let images = try fixture.images()
    let before = distillation.tensors
    let losses = try (0..<12).map { _ in try distillation.step(images).total }
    #expect(losses[11] < 0.97 * losses[0])
    #expect(distillation.tensors == before)
    #expect(try distillation.activations != fixture.activations())
    #expect(distillation.stepCount == 12)
  }

  /// The learned result, used as input again, is the same network.
  @Test func learnedResultReproducesNetwork() throws {
    let fixture = try DistillationFixture("swinir_direct_x2")
    var distillation = try fixture.distillation()
    let images = try fixture.images()
    _ = try distillation.step(images)
    var archive = fixture.network.weights
    for (name, values) in distillation.tensors {
      let shape = try #require(archive.tensors[name]).shape
      archive.tensors[name] = try Tensor(
        elementType: .float32, shape: shape,
        bytes: SharedBytes(values.withUnsafeBytes { Array($0) }))
    }
    let again = try Distillation(
      teacher: archive, student: archive, weights: distillation.weights,
      activations: distillation.activations, .everything(threads: 1))
    #expect(try again.upscale(images) == distillation.upscale(images))
  }

  /// A site whose values are all equal has such bounds.
  @Test func equalBoundsAreUnchanged() throws {
    let fixture = try DistillationFixture("swinir_direct_x2")
    var activations = try fixture.activations()
    activations[0].upper = activations[0].lower
    activations[1].scaling = .tensor
    (activations[1].lower, activations[1].upper) = (0, 0)
    let archive = fixture.network.weights
    var distillation = try Distillation(
      teacher: archive, student: archive, weights: fixture.weights(), activations: activations,
      .everything(threads: 1))
    for _ in 0..<3 { #expect(try distillation.step(fixture.images()).total.isFinite) }
    #expect(Array(distillation.activations[..<2]) == Array(activations[..<2]))
    #expect(distillation.activations[2...] != activations[2...])
    let network = try SuperResolutionNetwork(
      archive, name: "test", threads: 1, activations: distillation.activations)
    let image = try fixture.images()[0]
    #expect(try network.upscale(image, progress: nil).samples.allSatisfy(\.isFinite))
  }

  @Test func refusesMismatchedNetworksAndQuantizers() throws {
    let fixture = try DistillationFixture("swinir_direct_x2")
    let other = try NetworkFixture("swinir_shuffle_x3")
    let (weights, archive) = (try fixture.weights(), fixture.network.weights)
    func attempt(
      student: TensorArchive? = nil, _ weights: [WeightQuantization] = [],
      _ activations: [ActivationQuantizer] = []
    ) throws {
      _ = try Distillation(
        teacher: archive, student: student ?? archive, weights: weights, activations: activations,
        .everything(threads: 1))
    }
    func expect(_ reason: String, _ body: () throws -> Void) {
      #expect(throws: ModelError(reason), performing: body)
    }
    expect("the teacher and the student are different networks") {
      try attempt(student: other.weights)
    }
    var odd = weights[0]
    expect("the weight '\(odd.name)' has two quantizers") { try attempt([odd, odd]) }
    odd.name = "norm"
    expect("the network has no weight 'norm' to quantize") { try attempt([odd]) }
    odd = weights[0]
    odd.lower.append(0)
    expect(
      "the weight '\(odd.name)' cannot be quantized: \(odd.lower.count) lower bounds and "
        + "\(odd.scale.count) scales for \(odd.layout.cellCount) cells"
    ) { try attempt([odd]) }
    var activation = try fixture.activations()[0]
    activation.upper = activation.lower - 1
    expect(
      "the activation '\(activation.name)' cannot be quantized to 2 bits from "
        + "\(activation.lower) to \(activation.upper)"
    ) { try attempt([], [activation]) }
    activation.name = "nowhere"
    expect("the network has no activation 'nowhere' to quantize") { try attempt([], [activation]) }
    let distillation = try fixture.distillation()
    expect("the image has 1 channel, the network takes 3") {
      _ = try distillation.teach([noise(channelCount: 1, height: 8, width: 8, seed: 1)])
    }
  }
}
