import Formats
import TestSupport
import Testing

@testable import Storage
@testable import SuperResolution

/// What the planner finds in a network.
@Suite struct GraphPlanTests {
  private func plan(_ name: String) throws -> GraphPlan {
    var weights = WeightReader(try NetworkFixture(name).weights)
    var sites = SiteList()
    let network: any Architecture =
      name.hasPrefix("dat")
      ? try GraphNetwork<DAT>(&weights, sites: &sites)
      : try GraphNetwork<SwinIR>(&weights, sites: &sites)
    return GraphPlan(network.graph.foldingNormalizations)
  }

  private func regions(_ plan: GraphPlan) -> [GraphRegion] {
    plan.steps.compactMap { if case .region(let region) = $0.kernel { region } else { nil } }
  }

  /// The largest number of floats per pixel that exist at once.
  private func mostFloats(_ plan: GraphPlan) -> Int {
    plan.steps.indices.dropLast().map { position in
      plan.lastUse.indices.reduce(0) { sum, root in
        guard let last = plan.lastUse[root], last >= position,
          let first = plan.steps.firstIndex(where: { step in
            step.results.contains { plan.places[$0].root == root }
          }), first <= position, !plan.isPixel[root]
        else { return sum }
        // What has a size of its own is small.
        switch plan.graph.nodes[root].operation {
        case .constant, .offsets: return sum
        default: return sum + plan.channelCounts[root]
        }
      }
    }.max() ?? 0
  }

  @Test func transformerLayerIsOneRegion() throws {
    let plan = try plan("swinir_direct_x2")
    let regions = regions(plan)
    #expect(regions.count == 4)
    #expect(regions.allSatisfy { $0.attention != nil && $0.nodes.count == 10 })
  }

  /// A block of DAT: queries, keys and values; the windows of both halves, or none; and all from the
  /// weighing of branches to the gate's normalization. What follows the gate is a part of the next
  /// block's first pass, or computed with the gate in bands.
  @Test func dualAggregationBlockIsAFewPasses() throws {
    let plan = try plan("dat_direct_x2")
    let regions = regions(plan)
    #expect(regions.count { $0.attention != nil } == 6)
    #expect(regions.count { $0.attention == nil } == 8)
    #expect(
      regions.filter { $0.attention == nil }.map(\.results.count) == [2, 3, 2, 3, 2, 3, 1, 3])
    let bands = plan.steps.count { if case .bands = $0.kernel { true } else { false } }
    // One for the last gate of each group, and one for the upscaling.
    #expect(bands == 3)
    // Nothing is copied.
    #expect(!plan.steps.contains { if case .copy = $0.kernel { true } else { false } })
  }

  /// Results take the places of others: two residuals, a block's input, queries with keys and values,
  /// and the convolution beside them.
  @Test(arguments: ["dat_direct_x2", "dat_shuffle_x2_tall"])
  func resultsSharePlaces(name: String) throws {
    #expect(try mostFloats(plan(name)) == 7 * 32)
  }
}
