import Glibc
import LinearAlgebra

/// Lowers the condition number of a weight matrix while preserving the layer's output.
///
/// For `y = Wx`, `‖Δy‖/‖y‖ ≤ κ(W) · ‖Δx‖/‖x‖`: the relative error that quantization adds to
/// activations grows by at most the condition number. Activations are far from full rank, so W may
/// change where inputs have no energy. CondiQuant minimizes
///
///     ½ E‖(W' − W)x‖² + λ·G(W')
///
/// by proximal gradient descent: a step of `1/λ_max(H)` against the gradient `(W' − W)H`, where
/// `H = E[xxᵀ]`, then the proximal operator of G on the singular values, which keeps the singular
/// vectors (Parikh and Boyd, "Proximal Algorithms", 2014, section 6.7). Descent starts at the plain
/// projection of W, and every step that is kept lowers the objective, so the result is never worse
/// than clipping the spectrum. Steps are accelerated by Nesterov's momentum, which restarts
/// whenever it would not descend (O'Donoghue and Candès 2015).
package struct Conditioner: Hashable, Sendable {
  /// The target or the penalty of the condition number.
  package let constraint: ConditionConstraint
  /// The limit of steps; each takes one singular value decomposition.
  package let iterationLimit: Int
  /// The relative decrease of the objective below which descent ends.
  package let tolerance: Double

  package init(
    _ constraint: ConditionConstraint = .standard, iterationLimit: Int = 50,
    tolerance: Double = 1e-3
  ) {
    self.constraint = constraint
    self.iterationLimit = iterationLimit
    self.tolerance = tolerance
  }

  /// A conditioned matrix with its condition numbers and its cost.
  package struct Outcome: Hashable, Sendable {
    /// The conditioned matrix, of the same shape.
    package let matrix: Matrix
    /// `σ_max / σ_min`; infinite for singular matrices, `nil` for zero and empty ones.
    package let conditionNumberBefore: Double?
    /// `σ_max / σ_min` of the conditioned matrix, likewise.
    package let conditionNumberAfter: Double?
    /// The number of steps taken; 0 if there was nothing to do.
    package let iterationCount: Int
    /// `E‖(W' − W)x‖² / E‖Wx‖²`; zero if nothing changed.
    package let relativeOutputError: Double
  }

  /// Conditions `matrix`, `[out, in]`.
  ///
  /// Matrices with one row or column, zero matrices, and those that meet the target are returned
  /// unchanged. For rank-deficient matrices, the missing directions are filled in.
  ///
  /// - Parameter moment: `H = E[xxᵀ]`, `[in, in]`, symmetric and positive semidefinite; `nil` for
  ///   unknown inputs, which means the identity.
  /// - Throws: `LAPACKError` when an element is not finite or a decomposition does not converge.
  /// - Complexity: O(iterations · out · in · min(out, in)).
  package func condition(_ matrix: Matrix, moment: Matrix? = nil) throws -> Outcome {
    let spectrum = try SingularValueDecomposition(of: matrix)
    let before = Self.conditionNumber(spectrum.values)
    guard let before, spectrum.values.count > 1, needsWork(before) else {
      return Outcome(
        matrix: matrix, conditionNumberBefore: before, conditionNumberAfter: before,
        iterationCount: 0, relativeOutputError: 0)
    }
    let problem = try Problem(matrix, moment: moment, constraint: constraint)
    var current = problem.point(spectrum, step: problem.step)
    var iterationCount = 0
    // Without a moment the first projection is the solution.
    if moment != nil, problem.step > 0 {
      (current, iterationCount) = try descend(from: current, problem)
    }
    return Outcome(
      matrix: current.matrix, conditionNumberBefore: before,
      conditionNumberAfter: Self.conditionNumber(current.values), iterationCount: iterationCount,
      relativeOutputError: problem.energy > 0 ? 2 * current.fidelity / problem.energy : 0)
  }

  /// The relative amount by which a condition number may exceed the target: rounding to the element
  /// type may leave it, so a matrix that was conditioned before stays unchanged.
  static let targetSlack = 1e-6

  /// Returns `σ_max / σ_min` of values in descending order.
  package static func conditionNumber(_ values: [Double]) -> Double? {
    guard let largest = values.first, let smallest = values.last, largest > 0 else { return nil }
    return smallest > 0 ? largest / smallest : .infinity
  }

  private func needsWork(_ conditionNumber: Double) -> Bool {
    switch constraint {
    case .target(let target): conditionNumber > target * (1 + Self.targetSlack)
    case .penalty(let weight): weight > 0 && conditionNumber > 1
    }
  }

  private func descend(from start: Point, _ problem: Problem) throws -> (Point, Int) {
    var current = start
    var previous = start
    var momentum = 1.0
    for iteration in 1...max(1, iterationLimit) {
      let nextMomentum = (1 + (1 + 4 * momentum * momentum).squareRoot()) / 2
      let factor = (momentum - 1) / nextMomentum
      let ahead = current.matrix.adding(
        current.matrix.adding(previous.matrix, times: -1), times: factor)
      var next = try problem.step(from: ahead)
      momentum = nextMomentum
      if next.objective > current.objective, factor > 0 {
        momentum = 1
        next = try problem.step(from: current.matrix)
      }
      // A plain step descends, up to rounding.
      guard next.objective < current.objective else { return (current, iteration) }
      let isSettled = current.objective - next.objective <= tolerance * current.objective.magnitude
      (previous, current) = (current, next)
      if isSettled, factor == 0 || momentum > 2 { return (current, iteration) }
    }
    return (current, iterationLimit)
  }
}

/// A matrix that meets the constraint, with its spectrum and its cost.
private struct Point {
  let matrix: Matrix
  let values: [Double]
  /// `½ E‖(W' − W)x‖²`.
  let fidelity: Double
  /// The fidelity and the penalty.
  let objective: Double
}

private struct Problem {
  let original: Matrix
  let moment: Matrix?
  let constraint: ConditionConstraint
  /// `E‖Wx‖²`.
  let energy: Double
  /// `1/λ_max(H)`; zero if inputs are zero.
  let step: Double

  init(_ original: Matrix, moment: Matrix?, constraint: ConditionConstraint) throws {
    self.original = original
    self.moment = moment
    self.constraint = constraint
    energy = moment.map(original.energy) ?? original.inner(original)
    let largest = try moment.map { try SymmetricEigenvalues(of: $0).values.last ?? 0 } ?? 1
    step = largest > 0 ? 1 / largest : 0
  }

  private var weight: Double {
    guard case .penalty(let weight) = constraint else { return 0 }
    return weight * energy
  }

  func step(from matrix: Matrix) throws -> Point {
    let difference = matrix.adding(original, times: -1)
    let gradient = moment.map { difference.multiplied(by: $0) } ?? difference
    let decomposition = try SingularValueDecomposition(
      of: matrix.adding(gradient, times: -step))
    return point(decomposition, step: step)
  }

  /// Returns the proximal point of a decomposed matrix.
  func point(_ decomposition: SingularValueDecomposition, step: Double) -> Point {
    let values =
      switch constraint {
      case .target(let target):
        SpectrumProximal.projected(decomposition.values, target: target)
      case .penalty: SpectrumProximal.penalized(decomposition.values, weight: step * weight)
      }
    let matrix = decomposition.reconstructed(with: values)
    let difference = matrix.adding(original, times: -1)
    let fidelity = 0.5 * (moment.map(difference.energy) ?? difference.inner(difference))
    var objective = fidelity
    if weight > 0, let largest = values.first, let smallest = values.last, smallest > 0 {
      objective += weight * logRatio(largest, smallest)
    }
    return Point(matrix: matrix, values: values, fidelity: fidelity, objective: objective)
  }

  private func logRatio(_ largest: Double, _ smallest: Double) -> Double {
    Glibc.log(largest / smallest)
  }
}

/// The result of conditioning one weight matrix of a model.
package struct ConditionedMatrix: Codable, Hashable, Sendable {
  /// The tensor's name.
  package let name: String
  /// The index, counted from zero, of one of several stacked matrices; `nil` if there is only one.
  package let part: Int?
  /// The number of output features of the matrix `[rows, columns]`.
  package let rows: Int
  /// The number of input features; for a convolution `in·kh·kw`.
  package let columns: Int
  /// Whether the inputs' second moment was known; otherwise it was assumed to be the identity.
  package let isCalibrated: Bool
  /// The original `σ_max / σ_min`; `nil` for zero matrices and infinite for singular ones.
  package let conditionNumberBefore: Double?
  /// `σ_max / σ_min` of the result, likewise.
  package let conditionNumberAfter: Double?
  /// The number of steps of proximal gradient descent; 0 if the matrix met the target.
  package let iterationCount: Int
  /// `E‖(W' − W)x‖² / E‖Wx‖²`; zero for matrices that keep every bit.
  package let relativeOutputError: Double
  /// Whether any bit changed.
  package let isChanged: Bool
}
