import Foundation
import TestSupport
import Testing

@testable import Imaging

@Suite struct ImageFidelityTests {
  struct Case: Decodable {
    let original: String
    let result: String
    let border: Int
    let psnr: Double
    let ssim: Double
  }

  private func plane(_ name: String, border: Int) throws -> LumaPlane {
    let image = try RasterImage(contentsOf: ImageFixtures.path(name))
    return try #require(LumaPlane(of: image).trimmed(by: border))
  }

  /// The expected values come from NumPy and SciPy, with grey images as three equal channels.
  @Test func fidelityMatchesNumPyAndSciPy() throws {
    let cases = try ImageFixtures.json([Case].self, "metrics.json")
    #expect(cases.count == 4)
    for item in cases {
      let original = try plane(item.original, border: item.border)
      let result = try plane(item.result, border: item.border)
      #expect(abs(ImageFidelity.peakSignalToNoise(original, result) - item.psnr) < 1e-9)
      #expect(abs(ImageFidelity.structuralSimilarity(original, result) - item.ssim) < 1e-9)
    }
  }

  @Test func equalImagesHavePerfectFidelity() throws {
    let plane = LumaPlane(of: ImageFixtures.sample(width: 20, height: 15, channelCount: 3))
    #expect(ImageFidelity.peakSignalToNoise(plane, plane) == .infinity)
    #expect(abs(ImageFidelity.structuralSimilarity(plane, plane) - 1) < 1e-12)
  }

  @Test func lumaUsesStudioRange() {
    let image = RasterImage(
      width: 2, height: 2, channelCount: 4, bitDepth: .eight,
      samples: [0, 0, 0, 9, 255, 255, 255, 9, 255, 0, 0, 9, 0, 0, 255, 9])
    let luma = LumaPlane(of: image).samples
    for (found, expected) in zip(luma, [16, 235, 81.481, 40.966]) {
      #expect(abs(found - expected) < 1e-9)
    }
    // Sixteen bits are rounded to eight first.
    let deep = RasterImage(
      width: 2, height: 1, channelCount: 1, bitDepth: .sixteen, samples: [65_535, 128 + 257])
    for (found, expected) in zip(LumaPlane(of: deep).samples, [235, 16 + 219.0 / 255]) {
      #expect(abs(found - expected) < 1e-9)
    }
  }

  @Test func trimmingWholeImageGivesNil() {
    let plane = LumaPlane(of: ImageFixtures.sample(width: 9, height: 6, channelCount: 1))
    #expect(plane.trimmed(by: 2)?.samples.count == 10)
    #expect(plane.trimmed(by: 3) == nil)
    #expect(plane.trimmed(by: 0) == plane)
  }
}
