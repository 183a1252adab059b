import LinearAlgebra
import Testing

@testable import Inspect

@Suite struct SpectrumTests {
  /// Goldens: NumPy's `svd`, `linalg.cond`, `linalg.norm`, and the formulas in the documentation.
  @Test func spectrumMatchesNumPy() throws {
    let values = (0..<15).map { index in
      let (i, j) = (index / 5, index % 5)
      return Double((i * 37 + j * 101 + i * j * 13) % 97) / 97 - 0.5
    }
    let spectrum = try Spectrum(of: Matrix(rows: 3, columns: 5, values: values))
    #expect(abs(spectrum.conditionNumber - 2.1538311769038216) < 1e-14)
    #expect(abs(spectrum.stableRank - 1.8704933817829748) < 1e-14)
    #expect(abs(spectrum.effectiveRank - 2.867253896615564) < 1e-14)
    #expect(abs(spectrum.frobeniusNorm - 1.361049262952853) < 1e-14)
    #expect(spectrum.numericalRank == 3)
  }

  @Test func zeroMatrixHasInfiniteCondition() throws {
    let zero = Matrix(rows: 2, columns: 3, values: .init(repeating: 0, count: 6))
    let spectrum = try Spectrum(of: zero)
    #expect(spectrum.conditionNumber == .infinity)
    #expect(spectrum.numericalRank == 0)
    #expect(spectrum.stableRank == 0)
    #expect(spectrum.effectiveRank == 0)
    #expect(spectrum.frobeniusNorm == 0)
  }

  @Test(arguments: [(1, 5), (5, 1)])
  func singleRowOrColumnHasConditionOne(_ rows: Int, _ columns: Int) throws {
    let spectrum = try Spectrum(of: Matrix(rows: rows, columns: columns, values: [3, 0, 4, 0, 0]))
    #expect(spectrum.singularValues.count == 1)
    #expect(abs(spectrum.sigmaMax - 5) < 1e-14)
    #expect(spectrum.conditionNumber == 1)
    #expect(spectrum.stableRank == 1)
  }

  @Test func rankToleranceIsThatOfDoublePrecision() {
    let tolerance = 100 * Double.ulpOfOne
    let atTolerance = Spectrum(singularValues: [1, tolerance], rows: 2, columns: 100)
    #expect(atTolerance.conditionNumber == .infinity)
    #expect(atTolerance.numericalRank == 1)
    let above = Spectrum(singularValues: [1, tolerance.nextUp], rows: 2, columns: 100)
    #expect(above.conditionNumber < 1e14)
    #expect(above.numericalRank == 2)
  }

  @Test func hugeValuesDoNotOverflow() {
    let spectrum = Spectrum(singularValues: [1e300, 1e300], rows: 2, columns: 2)
    #expect(spectrum.stableRank == 2)
    #expect(spectrum.frobeniusNorm == 1e300 * 2.0.squareRoot())
  }

  @Test(arguments: [
    ([100, 1, 1, 1], 2, 0), ([1e9, 1, 1, 1], 2, 1), ([1e9, 1e9], 2, 0), ([1e9, 1e9], 1, 0),
    ([2e9, 4e8, 4e8], 2, 1), ([5e9, 4e9, 1e8], 2, 0), ([8e9, 7e8, 1e8], 2, 2), ([], 2, 0),
  ])
  func largestMatricesAreComputedAlone(_ costs: [Double], _ threads: Int, _ count: Int) {
    #expect(ModelReport.leadingGiants(costs, threads: threads) == count)
  }
}
