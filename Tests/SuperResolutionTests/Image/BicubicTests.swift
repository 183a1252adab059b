import Foundation
import TestSupport
import Testing

@testable import Imaging
@testable import SuperResolution

@Suite struct BicubicTests {
  struct Case: Decodable {
    /// The factor, negative for downscaling.
    let scale: Int
    let maximum: Int?
    let border: String
    let height: Int
    let width: Int
    let samples: [Double]
    let result: [Double]
  }

  /// Compares with the definition in NumPy.
  @Test func resamplingMatchesDefinition() throws {
    let cases = try ImageFixtures.json([Case].self, "resizing.json")
    #expect(cases.count == 42)
    for item in cases {
      let factor = item.scale > 0 ? Double(item.scale) : 1 / Double(-item.scale)
      let border = try #require(BicubicResampling.Border(rawValue: item.border))
      let (height, width) = (Double(item.height) * factor, Double(item.width) * factor)
      let result = BicubicResampling(border: border).resample(
        item.samples, height: item.height, width: item.width,
        outputHeight: Int(height.rounded()), outputWidth: Int(width.rounded()), factor: factor,
        roundingUpTo: item.maximum.map(Double.init))
      try #require(result.count == item.result.count)
      let error = zip(result, item.result).map { abs($0 - $1) }.max() ?? 0
      #expect(item.maximum == nil ? error < 1e-9 : error == 0, "×\(item.scale) \(item.border)")
    }
  }

  /// Every low-resolution image of the shipped sets is compared pixel for pixel. Those of ×8 were
  /// made by an older MATLAB, which repeated the edge pixels beyond the edges.
  @Test(
    SharedData.require("testsets"), arguments: ["Set5", "Set14"], [2, 3, 4, 8])
  func shippedLowResolutionImagesAreReproduced(set: String, scale: Int) throws {
    let folder = try SharedData.path("testsets/\(set)")
    let entries = try BenchmarkSet(folder: folder, scale: scale).entries
    #expect(entries.count == (set == "Set5" ? 5 : 14))
    let resampling = BicubicResampling(border: scale == 8 ? .replicated : .symmetric)
    for entry in entries {
      let image = try RasterImage(contentsOf: entry.highResolutionPath)
      let published = try RasterImage(contentsOf: try #require(entry.lowResolutionPath))
      let cropped = try #require(image.cropped(toMultipleOf: scale))
      let downscaled = resampling.downscaled(cropped, by: scale)
      // The ×8 version of the grey image 'bridge' has three equal channels.
      let isGreyOnly = downscaled.channelCount == 1 && published.channelCount == 3
      #expect(
        (isGreyOnly ? downscaled.asRGB : downscaled).samples == published.samples, "\(entry.name)")
    }
  }

  @Test func constantImagesStayConstant() {
    for scale in [1, 2, 3, 4, 5, 8] {
      let image = RasterImage(
        width: 3 * scale, height: scale, channelCount: 3, bitDepth: .sixteen,
        samples: [UInt16](repeating: 40_000, count: 9 * scale * scale))
      #expect(BicubicResampling().downscaled(image, by: scale).samples.allSatisfy { $0 == 40_000 })
      #expect(BicubicResampling().upscaled(image, by: scale).samples.allSatisfy { $0 == 40_000 })
    }
  }

  @Test func baselineRoundsToBitDepth() throws {
    let image = ImageFixtures.sample(width: 9, height: 7, channelCount: 3)
    let rounded = try BicubicUpscaler(scale: 3, bitDepth: .eight).upscale(
      image.colorImage, progress: nil)
    #expect(
      RasterImage(color: rounded, bitDepth: .eight) == BicubicResampling().upscaled(image, by: 3))
    let real = try BicubicUpscaler(scale: 3).upscale(image.colorImage, progress: nil)
    #expect(zip(real.samples, rounded.samples).contains { $0 != $1 })
  }
}
