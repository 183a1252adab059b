import TestSupport
import Testing

@testable import Transform

@Suite struct BitAllocationTests {
  private func layers(_ seed: UInt64) -> [[BitAllocation.Point]] {
    var generator = SplitMix(seed: seed)
    return (0..<4).map { _ in
      let size = Double(Int.random(in: 1...9, using: &generator) * 8)
      let scale = Double.random(in: 0.1...3, using: &generator)
      return (2...6).map { bits in
        BitAllocation.Point(
          bitWidth: bits, cost: size * Double(bits) / 8, error: scale / Double(1 << (2 * bits)))
      }
    }
  }

  private func total(_ points: [BitAllocation.Point]) -> (cost: Double, error: Double) {
    points.reduce((0, 0)) { ($0.0 + $1.cost, $0.1 + $1.error) }
  }

  /// Compares with all combinations.
  @Test(arguments: 0..<20) func allocationIsNearBestCombination(_ seed: Int) throws {
    let layers = layers(UInt64(seed))
    let all = (0..<625).map { index in
      layers.enumerated().map { layer, points in
        points[index / [1, 5, 25, 125][layer] % 5]
      }
    }
    let cheapest = total(layers.map { $0[0] }).cost
    for share in [1.0, 1.3, 1.7, 2.5, 3] {
      let found = try #require(BitAllocation.choose(layers, budget: cheapest * share))
      let (cost, error) = total(found)
      #expect(cost <= cheapest * share)
      // The choice is the best for its cost up to the first step that does not fit, so it is at
      // least as good as any that leaves the cost of the largest step unspent.
      let largestStep = layers.map { $0[1].cost - $0[0].cost }.max() ?? 0
      func best(_ limit: Double) -> Double? {
        all.map(total).filter { $0.cost <= limit }.map(\.error).min()
      }
      if let bound = best(cheapest * share - largestStep) { #expect(error <= bound * (1 + 1e-12)) }
      #expect(error >= best(cheapest * share) ?? .infinity)
    }
  }

  @Test func tooSmallBudgetsHaveNoAllocation() {
    let layers = layers(1)
    let cheapest = total(layers.map { $0[0] }).cost
    #expect(BitAllocation.choose(layers, budget: cheapest - 0.01) == nil)
    #expect(BitAllocation.choose(layers, budget: cheapest)?.map(\.bitWidth) == [2, 2, 2, 2])
    #expect(BitAllocation.choose(layers, budget: .infinity)?.map(\.bitWidth) == [6, 6, 6, 6])
  }

  @Test func uselessBitsAreNotSpent() {
    let flat = [2, 3, 4].map { BitAllocation.Point(bitWidth: $0, cost: Double($0), error: 0) }
    let steep = [2, 3, 4].map {
      BitAllocation.Point(bitWidth: $0, cost: Double($0), error: 1 / Double($0))
    }
    #expect(
      BitAllocation.choose([flat, steep], budget: 6)?.map(\.bitWidth) == [2, 4])
  }

  /// The earlier of two equal layers gets more.
  @Test func tiesGoToFirstLayer() {
    let layer = [2, 3].map {
      BitAllocation.Point(bitWidth: $0, cost: Double($0), error: 1 / Double($0))
    }
    #expect(BitAllocation.choose([layer, layer], budget: 5)?.map(\.bitWidth) == [3, 2])
  }
}
