import Formats
import Foundation
import LinearAlgebra
import Storage
import TestSupport
import Testing

@testable import Transform

@Suite struct ConditionerTests {
  /// A matrix with the given condition number, and inputs with few strong directions.
  private struct Problem {
    let weight: Matrix
    let moment: Matrix

    init(rows: Int, columns: Int, conditionNumber: Double, seed: UInt64) throws {
      var generator = SplitMix(seed: seed)
      let start = Self.normal(rows, columns, &generator)
      let decomposition = try SingularValueDecomposition(of: start)
      let count = decomposition.values.count
      let values = (0..<count).map { index in
        count == 1 ? 1 : Foundation.pow(conditionNumber, -Double(index) / Double(count - 1))
      }
      weight = decomposition.reconstructed(with: values)
      let strong = Self.normal(max(1, columns / 4), columns, &generator)
      moment = strong.multiplied(by: strong, .transposed).addingToDiagonal(1e-3)
    }

    static func normal(_ rows: Int, _ columns: Int, _ generator: inout SplitMix) -> Matrix {
      Matrix(
        rows: rows, columns: columns,
        values: (0..<rows * columns).map { _ in Double(generator.nextNormal()) })
    }
  }

  private static let shapes = [(12, 12), (20, 9), (9, 20), (2, 2)]

  private func relativeError(_ weight: Matrix, _ other: Matrix, _ moment: Matrix) -> Double {
    other.adding(weight, times: -1).energy(moment) / weight.energy(moment)
  }

  @Test(arguments: shapes, [1, 2.5, 30]) func targetIsMetWithLessErrorThanClipping(
    _ shape: (Int, Int), _ target: Double
  ) throws {
    for seed in 0..<4 as Range<UInt64> {
      let problem = try Problem(
        rows: shape.0, columns: shape.1, conditionNumber: 1e4, seed: seed)
      let outcome = try Conditioner(.target(target)).condition(
        problem.weight, moment: problem.moment)
      let values = try SingularValues(of: outcome.matrix, method: .decomposition).values
      let reached = try #require(Conditioner.conditionNumber(values))
      #expect(reached <= target * (1 + 1e-6), "seed \(seed)")
      let decomposition = try SingularValueDecomposition(of: problem.weight)
      let clipped = decomposition.reconstructed(
        with: SpectrumProximal.projected(decomposition.values, target: target))
      let error = relativeError(problem.weight, outcome.matrix, problem.moment)
      #expect(error <= relativeError(problem.weight, clipped, problem.moment) * (1 + 1e-12))
      #expect(abs(error - outcome.relativeOutputError) <= 1e-9 * max(error, 1e-9))
      #expect(abs((outcome.conditionNumberBefore ?? 0) / 1e4 - 1) < 1e-6)
    }
  }

  /// W may change freely where inputs have no energy, and descent must make use of it.
  @Test func descentBeatsClippingOnRankDeficientInputs() throws {
    let problem = try Problem(rows: 16, columns: 16, conditionNumber: 1e4, seed: 9)
    let clipped = try Conditioner(.target(10)).condition(problem.weight)
    let descended = try Conditioner(.target(10), iterationLimit: 200).condition(
      problem.weight, moment: problem.moment)
    #expect(
      descended.relativeOutputError
        < 0.5 * relativeError(problem.weight, clipped.matrix, problem.moment))
    #expect(descended.iterationCount > 1)
  }

  @Test func penaltyLowersConditionNumber() throws {
    let problem = try Problem(rows: 14, columns: 10, conditionNumber: 1e4, seed: 3)
    var previous = 1e4
    for weight in [1e-6, 1e-4, 1e-2] {
      let outcome = try Conditioner(.penalty(weight)).condition(
        problem.weight, moment: problem.moment)
      let reached = try #require(outcome.conditionNumberAfter)
      #expect(reached < previous)
      previous = reached
    }
    let free = try Conditioner(.penalty(0)).condition(problem.weight, moment: problem.moment)
    #expect(free.matrix == problem.weight)
  }

  @Test func matrixThatMeetsTargetIsUnchanged() throws {
    let problem = try Problem(rows: 8, columns: 6, conditionNumber: 29, seed: 1)
    let outcome = try Conditioner(.target(30)).condition(problem.weight, moment: problem.moment)
    #expect(outcome.matrix == problem.weight)
    #expect(outcome.iterationCount == 0)
    #expect(outcome.relativeOutputError == 0)
  }

  @Test func orthogonalOutputChangesCarryOver() throws {
    let problem = try Problem(rows: 10, columns: 8, conditionNumber: 1e3, seed: 5)
    var generator = SplitMix(seed: 77)
    let rotation = try SingularValueDecomposition(of: Problem.normal(10, 10, &generator)).left
    let conditioner = Conditioner(.target(5))
    let plain = try conditioner.condition(problem.weight, moment: problem.moment)
    let turned = try conditioner.condition(
      rotation.multiplied(by: problem.weight), moment: problem.moment)
    let expected = rotation.multiplied(by: plain.matrix)
    let difference = expected.adding(turned.matrix, times: -1)
    #expect(difference.inner(difference) < 1e-16 * expected.inner(expected))
    #expect(plain.iterationCount == turned.iterationCount)
  }

  @Test(arguments: [(1, 6), (6, 1)]) func singleRowsAndColumnsStay(_ shape: (Int, Int)) throws {
    var generator = SplitMix(seed: 2)
    let matrix = Problem.normal(shape.0, shape.1, &generator)
    let outcome = try Conditioner(.target(1)).condition(
      matrix, moment: Matrix(identity: shape.1))
    #expect(outcome.matrix == matrix)
    #expect(outcome.conditionNumberBefore == 1)
  }

  @Test func zeroMatricesStayAndSingularOnesAreFilled() throws {
    let zero = Matrix(zerosOfRows: 4, columns: 5)
    let untouched = try Conditioner().condition(zero, moment: Matrix(identity: 5))
    #expect(untouched.matrix == zero)
    #expect(untouched.conditionNumberBefore == nil)
    let moments: [Matrix?] = [nil, Matrix(identity: 5), Matrix(zerosOfRows: 5, columns: 5)]
    let limit: Double = 30 * (1 + 1e-9)
    for moment in moments {
      let constant = Matrix(rows: 4, columns: 5, values: [Double](repeating: 0.25, count: 20))
      let outcome = try Conditioner(.target(30)).condition(constant, moment: moment)
      #expect(try #require(outcome.conditionNumberBefore) > 1e12)
      #expect(try #require(outcome.conditionNumberAfter) <= limit)
      let values = try SingularValues(of: outcome.matrix, method: .decomposition).values
      #expect(try #require(Conditioner.conditionNumber(values)) <= limit)
    }
  }

  @Test(arguments: [ElementType.float64, .float32, .float16, .bfloat16])
  func targetHoldsAfterRounding(_ elementType: ElementType) throws {
    for target in [2.0, 30] {
      let problem = try Problem(rows: 24, columns: 24, conditionNumber: 1e4, seed: 12)
      let values = problem.weight.values.map(elementType.rounded)
      let part = try WeightConditioner(Conditioner(.target(target))).condition(
        values, rows: 24, columns: 24, elementType: elementType, moment: problem.moment)
      let stored = try #require(part.values)
      #expect(stored.map(elementType.rounded) == stored)
      let tensor = try Tensor(
        elementType: elementType, shape: [24, 24], bytes: elementType.bytes(of: stored))
      let matrix = Matrix(rows: 24, columns: 24, values: try tensor.doubleValues())
      let spectrum = try SingularValues(of: matrix, method: .decomposition).values
      #expect((Conditioner.conditionNumber(spectrum) ?? .infinity) <= target * (1 + 1e-6))
    }
  }

  @Test func targetsUnreachableByRoundingAreErrors() throws {
    let problem = try Problem(rows: 24, columns: 24, conditionNumber: 1e4, seed: 12)
    let values = problem.weight.values.map(ElementType.bfloat16.rounded)
    #expect(
      throws: ModelError("a condition number of 1.0 cannot be reached in bfloat16")
    ) {
      try WeightConditioner(Conditioner(.target(1))).condition(
        values, rows: 24, columns: 24, elementType: .bfloat16, moment: nil)
    }
  }
}
