import Formats
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Imaging
@testable import Storage
@testable import SuperResolution
@testable import Transform

@Suite struct DistillationRefinerTests {
  /// A small network, quantized by a method, with images to learn from.
  private struct Subject {
    let archive: TensorArchive
    let model: QuantizedModel
    let images: ImageFolder

    init(_ method: QuantizationMethod, _ folder: TemporaryFolder, bits: Int = 2) throws {
      let name = "swinir_direct_x2"
      archive = try NetworkFixture(name).weights
      let network = try SuperResolutionNetwork(archive, name: name, threads: 2)
      images = try DistillationRefinerTests.images(
        folder, channelCount: network.channelCount)
      var sampler = PatchSampler(images, side: 16, seed: 1, for: .calibration)
      let calibration = try Calibrator(threads: 2).calibrate(
        NetworkActivations(network: network, images: sampler.draw(4)))
      // The fixture's layers are too small for the built-in recipes.
      let path = folder.appending("recipe.json")
      let rule = #"{"match": "*.weight", "where": {"rank": 2}, "action": "quantize"}"#
      try Data("{\"bits\": \(bits), \"rules\": [\(rule)]}".utf8).write(to: URL(filePath: path))
      var recipe = try Recipe(contentsOf: path)
      recipe.method = MethodSettings(method)
      model = try ModelQuantizer(
        archive, plan: QuantizationPlan(archive, recipe: recipe), settings: MethodSettings(method),
        calibration: calibration
      ).quantized(threads: 2)
    }

    func settings(_ method: QuantizationMethod, steps: Int) -> DistillationSettings {
      var settings = DistillationSettings(for: method, limit: .steps(steps), threads: 2)
      settings.patchSide = 16
      settings.batchCount = 2
      return settings
    }
  }

  private static func images(_ folder: TemporaryFolder, channelCount: Int) throws
    -> ImageFolder
  {
    for name in ["metric_1.png", "metric_3.png"] {
      try FileManager.default.copyItem(
        atPath: PackageFolder.fixture("images/\(name)"), toPath: folder.appending(name))
    }
    return try ImageFolder(folder: folder.path, scale: 2, channelCount: channelCount)
  }

  /// The rates are those of 2 bits times `factor` where everything is learned.
  @Test(arguments: [(1, 1), (2, 1), (3, 3 / 7), (4, 0.2)] as [(Int, Float)])
  func finerCodesAreLearnedMoreSlowly(bits: Int, factor: Float) throws {
    try withTemporaryFolder { folder in
      let subject = try Subject(.dobi, folder, bits: bits)
      var model = subject.model
      for (name, quantizer) in model.activations {
        model.activations[name] = ActivationQuantizer(
          name: name, bitWidth: 2, lower: quantizer.lower, upper: quantizer.upper)
      }
      let student = try QuantizedStudent(model, original: subject.archive, isLearned: true)
      for method in [QuantizationMethod.twoDQuant, .condiQuant, .best] {
        let settings = DistillationSettings(for: method, limit: .steps(1), threads: 1)
        let rates = student.rates(settings)
        #expect(Set(rates.keys) == Set(settings.rates.keys))
        for (group, rate) in settings.rates {
          let isSlower = method == .best && group != .activationBounds
          #expect(abs((rates[group] ?? 0) - rate * (isSlower ? factor : 1)) < 1e-6 * rate)
        }
      }
    }
  }

  @Test(arguments: [QuantizationMethod.twoDQuant, .best])
  func distillationLowersError(_ method: QuantizationMethod) throws {
    try withTemporaryFolder { folder in
      let subject = try Subject(method, folder)
      let reports = Mutex<[DistillationProgress]>([])
      let refined = try DistillationRefiner(
        subject.settings(method, steps: 24), images: subject.images
      ) { progress in reports.withLock { $0.append(progress) } }
      .refined(subject.model, original: subject.archive)
      let summary = try #require(refined.distillation)
      #expect(summary.stepCount == 24 && !summary.isStoppedEarly)
      #expect(summary.keptStepCount > 0 && summary.keptStepCount <= 24)
      #expect(summary.psnrAfter > summary.psnrBefore)
      let progress = reports.withLock { $0 }
      #expect(progress.map(\.stepCount) == Array(1...24))
      #expect(progress.first?.loss == summary.firstLoss)
      #expect(progress.last?.loss == summary.lastLoss)
      #expect(progress.map(\.psnr).max() == summary.psnrAfter)
      #expect(progress.last?.share == 1)
      #expect(refined.activations != subject.model.activations)
      #expect(refined.layers.keys == subject.model.layers.keys)
      for (name, layer) in refined.layers {
        let before = try #require(subject.model.layers[name])
        #expect(layer.tensor.layout == before.tensor.layout)
        if method == .twoDQuant { #expect(layer.target == before.target) }
      }
      #expect(refined.tensors.isEmpty == (method == .twoDQuant))
    }
  }

  @Test(arguments: [QuantizationMethod.twoDQuant, .condiQuant, .best])
  func zeroStepsKeepModel(_ method: QuantizationMethod) throws {
    try withTemporaryFolder { folder in
      let subject = try Subject(method, folder)
      let refined = try DistillationRefiner(
        subject.settings(method, steps: 0), images: subject.images
      ).refined(subject.model, original: subject.archive)
      #expect(refined.activations == subject.model.activations)
      // Distillation starts from the codes of the method.
      let student = try QuantizedStudent(
        subject.model, original: subject.archive, isLearned: method == .best)
      let options = Distillation.Options(optimizer: Adam(rates: [:]), threads: 1)
      let distillation = try Distillation(
        teacher: subject.archive, student: student.archive, weights: student.weights,
        activations: [], options)
      for weight in distillation.weights {
        let codes = try #require(subject.model.layers[weight.name]).tensor.unpackedCodes()
        #expect(weight.rounding == .fixed(codes), "\(weight.name)")
      }
    }
  }

  @Test func nonFiniteLossIsAnError() throws {
    try withTemporaryFolder { folder in
      let subject = try Subject(.best, folder)
      var settings = subject.settings(.best, steps: 5)
      for group in ParameterGroup.allCases { settings.rates[group] = .infinity }
      #expect(
        throws: ModelError("the loss of distillation is not finite in step 2")
      ) {
        _ = try DistillationRefiner(settings, images: subject.images)
          .refined(subject.model, original: subject.archive)
      }
    }
  }

  @Test func patchesAreDeterminedBySeed() throws {
    try withTemporaryFolder { folder in
      let images = try Self.images(folder, channelCount: 1)
      func patches(_ seed: UInt64, _ purpose: PatchSampler.Purpose = .training) throws -> [Image] {
        var sampler = PatchSampler(images, side: 5, seed: seed, for: purpose)
        return try sampler.draw(20)
      }
      let first = try patches(3)
      #expect(first.allSatisfy { $0.channelCount == 1 && $0.width <= 5 && $0.height <= 5 })
      #expect(try patches(3) == first)
      #expect(try patches(4) != first)
      #expect(try patches(3, .validation) != first)
      var generator = SeededGenerator(seed: 1, stream: 2)
      #expect(generator.order(of: 50).sorted() == Array(0..<50))
      #expect(generator.order(of: 50) != Array(0..<50))
    }
  }
}
