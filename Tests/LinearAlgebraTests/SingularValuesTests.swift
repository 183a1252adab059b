import Testing

@testable import LinearAlgebra

@Suite struct SingularValuesTests {
  @Test(arguments: SingularValues.Method.allCases)
  func diagonalMatrixHasMagnitudesOfDiagonal(_ method: SingularValues.Method) throws {
    let diagonal = [3.0, -7, 0.5, 2]
    let matrix = Matrix.filled(4, 6) { $0 == $1 ? diagonal[$0] : 0 }
    let values = try SingularValues(of: matrix, method: method).values
    #expect(largestRelativeError(values, [7, 3, 2, 0.5], floor: 0) < 1e-15)
  }

  /// Golden: `scipy.linalg.hilbert(6)`, `numpy.linalg.svd`.
  @Test func hilbertMatrixMatchesNumPy() throws {
    let golden = [
      1.6188998589243393, 0.2423608705752095, 0.01632152131987582, 0.0006157483541826447,
      1.2570757122632472e-05, 1.0827994844462713e-07,
    ]
    let matrix = Matrix.filled(6, 6) { 1 / Double($0 + $1 + 1) }
    let values = try SingularValues(of: matrix).values
    #expect(values.count == 6)
    #expect(largestRelativeError(values, golden, floor: 0) < 1e-9)
  }

  /// Goldens: `numpy.linalg.svd` of the pattern.
  @Test(arguments: [
    (3, 5, [0.9951665199053916, 0.8053653122083716, 0.46204481139323317]),
    (5, 3, [0.9345864236338578, 0.7030210334569866, 0.3864469029487983]),
  ])
  func patternMatchesNumPy(_ rows: Int, _ columns: Int, _ golden: [Double]) throws {
    let matrix = Matrix.pattern(rows: rows, columns: columns)
    let values = try SingularValues(of: matrix).values
    #expect(largestRelativeError(values, golden, floor: 0) < 1e-14)
  }

  /// The matrices are large enough for the Gram matrix. Goldens: `numpy.linalg.svd`.
  @Test(arguments: [
    (90, 130, 5.988181792738237, 3.02189645570138, 0.7633326572324632),
    (130, 90, 5.8665981612531635, 2.964923361383888, 0.7941696919502205),
  ])
  func largerPatternMatchesNumPy(
    _ rows: Int, _ columns: Int, _ first: Double, _ middle: Double, _ last: Double
  ) throws {
    let values = try SingularValues(of: Matrix.pattern(rows: rows, columns: columns)).values
    #expect(values.count == 90)
    let picked = [values[0], values[44], values[89]]
    #expect(largestRelativeError(picked, [first, middle, last], floor: 0) < 1e-12)
  }

  @Test(arguments: [(20, 60), (60, 20), (80, 200), (200, 80)])
  func transposingKeepsSingularValues(_ rows: Int, _ columns: Int) throws {
    let matrix = Matrix.pattern(rows: rows, columns: columns)
    for method in SingularValues.Method.allCases {
      let values = try SingularValues(of: matrix, method: method).values
      let transposed = try SingularValues(of: matrix.transposed, method: method).values
      #expect(largestRelativeError(values, transposed, floor: 1e-3) < 1e-12)
    }
  }

  @Test(arguments: [(1, 1), (1, 7), (7, 1), (3, 4), (4, 3), (70, 90)])
  func zeroMatrixHasZeroSingularValues(_ rows: Int, _ columns: Int) throws {
    let values = try SingularValues(of: Matrix.filled(rows, columns) { _, _ in 0 }).values
    #expect(values == [Double](repeating: 0, count: min(rows, columns)))
  }

  @Test(arguments: [(0, 0), (0, 3), (3, 0)])
  func emptyMatrixHasNoSingularValues(_ rows: Int, _ columns: Int) throws {
    #expect(try SingularValues(of: Matrix(rows: rows, columns: columns, values: [])).values == [])
  }

  @Test(arguments: [(1, 9), (9, 1), (30, 40), (100, 90)])
  func constantHasRankOne(_ rows: Int, _ columns: Int) throws {
    let values = try SingularValues(of: Matrix.filled(rows, columns) { _, _ in -2 }).values
    let expected = 2 * Double(rows * columns).squareRoot()
    #expect(abs(values[0] - expected) < 1e-13 * expected)
    #expect(values.dropFirst().allSatisfy { $0 >= 0 && $0 < 1e-14 * expected })
  }

  @Test(arguments: [Double.nan, .infinity, -.infinity])
  func nonFiniteElementIsRefused(_ value: Double) throws {
    var matrix = Matrix.pattern(rows: 4, columns: 3)
    matrix[2, 1] = value
    #expect(throws: LAPACKError.nonFiniteElement(row: 2, column: 1, value: "\(value)")) {
      try SingularValues(of: matrix)
    }
  }

  @Test func errorsDescribeElementOrRoutine() {
    #expect(
      "\(LAPACKError.nonFiniteElement(row: 2, column: 1, value: "nan"))"
        == "the element in row 2, column 1 is nan")
    #expect(
      "\(LAPACKError.noConvergence(routine: "dgesdd", info: 3))"
        == "dgesdd did not converge (info 3)")
  }

  /// Spectra that span κ in equal ratios, in a cluster at each end, and with one small value.
  @Test(arguments: [(80, 80), (100, 160), (160, 100)], [1.5, 1e2, 1e4, 1e5, 2e5, 1e6, 1e8, 1e12])
  func gramPathIsAccurate(_ size: (Int, Int), _ condition: Double) throws {
    let count = min(size.0, size.1)
    let graded = (0..<count).map { exponential(condition, Double($0) / Double(count - 1)) }
    let clustered = (0..<count).map {
      ($0 < count / 2 ? 1 : 1 / condition) * (1 + 1e-7 * Double(count - $0))
    }
    let outlier = (0..<count).map { $0 == count - 1 ? 1 / condition : 1 }
    for (seed, spectrum) in [graded, clustered, outlier].enumerated() {
      let matrix = Matrix.withSingularValues(
        spectrum, rows: size.0, columns: size.1, seed: UInt64(seed))
      let reference = try SingularValues(of: matrix, method: .decomposition).values
      let values = try SingularValues(of: matrix).values
      #expect(largestRelativeError(reference, spectrum, floor: 1e-6) < 1e-8)
      #expect(largestRelativeError(values, reference, floor: 1e-6) < SingularValues.gramErrorLimit)
      // The smallest value decides the condition number: it is never lost, however small.
      let absolute = 16 * Double(count) * .ulpOfOne * spectrum[0]
      let bound = max(absolute, SingularValues.gramErrorLimit * reference[count - 1])
      #expect(abs(values[count - 1] - reference[count - 1]) <= bound)
    }
  }

  /// The check must neither accept inaccurate values nor send ordinary weights to the slow path.
  @Test(arguments: [(1e2, true), (1e4, true), (1e6, false), (1e15, false)])
  func gramPathRefusesInaccurateSpectra(_ condition: Double, _ isAccepted: Bool) throws {
    let spectrum = (0..<80).map { $0 == 79 ? 1 / condition : 1 }
    let matrix = Matrix.withSingularValues(spectrum, rows: 80, columns: 100, seed: 5)
    let values = try SingularValues.fromGram(of: matrix, largest: 1)
    #expect((values != nil) == isAccepted)
  }

  /// Returns κ^−t.
  private func exponential(_ condition: Double, _ t: Double) -> Double {
    var result = 1.0
    var factor = condition
    var rest = t
    // The binary digits of t select repeated square roots, which avoids Foundation's pow.
    for _ in 0..<52 where rest > 0 {
      if rest >= 1 {
        result /= factor
        rest -= 1
      }
      rest *= 2
      factor = factor.squareRoot()
    }
    return result
  }

  @Test(arguments: [1e-300, 1e-200, 1e200, 1e300])
  func singularValuesScaleWithMatrix(_ scale: Double) throws {
    let matrix = Matrix.pattern(rows: 90, columns: 100)
    let scaled = Matrix.filled(90, 100) { matrix[$0, $1] * scale }
    let expected = try SingularValues(of: matrix, method: .decomposition).values.map { $0 * scale }
    for method in SingularValues.Method.allCases {
      let values = try SingularValues(of: scaled, method: method).values
      #expect(largestRelativeError(values, expected, floor: 1e-6) < 1e-10)
    }
  }

  @Test func singularValuesAreSameInsideParallelMap() throws {
    let matrices = (0..<6).map { Matrix.pattern(rows: 70 + $0, columns: 90) }
    let together = try parallelMap(count: 6, threads: 3) { index in
      try SingularValues(of: matrices[index]).values
    }
    for (values, matrix) in zip(together, matrices) {
      let alone = try SingularValues(of: matrix).values
      #expect(largestRelativeError(values, alone, floor: 0) < 1e-11)
    }
  }
}
