import Formats
import Foundation
import TestSupport
import Testing

@testable import Transform

/// Archives that the PyTorch recorder wrote (`generate_calibration.py`).
@Suite struct CalibrationFixtureTests {
  static let scalings = [ActivationScaling.tensor, .row, .group(4)]

  private func calibration(_ scaling: ActivationScaling) throws -> Calibration {
    let suffix =
      switch scaling {
      case .tensor: ""
      case .row: "_rows"
      case .group: "_groups"
      }
    return try Calibration(
      contentsOf: PackageFolder.fixture("calibration/two_layers\(suffix).calib.npz"))
  }

  @Test(arguments: scalings) func recordedArchivesAreRead(_ scaling: ActivationScaling) throws {
    let calibration = try calibration(scaling)
    #expect(
      Array(calibration.sites.keys) == ["first.input", "second.input", "second.probabilities"])
    let first = try #require(calibration.sites["first.input"])
    #expect(first.count == 4 * 2 * 25 * 6)
    #expect(first.moments?.columnCount == 6)
    #expect(Array(first.quantized.keys) == [2])
    #expect(first.quantized[2]?.scaling == scaling)
    #expect(calibration.sitesWithoutRows.isEmpty)
    #expect(calibration.sitesMeasured(otherThan: scaling).isEmpty)
    #expect(calibration.sites["second.probabilities"]?.moments == nil)
    #expect(calibration.sites["second.probabilities"]?.count == 4 * 2 * 25 * 3)
    #expect(calibration.input(ofWeight: "second.weight")?.moments?.columnCount == 4)
  }

  /// The recorder searches in Float64, this library in the Float32 of the stored quantizer, so at
  /// most two neighbouring candidates of DOBI may be equally good.
  @Test(arguments: scalings) func boundsMatchRecorderSearch(
    _ scaling: ActivationScaling
  ) throws {
    for (name, site) in try calibration(scaling).sites {
      guard let images = site.quantized[2] else { continue }
      let found = ActivationBounds(method: .dobi, bitWidth: 2, scaling: scaling)
        .bounds(of: site, siteName: name)
      #expect(found.scaling == scaling)
      let width =
        scaling != .tensor ? 2 : Float(site.histogram.maximum - site.histogram.minimum)
      let step = width / 200
      #expect(abs(found.lower - images.lower) <= 1.001 * step)
      #expect(abs(found.upper - images.upper) <= 1.001 * step)
    }
  }

  @Test(arguments: scalings) func recordedArchivesRoundTrip(_ scaling: ActivationScaling) throws {
    let calibration = try calibration(scaling)
    #expect(try Calibration(calibration.archive()) == calibration)
  }
}
