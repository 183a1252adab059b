import Foundation
import TestSupport
import Testing

@testable import SuperResolution

@Suite struct EvaluationTests {
  /// Bicubic interpolation that forgets colours or detail, as a model that is worse in one place.
  struct Spoiled: Upscaler {
    var scale = 2
    var requiredChannelCount: Int? { nil }
    var name: String { "spoiled" }

    func upscale(_ picture: Picture, progress: (@Sendable (Double) -> Void)?) throws -> Picture {
      var large = try BicubicUpscaler(scale: scale, bitDepth: .eight).upscale(
        picture, progress: progress)
      // A dark square in the lower right quarter.
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

  /// The bicubic baseline of the shipped sets, as NumPy and SciPy measure it.
  @Test(SharedData.require("testsets"), arguments: ["Set5", "Set14"], [2, 3, 4])
  func theBaselineIsTheOracles(set: String, scale: Int) throws {
    let means = try PictureFixtures.json([Mean].self, "sets.json")
    let expected = try #require(means.first { $0.set == set && $0.scale == scale })
    let folder = try SharedData.path("testsets/\(set)")
    let report = try Evaluation(set: BenchmarkSet(folder: folder, scale: scale), models: []).run()
    #expect(report.methods.map(\.name) == ["bicubic"])
    #expect(abs(report.methods[0].meanPSNR - expected.psnr) < 1e-6)
    #expect(abs(report.methods[0].meanSSIM - expected.ssim) < 1e-6)
    #expect(report.lowResolution == .files)
    #expect(report.regions.isEmpty)
  }

  /// A folder with one original of smooth noise.
  private func withSet(
    width: Int = 202, height: Int = 171, _ body: (String) throws -> Void
  ) throws {
    try withTemporaryFolder { folder in
      let small = PictureFixtures.sample(
        width: (width + 3) / 4, height: (height + 3) / 4, channelCount: 3)
      let image = BicubicResampling().enlarged(small, by: 4)
        .cropped(x: 0, y: 0, width: width, height: height)
      try Data(image.encoded(as: .png).array).write(to: URL(filePath: folder.appending("a.png")))
      try body(folder.path)
    }
  }

  @Test func theWorstRegionIsFound() throws {
    try withSet { folder in
      let set = try BenchmarkSet(folder: folder, scale: 2)
      let report = try Evaluation(
        set: set, models: [.init(name: "spoiled", upscaler: Spoiled())]
      ).run()
      #expect(report.lowResolution == .bicubic)
      #expect(report.reference == 0)
      #expect(report.pictures.map(\.width) == [202])
      #expect(report.pictures.map(\.height) == [170])
      let gain = try #require(report.methods[1].gainPSNR)
      #expect(gain < -1)
      #expect(gain == report.methods[1].meanPSNR - report.methods[0].meanPSNR)
      let worst = try #require(report.regions.first)
      // All of the spoiled square (101…149, 85…133) lies in it.
      #expect(worst.x <= 101 && worst.x + worst.width >= 149, "\(worst.x)")
      #expect(worst.y <= 85 && worst.y + worst.height >= 133, "\(worst.y)")
      #expect(worst.psnr[1] < worst.psnr[0])
      let crops = try #require(worst.crops)
      #expect(crops.original.width == 96 && crops.reduced.width == 48)
      #expect(crops.results.count == 2)
    }
  }

  @Test func aRegionIsNoPartOfJSONButItsNumbersAre() throws {
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

  @Test func gainsAreAgainstTheReference() throws {
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

  @Test func whatCannotBeMeasuredIsNamed() throws {
    try withSet(width: 14, height: 20) { folder in
      let set = try BenchmarkSet(folder: folder, scale: 2)
      #expect(
        throws: SuperResolutionError(
          "its 14×20 pixels are too few: without a border of 2, SSIM needs 11×11",
          path: "\(folder)/a.png")
      ) { try Evaluation(set: set, models: []).run() }
      #expect(
        throws: SuperResolutionError(
          "the model enlarges 3 times, and the data set is for 2", path: "m.pth")
      ) {
        try Evaluation(
          set: set,
          models: [.init(name: "m", path: "m.pth", upscaler: BicubicUpscaler(scale: 3))])
      }
    }
  }

  @Test func smallPicturesMustFit() throws {
    try withTemporaryFolder { folder in
      for (name, width) in [("a_HR.png", 40), ("a_LR.png", 21)] {
        let image = PictureFixtures.sample(width: width, height: width, channelCount: 3)
        try Data(image.encoded(as: .png).array).write(to: URL(filePath: folder.appending(name)))
      }
      let set = try BenchmarkSet(folder: folder.path, scale: 2)
      #expect(
        throws: SuperResolutionError(
          "its 21×21 pixels times 2 are not the 40×40 of \(folder.appending("a_HR.png"))",
          path: folder.appending("a_LR.png"))
      ) { try Evaluation(set: set, models: []).run() }
    }
  }
}
