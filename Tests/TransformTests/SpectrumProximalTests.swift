import Foundation
import TestSupport
import Testing

@testable import Transform

/// The proximal operators, compared with a fine grid over the only two numbers that they choose.
@Suite struct SpectrumProximalTests {
  private static func spectrum(_ seed: UInt64) -> [Double] {
    var generator = SplitMix(seed: seed)
    let count = Int.random(in: 1...11, using: &generator)
    let spread: Double = [0.3, 1, 4][Int.random(in: 0..<3, using: &generator)]
    var values = (0..<count).map { _ in exp(spread * Double(generator.nextNormal())) }
    if seed.isMultiple(of: 7), count > 1 { values[0] = 0 }
    return values.sorted(by: >)
  }

  private func distance(_ left: [Double], _ right: [Double]) -> Double {
    zip(left, right).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
  }

  private func grid(_ values: [Double]) -> [Double] {
    let top = values[0] * 1.5
    return (0..<400).map { top * exp(-Double($0) / 30) }
  }

  @Test(arguments: 0..<60, [1, 1.5, 3, 30]) func projectionIsNearest(
    _ seed: Int, _ target: Double
  ) {
    let values = Self.spectrum(UInt64(seed))
    let found = SpectrumProximal.projected(values, target: target)
    #expect(found[0] <= target * found[found.count - 1] * (1 + 1e-12))
    #expect(found == found.sorted(by: >))
    let best = distance(values, found)
    for t in grid(values) {
      let other = distance(values, values.map { min(max($0, t), target * t) })
      #expect(best <= other + 1e-12 * (1 + other))
    }
  }

  @Test(arguments: 0..<60, [1e-3, 0.05, 1]) func penaltyIsMinimized(_ seed: Int, _ weight: Double) {
    let values = Self.spectrum(UInt64(seed))
    let found = SpectrumProximal.penalized(values, weight: weight)
    guard values.count > 1 else {
      #expect(found == values)
      return
    }
    func cost(_ candidate: [Double]) -> Double {
      0.5 * distance(values, candidate) + weight
        * log(candidate[0] / candidate[candidate.count - 1])
    }
    #expect(found == found.sorted(by: >))
    let best = cost(found)
    let heights = grid(values).enumerated().filter { $0.offset.isMultiple(of: 5) }.map(\.element)
    for high in heights {
      for low in heights where low <= high {
        let other = cost(values.map { min(max($0, low), high) })
        #expect(best <= other + 1e-9 * (1 + abs(other)))
      }
    }
  }

  @Test func spectraThatMeetTargetAreUnchanged() {
    #expect(SpectrumProximal.projected([30, 2, 1], target: 30) == [30, 2, 1])
    #expect(SpectrumProximal.projected([0, 0], target: 30) == [0, 0])
    #expect(SpectrumProximal.projected([5], target: 1) == [5])
    #expect(SpectrumProximal.penalized([3, 1], weight: 0) == [3, 1])
    #expect(SpectrumProximal.penalized([0, 0], weight: 1) == [0, 0])
  }

  /// Two values and κ = 1: both become their mean. One zero and κ = 2: t minimizes t² + (1 − 2t)².
  @Test func projectionsMatchKnownValues() {
    #expect(SpectrumProximal.projected([3, 1], target: 1) == [2, 2])
    let found = SpectrumProximal.projected([1, 0], target: 2)
    #expect(distance(found, [0.8, 0.4]) < 1e-24)
  }
}
