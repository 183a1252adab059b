import Formats
import Foundation
import TestSupport
import Testing

@testable import Transform

/// An archive that the PyTorch recorder wrote: `generate_calibration.py`.
@Suite struct CalibrationFixtureTests {
  private func calibration() throws -> Calibration {
    try Calibration(contentsOf: PackageFolder.fixture("calibration/two_layers.calib.npz"))
  }

  @Test func recordedArchivesAreRead() throws {
    let calibration = try calibration()
    #expect(
      Array(calibration.sites.keys) == ["first.input", "second.input", "second.probabilities"])
    let first = try #require(calibration.sites["first.input"])
    #expect(first.count == 4 * 2 * 25 * 6)
    #expect(first.moments?.columnCount == 6)
    #expect(Array(first.quantized.keys) == [2])
    #expect(calibration.sites["second.probabilities"]?.moments == nil)
    #expect(calibration.sites["second.probabilities"]?.count == 4 * 2 * 25 * 3)
    #expect(calibration.input(ofWeight: "second.weight")?.moments?.columnCount == 4)
  }

  /// The recorder searches in Float64, this library in the Float32 of the stored quantizer: two
  /// neighbours of DOBI's candidates at most may be as good.
  @Test func bothSearchesFindTheSameBounds() throws {
    for (name, site) in try calibration().sites {
      guard let images = site.quantized[2] else { continue }
      let found = ActivationBounds(method: .dobi, bitWidth: 2)
        .bounds(of: site, siteName: name)
      let step = Float(site.histogram.maximum - site.histogram.minimum) / 200
      #expect(abs(found.lower - images.lower) <= 1.001 * step)
      #expect(abs(found.upper - images.upper) <= 1.001 * step)
    }
  }

  @Test func writtenAgainNothingChanges() throws {
    let calibration = try calibration()
    #expect(try Calibration(calibration.archive()) == calibration)
  }
}
