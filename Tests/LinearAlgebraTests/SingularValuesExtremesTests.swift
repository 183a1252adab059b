import Testing

@testable import LinearAlgebra

@Suite struct SingularValuesExtremesTests {
  /// Both orientations, and more columns than are widened at a time.
  @Test(arguments: [(7, 5), (5, 7), (3, 1500), (40, 1), (1, 40)])
  func gramOperatorIsTheProduct(_ rows: Int, _ columns: Int) {
    let matrix = Matrix.pattern(rows: rows, columns: columns)
    let gram = GramOperator(rows: rows, columns: columns, values: matrix.values.map(Float.init))
    let vector = (0..<gram.count).map { Double($0 % 5) - 1.5 }
    let wide = rows <= columns ? matrix : matrix.transposed
    // The plain sums, over the elements that Float rounds to.
    var expected = [Double](repeating: 0, count: wide.rows)
    for i in 0..<wide.rows {
      for j in 0..<wide.rows {
        for k in 0..<wide.columns {
          expected[i] += Double(Float(wide[i, k])) * Double(Float(wide[j, k])) * vector[j]
        }
      }
    }
    let scale = expected.map(\.magnitude).max() ?? 0
    for (value, reference) in zip(gram.apply(vector), expected) {
      #expect(abs(value - reference) <= 1e-12 * scale)
    }
  }

  private func rounded(_ matrix: Matrix) -> (floats: [Float], widened: Matrix) {
    let floats = matrix.values.map(Float.init)
    let widened = Matrix(
      rows: matrix.rows, columns: matrix.columns, values: floats.map(Double.init))
    return (floats, widened)
  }

  /// Spectra that span κ in equal steps, in a cluster at each end, and with one small value.
  @Test(arguments: [(100, 100), (100, 160), (160, 100)], [1.01, 30, 1e3, 1e5, 1e7, 1e12])
  func agreeWithTheDecomposition(_ size: (Int, Int), _ condition: Double) throws {
    let count = min(size.0, size.1)
    let spectra: [[Double]] = [
      (0..<count).map { 1 - (1 - 1 / condition) * Double($0) / Double(count - 1) },
      (0..<count).map {
        ($0 < count / 2 ? 1 : 1 / condition) * (1 + 1e-7 * Double(count - $0))
      },
      (0..<count).map { $0 == count - 1 ? 1 / condition : 1 },
    ]
    for (seed, spectrum) in spectra.enumerated() {
      let (floats, matrix) = rounded(
        .withSingularValues(spectrum, rows: size.0, columns: size.1, seed: UInt64(seed)))
      let all = try SingularValues(of: matrix, method: .decomposition).values
      let extremes = try ExtremeSingularValues(rows: size.0, columns: size.1, values: floats)
      #expect(abs(extremes.largest / all[0] - 1) < ExtremeSingularValues.relativeError)
      let absolute = 16 * Double(count) * .ulpOfOne * all[0]
      let bound = max(absolute, ExtremeSingularValues.relativeError * all[count - 1])
      #expect(abs(extremes.smallest - all[count - 1]) <= bound)
    }
  }

  /// Norms of unit vectors lie between the ends, so the condition number is never exaggerated.
  @Test(arguments: [3.0, 100, 3000])
  func iterationsErrToTheInside(_ condition: Double) throws {
    let spectrum = (0..<120).map { 1 - (1 - 1 / condition) * Double($0) / 119 }
    let (floats, matrix) = rounded(
      .withSingularValues(spectrum, rows: 120, columns: 300, seed: 4))
    let all = try SingularValues(of: matrix, method: .decomposition).values
    let found = try #require(
      try ExtremeSingularValues.iterated(GramOperator(rows: 120, columns: 300, values: floats)))
    #expect(found.largest <= all[0] * (1 + 1e-12))
    #expect(found.smallest >= all[119] * (1 - 1e-9))
  }

  /// What the iteration cannot resolve must not pass for a result.
  @Test func rankDeficientMatricesAreDecomposed() throws {
    let spectrum = (0..<100).map { $0 < 60 ? 1.0 : 0 }
    let floats = rounded(
      .withSingularValues(spectrum, rows: 100, columns: 100, seed: 9)
    ).floats
    let gram = GramOperator(rows: 100, columns: 100, values: floats)
    #expect(try ExtremeSingularValues.iterated(gram) == nil)
    let all = try SingularValues(
      of: Matrix(rows: 100, columns: 100, values: floats.map(Double.init))
    ).values
    let extremes = try ExtremeSingularValues(rows: 100, columns: 100, values: floats)
    #expect(extremes.largest == all[0])
    #expect(extremes.smallest == all[99])
  }

  @Test(arguments: [(1, 1), (2, 9), (9, 2), (120, 130)])
  func zero(_ rows: Int, _ columns: Int) throws {
    let extremes = try ExtremeSingularValues(
      rows: rows, columns: columns, values: [Float](repeating: 0, count: rows * columns))
    #expect(extremes.largest == 0)
    #expect(extremes.smallest == 0)
  }

  @Test(arguments: [Float.nan, .infinity])
  func nonFiniteElement(_ value: Float) {
    var values = Matrix.pattern(rows: 110, columns: 100).values.map(Float.init)
    values[203] = value
    #expect(throws: LAPACKError.nonFiniteElement(row: 2, column: 3, value: "\(Double(value))")) {
      try ExtremeSingularValues(rows: 110, columns: 100, values: values)
    }
  }

  @Test(arguments: [Float(0x1p-100), 0x1p100])
  func farFromOne(_ scale: Float) throws {
    let values = Matrix.pattern(rows: 120, columns: 100).values.map { Float($0) }
    let expected = try ExtremeSingularValues(rows: 120, columns: 100, values: values)
    let extremes = try ExtremeSingularValues(
      rows: 120, columns: 100, values: values.map { $0 * scale })
    #expect(abs(extremes.largest / (expected.largest * Double(scale)) - 1) < 1e-4)
    #expect(abs(extremes.smallest / (expected.smallest * Double(scale)) - 1) < 1e-4)
  }

  @Test func sameInEveryRun() throws {
    let values = Matrix.pattern(rows: 150, columns: 110).values.map(Float.init)
    let found = try parallelMap(count: 4, threads: 2) { _ in
      try ExtremeSingularValues(rows: 150, columns: 110, values: values)
    }
    #expect(Set(found).count == 1)
  }
}
