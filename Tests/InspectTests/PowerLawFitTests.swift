import Foundation
import Inspect
import TestSupport
import Testing

@Suite struct PowerLawFitTests {
  /// One entry of `Tests/Fixtures/power_law.json`.
  private struct Golden: Decodable {
    struct Fit: Decodable {
      let alpha: Double
      let start: Double
    }
    let count: Int
    let exponent: Double
    let wobble: Double
    let powerlaw: Fit
    let weightwatcher: Fit

    /// The data that `generate_power_law.py` uses.
    var data: [Double] {
      (0..<count).map { pow(Double($0 + 1), -exponent) * (1 + wobble * sin(3 * Double($0))) }
        .sorted()
    }
  }

  @Test func fitMatchesPowerlawAndWeightWatcher() throws {
    let json = try Data(contentsOf: URL(filePath: PackageFolder.fixture("power_law.json")))
    let goldens = try JSONDecoder().decode([Golden].self, from: json)
    #expect(goldens.count == 4)
    for golden in goldens {
      let fit = try #require(PowerLawFit(ascending: golden.data))
      for expected in [golden.powerlaw, golden.weightwatcher] {
        #expect(abs(fit.alpha / expected.alpha - 1) < 1e-10)
        #expect(abs(fit.start / expected.start - 1) < 1e-10)
      }
      #expect(fit.tailCount == golden.data.count { $0 >= fit.start })
      #expect((0...1).contains(fit.distance))
    }
  }

  @Test func tooFewOrEqualValuesAreNotFitted() {
    #expect(PowerLawFit(ascending: (1...7).map(Double.init)) == nil)
    #expect(PowerLawFit(ascending: (1...8).map(Double.init)) != nil)
    #expect(PowerLawFit(ascending: .init(repeating: 2, count: 20)) == nil)
    #expect(PowerLawFit(ascending: []) == nil)
  }

  @Test func scaleChangesOnlyStart() throws {
    let data = (1...60).map { 1 / Double(61 - $0) }
    let fit = try #require(PowerLawFit(ascending: data))
    let scaled = try #require(PowerLawFit(ascending: data.map { $0 * 1024 }))
    #expect(abs(scaled.alpha - fit.alpha) < 1e-9)
    #expect(scaled.tailCount == fit.tailCount)
    #expect(abs(scaled.start / fit.start - 1024) < 1e-9)
  }
}
