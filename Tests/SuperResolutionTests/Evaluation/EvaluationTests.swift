import Foundation
import TestSupport
import Testing

@testable import Imaging
@testable import Storage
@testable import SuperResolution

@Suite struct EvaluationTests {
  /// Bicubic interpolation with a darkened square, as a model that is worse in one place.
  struct Spoiled: Upscaler {
    var scale = 2
    var requiredChannelCount: Int? { nil }
    var name: String { "spoiled" }

    func upscale(_ image: Image, progress: (@Sendable (Double) -> Void)?) throws -> Image {
      var large = try BicubicUpscaler(scale: scale, bitDepth: .eight).upscale(
        image, progress: progress)
      // The darkened square is in the lower right quarter.
      for channel in 0..<large.channelCount {
        for y in large.height / 2..<large.height / 2 + 48 {
          for x in large.width / 2..<large.width / 2 + 48 {
            large.samples[(channel * large.height + y) * large.width + x] *= 0.5
          }
        }
      }
      return large
    }
  }

  struct Mean: Decodable {
    let set: String
    let scale: Int
    let psnr: Double
    let ssim: Double
  }

  /// The bicubic baseline of the shipped sets is compared with NumPy and SciPy.
  @Test(SharedData.require("testsets"), arguments: ["Set5", "Set14"], [2, 3, 4])
  func baselineMatchesReferenceImplementation(set: String, scale: Int) throws {
    let means = try ImageFixtures.json([Mean].self, "sets.json")
    let expected = try #require(means.first { $0.set == set && $0.scale == scale })
    let folder = try SharedData.path("testsets/\(set)")
    let report = try Evaluation(set: BenchmarkSet(folder: folder, scale: scale), models: []).run()
    #expect(report.methods.map(\.name) == ["bicubic"])
    #expect(abs(try #require(report.methods[0].meanPSNR) - expected.psnr) < 1e-6)
    #expect(abs(report.methods[0].meanSSIM - expected.ssim) < 1e-6)
    #expect(report.lowResolution == .files)
    #expect(report.regions.isEmpty)
  }

  /// Calls `body` with a folder of one high-resolution image of smooth noise.
  private func withSet(
    width: Int = 202, height: Int = 171, _ body: (String) throws -> Void
  ) throws {
    try withTemporaryFolder { folder in
      let lowResolution = ImageFixtures.sample(
        width: (width + 3) / 4, height: (height + 3) / 4, channelCount: 3)
      let image = BicubicResampling().upscaled(lowResolution, by: 4)
        .cropped(x: 0, y: 0, width: width, height: height)
      try Data(image.encoded(as: .png).array).write(to: URL(filePath: folder.appending("a.png")))
      try body(folder.path)
    }
  }

  @Test func worstRegionIsFound() throws {
    try withSet { folder in
      let set = try BenchmarkSet(folder: folder, scale: 2)
      let report = try Evaluation(
        set: set, models: [.init(name: "spoiled", upscaler: Spoiled())]
      ).run()
      #expect(report.lowResolution == .bicubic)
      #expect(report.reference == 0)
      #expect(report.images.map(\.width) == [202])
      #expect(report.images.map(\.height) == [170])
      let gain = try #require(report.methods[1].gainPSNR)
      #expect(gain < -1)
      let means = report.methods.compactMap(\.meanPSNR)
      #expect(gain == means[1] - means[0])
      let worst = try #require(report.regions.first)
      // The region contains the whole spoiled square (101…149, 85…133).
      #expect(worst.x <= 101 && worst.x + worst.width >= 149, "\(worst.x)")
      #expect(worst.y <= 85 && worst.y + worst.height >= 133, "\(worst.y)")
      #expect(worst.psnr[1] < worst.psnr[0])
      let crops = try #require(worst.crops)
      #expect(crops.highResolution.width == 96 && crops.lowResolution.width == 48)
      #expect(crops.results.count == 2)
    }
  }

  @Test func jsonOmitsCropsButKeepsRegionNumbers() throws {
    try withSet { folder in
      let report = try Evaluation(
        set: BenchmarkSet(folder: folder, scale: 2),
        models: [.init(name: "spoiled", upscaler: Spoiled())]
      ).run()
      let decoded = try JSONDecoder().decode(
        EvaluationReport.self, from: JSONEncoder().encode(report))
      #expect(decoded.regions.map(\.psnr) == report.regions.map(\.psnr))
      #expect(decoded.regions.allSatisfy { $0.crops == nil })
      #expect(decoded.methods == report.methods)
    }
  }

  @Test func imagesAreTiledForWantOfMemory() throws {
    try withSet { folder in
      var evaluation = try Evaluation(
        set: BenchmarkSet(folder: folder, scale: 2),
        models: [.init(name: "compact", upscaler: NetworkFixture("compact_x2").network())])
      let whole = try evaluation.run()
      #expect(whole.images[0].scores.map(\.tileCount) == [nil, nil])
      evaluation.availableMemory = { AvailableMemory(byteCount: 40 << 20, bound: .controlGroup) }
      let tiled = try evaluation.run()
      #expect(tiled.images[0].scores[0].tileCount == nil)
      #expect(try #require(tiled.images[0].scores[1].tileCount) > 1)
      #expect(abs(tiled.images[0].scores[1].psnr - whole.images[0].scores[1].psnr) < 1e-3)
    }
  }

  @Test func gainsAreRelativeToReference() throws {
    try withSet { folder in
      let set = try BenchmarkSet(folder: folder, scale: 2)
      let models: [Evaluation.Method] = [
        .init(name: "a", upscaler: Spoiled()),
        .init(name: "b", upscaler: BicubicUpscaler(scale: 2)),
      ]
      let byDefault = try Evaluation(set: set, models: models).run()
      #expect(byDefault.reference == 1)
      #expect(byDefault.subject == 2)
      #expect(byDefault.methods[1].gainPSNR == nil)
      #expect(try #require(byDefault.methods[2].gainPSNR) > 1)
      let againstBicubic = try Evaluation(set: set, models: models, reference: 0).run()
      #expect(againstBicubic.methods[0].gainPSNR == nil)
      let againstLast = try Evaluation(set: set, models: models, reference: 2).run()
      #expect(againstLast.subject == 1)
      #expect(try #require(againstLast.regions.first).errorIncrease > 0)
      #expect(try #require(againstBicubic.methods[1].gainPSNR) < -1)
    }
  }

  /// Calls `body` with a set of one image of noise and one, `blank`, of a single colour.
  private func withBlank(noise: Bool = true, _ body: (BenchmarkSet) throws -> Void) throws {
    try withTemporaryFolder { folder in
      var images = [
        "blank": RasterImage(
          width: 100, height: 100, channelCount: 3, bitDepth: .eight,
          samples: [UInt16](repeating: 200, count: 30_000))
      ]
      images["noise"] =
        noise ? ImageFixtures.sample(width: 100, height: 100, channelCount: 3) : nil
      for (name, image) in images {
        let path = folder.appending("\(name).png")
        try Data(image.encoded(as: .png).array).write(to: URL(filePath: path))
      }
      try body(BenchmarkSet(folder: folder.path, scale: 2))
    }
  }

  private static func model(_ name: String, _ upscaler: any Upscaler) -> Evaluation.Method {
    .init(name: name, path: "\(name).pth", upscaler: upscaler)
  }

  private static let exact = BicubicUpscaler(scale: 2, bitDepth: .eight)

  /// An upscaler that loses on noise and leaves blank images alone.
  private struct Blurred: Upscaler {
    var scale: Int { 2 }
    var requiredChannelCount: Int? { nil }
    var name: String { "blurred" }

    func upscale(_ image: Image, progress: (@Sendable (Double) -> Void)?) throws -> Image {
      let mean = image.samples.reduce(0, +) / Float(image.samples.count)
      let isBlank = image.samples.allSatisfy { $0 == image.samples[0] }
      let large = try EvaluationTests.exact.upscale(image, progress: progress)
      return isBlank
        ? large
        : Image(
          channelCount: large.channelCount, height: large.height, width: large.width,
          samples: large.samples.map { mean + ($0 - mean) * -0.5 })
    }
  }

  /// An image that both models reproduce exactly is named and counts neither for the mean nor for
  /// the limit.
  @Test func exactImagesAreExcludedFromMeans() throws {
    try withBlank { set in
      let report = try Evaluation(
        set: set,
        models: [Self.model("good", Self.exact), Self.model("bad", Blurred())]
      ).run()
      #expect(report.methods.map(\.exactImages) == [["blank"], ["blank"], ["blank"]])
      let noise = try #require(report.images.first { $0.name == "noise" })
      #expect(report.methods.map(\.meanPSNR) == noise.scores.map(\.psnr))
      let loss = noise.scores[1].psnr - noise.scores[2].psnr
      #expect(report.methods[2].gainPSNR == -loss)
      let objections = report.objections(toLossesAbove: loss / 2)
      #expect(objections.map(\.name) == ["bad"])
      #expect(objections.first?.reason.hasPrefix("loses ") == true)
      #expect(report.objections(toLossesAbove: loss * 2).isEmpty)
    }
  }

  /// An image that only the reference reproduces exactly is a loss without a bound.
  @Test func lostExactnessIsAnObjection() throws {
    try withBlank { set in
      let report = try Evaluation(
        set: set, models: [Self.model("good", Self.exact), Self.model("bad", Spoiled())]
      ).run()
      #expect(report.methods[2].exactImages.isEmpty)
      #expect(
        report.objections(toLossesAbove: 1000).map(\.reason) == [
          "does not reproduce 'blank' exactly, as good does: a loss without a bound"
        ])
      let reversed = try Evaluation(
        set: set, models: [Self.model("bad", Spoiled()), Self.model("good", Self.exact)]
      ).run()
      #expect(reversed.objections(toLossesAbove: 0).isEmpty)
      #expect(try #require(reversed.methods[2].gainPSNR) > 0)
    }
  }

  @Test func onlyExactImagesAreAnObjection() throws {
    try withBlank(noise: false) { set in
      let report = try Evaluation(
        set: set, models: [Self.model("good", Self.exact), Self.model("other", Self.exact)]
      ).run()
      #expect(report.methods.allSatisfy { $0.meanPSNR == nil && $0.gainPSNR == nil })
      #expect(
        report.objections(toLossesAbove: 1000).map(\.reason) == [
          "and good reproduce every image exactly, which leaves nothing to measure a loss by"
        ])
      // Exactness where the reference is not exact is no loss.
      let better = try Evaluation(
        set: set, models: [Self.model("bad", Spoiled()), Self.model("good", Self.exact)]
      ).run()
      #expect(better.objections(toLossesAbove: 0).isEmpty)
    }
  }

  /// Patches that something is measured on are not all of one colour.
  @Test func uniformPatchesAreRefused() throws {
    try withBlank(noise: false) { set in
      let images = try ImageFolder(folder: set.path, scale: 2, channelCount: 3)
      var sampler = PatchSampler(images, side: 16, seed: 1, for: .calibration)
      #expect(
        throws: ModelError(
          "each of the 4 patches drawn from its images is of one colour, on which nothing can be "
            + "measured", path: set.path)
      ) { try sampler.drawVaried(4) }
    }
    try withBlank { set in
      let images = try ImageFolder(folder: set.path, scale: 2, channelCount: 3)
      var sampler = PatchSampler(images, side: 16, seed: 1, for: .calibration)
      #expect(try sampler.drawVaried(4).count == 4)
    }
  }

  @Test func unmeasurableImagesAndModelsAreNamed() throws {
    try withSet(width: 14, height: 20) { folder in
      let set = try BenchmarkSet(folder: folder, scale: 2)
      #expect(
        throws: ModelError(
          "its 14×20 pixels are too few: without a border of 2, SSIM needs 11×11",
          path: "\(folder)/a.png")
      ) { try Evaluation(set: set, models: []).run() }
      #expect(
        throws: ModelError(
          "the model upscales 3 times, and the data set is for 2", path: "m.pth")
      ) {
        try Evaluation(
          set: set,
          models: [.init(name: "m", path: "m.pth", upscaler: BicubicUpscaler(scale: 3))])
      }
    }
  }

  @Test func lowResolutionSizeMustMatch() throws {
    try withTemporaryFolder { folder in
      for (name, width) in [("a_HR.png", 40), ("a_LR.png", 21)] {
        let image = ImageFixtures.sample(width: width, height: width, channelCount: 3)
        try Data(image.encoded(as: .png).array).write(to: URL(filePath: folder.appending(name)))
      }
      let set = try BenchmarkSet(folder: folder.path, scale: 2)
      #expect(
        throws: ModelError(
          "its 21×21 pixels times 2 are not the 40×40 of \(folder.appending("a_HR.png"))",
          path: folder.appending("a_LR.png"))
      ) { try Evaluation(set: set, models: []).run() }
    }
  }
}
