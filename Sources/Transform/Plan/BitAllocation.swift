/// Chooses a bit width for each layer so that the sum of errors is minimal within a budget.
///
/// Each layer has one point (cost, error) per bit width. On the lower convex hull of a layer's
/// points, every step to more bits saves less error per unit of cost than the one before. Steps of
/// all layers are taken in the order of their savings per unit of cost, which is the optimum of the
/// Lagrangian relaxation, until one does not fit; steps of other layers that still fit follow in
/// the same order. Among equal savings the earlier layer's is taken, so the result is
/// deterministic.
struct BitAllocation {
  struct Point: Hashable, Sendable {
    let bitWidth: Int
    /// The cost in the unit of the budget; it grows with the bit width.
    let cost: Double
    let error: Double
  }

  /// - Parameters:
  ///   - layers: each with at least one point, in order of increasing cost.
  ///   - budget: the largest sum of costs.
  /// - Returns: the point chosen for each layer; `nil` when the cheapest points exceed the budget.
  static func choose(_ layers: [[Point]], budget: Double) -> [Point]? {
    let hulls = layers.map(lowerHull)
    var chosen = hulls.map { $0[0] }
    var spent = chosen.reduce(0) { $0 + $1.cost }
    guard spent <= budget else { return nil }
    var steps: [(layer: Int, index: Int, saving: Double)] = []
    for (layer, hull) in hulls.enumerated() {
      for index in hull.indices.dropFirst() {
        let saving =
          (hull[index - 1].error - hull[index].error) / (hull[index].cost - hull[index - 1].cost)
        steps.append((layer, index, saving))
      }
    }
    steps.sort { ($0.saving, $1.layer, $1.index) > ($1.saving, $0.layer, $0.index) }
    var isBlocked = [Bool](repeating: false, count: layers.count)
    for step in steps where !isBlocked[step.layer] {
      let hull = hulls[step.layer]
      let added = hull[step.index].cost - hull[step.index - 1].cost
      guard spent + added <= budget else {
        isBlocked[step.layer] = true
        continue
      }
      spent += added
      chosen[step.layer] = hull[step.index]
    }
    return chosen
  }

  /// Returns the lower convex hull of the points, from the cheapest to the one with the least
  /// error.
  private static func lowerHull(_ points: [Point]) -> [Point] {
    var hull: [Point] = []
    for point in points {
      if let last = hull.last, point.error >= last.error { continue }
      while hull.count >= 2, isAbove(hull[hull.count - 1], from: hull[hull.count - 2], to: point) {
        hull.removeLast()
      }
      hull.append(point)
    }
    return hull
  }

  private static func isAbove(_ middle: Point, from start: Point, to end: Point) -> Bool {
    (middle.error - start.error) * (end.cost - start.cost)
      >= (end.error - start.error) * (middle.cost - start.cost)
  }
}
