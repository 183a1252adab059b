import Glibc

/// The constraint that conditioning imposes on a matrix's singular values.
///
/// ```swift
/// var recipe = Recipe.calibrated(bitWidth: 2, method: .condiQuant)
/// recipe.method.constraint = .target(10)
/// let archive = try FormatRegistry.standard.open("model.pth")
/// var compressor = try Compressor(archive, recipe: recipe)
/// try compressor.calibrate(with: .images("photos"))
/// print(try compressor.write(to: "model.condi").layers.compactMap(\.conditionNumberAfter))
/// ```
public enum ConditionConstraint: Hashable, Sendable {
  /// The limit of the condition number, at least 1.
  case target(Double)
  /// The weight of `G = log σ_max − log σ_min`, relative to the output's energy `E‖Wx‖²`; not
  /// negative.
  case penalty(Double)

  /// The default limit of the condition number: the mean that CondiQuant reaches.
  public static let standard = target(28)
}

/// The two proximal operators of conditioning on a spectrum, both exact.
///
/// They act only on singular values: the norm and both functions are unitarily invariant, so the
/// proximal point of a matrix keeps its singular vectors (Parikh and Boyd, Proximal Algorithms,
/// section 6.7).
enum SpectrumProximal {
  /// Returns the values nearest in the least-squares sense with `largest ≤ target · smallest`:
  /// `clip(σ, t, target · t)`.
  ///
  /// `t` minimizes the convex, piecewise quadratic `Σ_{σ<t} (t − σ)² + Σ_{σ>κt} (σ − κt)²`, whose
  /// derivative grows with `t`. Its pieces end at the values `σ` and `σ/κ`; a search of the sorted
  /// ends finds the piece with the derivative's zero, which is then computed in closed form.
  ///
  /// - Parameters:
  ///   - values: in descending order, none negative.
  ///   - target: at least 1.
  /// - Returns: `values` if they already meet the target or are all zero.
  /// - Complexity: O(n log n).
  static func projected(_ values: [Double], target: Double) -> [Double] {
    precondition(target >= 1, "a condition number is at least 1")
    guard let largest = values.first, let smallest = values.last, largest > 0,
      largest > target * smallest
    else { return values }
    let ascending = Array(values.reversed())
    let sums = prefixSums(ascending)
    let count = values.count
    /// Half the derivative at `t` is `slope · t − offset`.
    func piece(at t: Double) -> (slope: Double, offset: Double) {
      let below = partition(ascending) { $0 < t }
      let above = partition(ascending) { $0 <= target * t }
      return (
        Double(below) + target * target * Double(count - above),
        sums[below] + target * (sums[count] - sums[above])
      )
    }
    let ends = (ascending + ascending.map { $0 / target }).sorted()
    // The first end at which the derivative is not negative closes the piece with the zero.
    var low = 0
    var high = ends.count - 1
    while low < high {
      let middle = (low + high) / 2
      let (slope, offset) = piece(at: ends[middle])
      if slope * ends[middle] >= offset { high = middle } else { low = middle + 1 }
    }
    let start = low > 0 ? ends[low - 1] : 0
    let (slope, offset) = piece(at: (start + ends[low]) / 2)
    let t = slope > 0 ? min(max(offset / slope, start), ends[low]) : ends[low]
    return values.map { min(max($0, t), target * t) }
  }

  /// Returns the values `s` that minimize `½ Σ (s − σ)² + weight · (log s_max − log s_min)`.
  ///
  /// The solution is `clip(σ, l, h)`. Each end has one stationary point per piece of the sorted
  /// values, the root of a quadratic; if no pair of them has `l < h`, or a single value is cheaper,
  /// all values become their mean.
  ///
  /// - Parameters:
  ///   - values: in descending order, none negative.
  ///   - weight: not negative.
  static func penalized(_ values: [Double], weight: Double) -> [Double] {
    precondition(weight >= 0, "a penalty is not negative")
    let count = values.count
    guard weight > 0, count > 1, values[0] > 0 else { return values }
    let descending = prefixSums(values)
    let ascending = prefixSums(values.reversed())
    let squares = prefixSums(values.map { $0 * $0 })
    func upper(_ height: Double) -> Double {
      let above = values.prefix { $0 > height }.count
      return 0.5
        * (squares[above] - 2 * height * descending[above] + height * height * Double(above))
        + weight * log(height)
    }
    func lower(_ depth: Double) -> Double {
      let below = values.reversed().prefix { $0 < depth }.count
      let square = squares[count] - squares[count - below]
      return 0.5 * (square - 2 * depth * ascending[below] + depth * depth * Double(below))
        - weight * log(depth)
    }
    var heights: [Double] = []
    var depths: [Double] = []
    for taken in 1...count {
      // With the `taken` largest values above: taken·h² − sum·h + weight = 0, the minimum is the
      // larger root.
      let discriminant = descending[taken] * descending[taken] - 4 * Double(taken) * weight
      if discriminant >= 0 {
        let height = (descending[taken] + discriminant.squareRoot()) / (2 * Double(taken))
        let next = taken < count ? values[taken] : 0
        if height <= values[taken - 1], height >= next, height > 0 { heights.append(height) }
      }
      // With the `taken` smallest below: taken·l² − sum·l − weight = 0.
      let sum = ascending[taken]
      let depth =
        (sum + (sum * sum + 4 * Double(taken) * weight).squareRoot()) / (2 * Double(taken))
      let next = taken < count ? values[count - taken - 1] : .infinity
      if depth >= values[count - taken], depth <= next { depths.append(depth) }
    }
    let mean = descending[count] / Double(count)
    var best = (
      cost: values.reduce(0) { $0 + 0.5 * ($1 - mean) * ($1 - mean) }, low: mean, high: mean
    )
    for height in heights {
      for depth in depths where depth < height {
        let cost = upper(height) + lower(depth)
        if cost < best.cost { best = (cost, depth, height) }
      }
    }
    return values.map { min(max($0, best.low), best.high) }
  }

  private static func prefixSums(_ values: [Double]) -> [Double] {
    var sums = [0.0]
    for value in values { sums.append(sums[sums.count - 1] + value) }
    return sums
  }

  /// Returns the number of leading values of `ascending` that satisfy `predicate`; no later one
  /// does.
  private static func partition(_ ascending: [Double], _ predicate: (Double) -> Bool) -> Int {
    var low = 0
    var high = ascending.count
    while low < high {
      let middle = (low + high) / 2
      if predicate(ascending[middle]) { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
