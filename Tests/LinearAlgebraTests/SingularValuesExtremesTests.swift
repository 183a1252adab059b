import TestSupport
import Testing

@testable import LinearAlgebra

@Suite struct SingularValuesExtremesTests {
  private func gram(of matrix: Matrix) throws -> GramMatrix {
    GramMatrix(of: matrix, largest: try SingularValues.largestMagnitude(in: matrix))
  }

  @Test(arguments: [(7, 5), (5, 7), (3, 1500), (40, 1), (1, 40)])
  func gramMatrixMatchesProduct(_ rows: Int, _ columns: Int) throws {
    let matrix = Matrix.pattern(rows: rows, columns: columns)
    let gram = try gram(of: matrix)
    let vector = (0..<gram.count).map { Double($0 % 5) - 1.5 }
    let wide = rows <= columns ? matrix : matrix.transposed
    var expected = [Double](repeating: 0, count: wide.rows)
    for i in 0..<wide.rows {
      for j in 0..<wide.rows {
        for k in 0..<wide.columns { expected[i] += wide[i, k] * wide[j, k] * vector[j] }
      }
    }
    let scale = expected.map(\.magnitude).max() ?? 0
    for (value, reference) in zip(gram.apply(vector), expected) {
      #expect(abs(value - reference) <= 1e-12 * scale)
    }
  }

  /// Counts below, at and beside the bandwidth and multiples of it; graded and clustered spectra,
  /// some with zeros.
  @Test(arguments: VectorLevels.available, [1, 2, 3, 32, 33, 34, 64, 65, 70, 150])
  func oneAndTwoStageReductionsAgree(_ level: UInt32, _ count: Int) throws {
    let spectra: [[Double]] = [
      (0..<count).map { 1 / Double($0 + 1) },
      (0..<count).map { exponential(1e9, Double($0) / Double(count)) },
      (0..<count).map { $0 < count / 2 ? 1 : 1e-3 },
      (0..<count).map { $0 <= count / 3 ? 1 - Double($0) / Double(count) : 0 },
    ]
    for (seed, spectrum) in spectra.enumerated() {
      let gram = try gram(
        of: .withSingularValues(spectrum, rows: count, columns: count, seed: UInt64(seed)))
      let found = try VectorLevels.at(level) { try gram.eigenvalues(inTwoStages: true) }
      for (value, expected) in zip(found, spectrum.reversed()) {
        #expect(abs(value - expected * expected) < 1e-13)
      }
      for (value, expected) in zip(found, try gram.eigenvalues(inTwoStages: false)) {
        #expect(abs(value - expected) < 1e-14)
      }
    }
  }

  @Test(arguments: VectorLevels.available) func diagonalMatrixKeepsEigenvalues(_ level: UInt32)
    throws
  {
    let gram = try gram(of: Matrix.filled(90, 90) { $0 == $1 ? Double($0 + 1) : 0 })
    let found = try VectorLevels.at(level) { try gram.eigenvalues(inTwoStages: true) }
    #expect(found == (1...90).map { Double($0 * $0) })
  }

  /// Checks Sylvester's inertia on either side of the ends of a spectrum.
  @Test func factorsExistUpToEndsOfSpectrum() throws {
    let spectrum = (0..<100).map { 2 - Double($0) / 99 }
    let gram = try gram(of: .withSingularValues(spectrum, rows: 100, columns: 130, seed: 3))
    var factor: [Double] = []
    #expect(gram.factor(shift: 0.999, into: &factor))
    #expect(!gram.factor(shift: 1.001, into: &factor))
    #expect(gram.factor(shift: 4.001, sign: -1, into: &factor))
    #expect(!gram.factor(shift: 3.999, sign: -1, into: &factor))
  }

  /// Returns spectra that span κ in equal steps, in equal ratios, in a cluster at each end, in
  /// pairs, and with one small value.
  private func spectra(_ count: Int, condition: Double) -> [[Double]] {
    let ratio = exponential(condition, 1 / Double(count - 1))
    let even = (0..<count).map { 1 - (1 - 1 / condition) * Double($0) / Double(count - 1) }
    var graded = [1.0]
    for _ in 1..<count { graded.append(graded[graded.count - 1] * ratio) }
    return [
      even, graded,
      (0..<count).map {
        ($0 < count / 2 ? 1 : 1 / condition) * (1 + 1e-7 * Double(count - $0))
      },
      (0..<count).map { even[$0 / 2 * 2] },
      (0..<count).map { $0 == count - 1 ? 1 / condition : 1 },
    ]
  }

  /// Values that the iterations and the proofs accept are correct, whatever the spectrum.
  @Test(arguments: [(100, 100), (100, 160), (160, 100)], [1.01, 30, 1e3, 1e5, 1e7, 1e12])
  func provenExtremesMatchDecomposition(_ size: (Int, Int), _ condition: Double) throws {
    let count = min(size.0, size.1)
    for (seed, spectrum) in spectra(count, condition: condition).enumerated() {
      let matrix = Matrix.withSingularValues(
        spectrum, rows: size.0, columns: size.1, seed: UInt64(seed))
      guard let ends = try ExtremeSingularValues.proven(try gram(of: matrix)) else { continue }
      let all = try SingularValues(of: matrix, method: .decomposition).values
      #expect(abs(ends.largest / all[0] - 1) < ExtremeSingularValues.relativeError)
      #expect(abs(ends.smallest / all[count - 1] - 1) < ExtremeSingularValues.relativeError)
    }
  }

  /// Ordinary spectra must not take the slow path.
  @Test(arguments: [30.0, 1e3, 2e4])
  func ordinarySpectraAreProven(_ condition: Double) throws {
    for (seed, spectrum) in spectra(100, condition: condition).enumerated() {
      let matrix = Matrix.withSingularValues(spectrum, rows: 100, columns: 160, seed: UInt64(seed))
      #expect(try ExtremeSingularValues.proven(try gram(of: matrix)) != nil)
    }
  }

  /// The matrices are large enough for the iterations, on either side of what the Gram matrix can
  /// resolve.
  @Test(arguments: [1e3, 1e5, 1e6, 1e12])
  func extremesOfLargeMatricesMatchSpectrum(_ condition: Double) throws {
    let spectrum = spectra(512, condition: condition)[1]
    let matrix = Matrix.withSingularValues(spectrum, rows: 512, columns: 530, seed: 1)
    let ends = try ExtremeSingularValues(of: matrix)
    #expect(abs(ends.largest - 1) < ExtremeSingularValues.relativeError)
    let bound = max(16 * 512 * .ulpOfOne, ExtremeSingularValues.relativeError / condition)
    #expect(abs(ends.smallest - 1 / condition) <= bound)
  }

  /// A value that cannot be resolved must not pass for a result.
  @Test func rankDeficientMatricesAreDecomposed() throws {
    let spectrum = (0..<512).map { $0 < 300 ? 1.0 : 0 }
    let matrix = Matrix.withSingularValues(spectrum, rows: 512, columns: 512, seed: 9)
    #expect(try ExtremeSingularValues.proven(try gram(of: matrix)) == nil)
    let ends = try ExtremeSingularValues(of: matrix)
    #expect(abs(ends.largest - 1) < 1e-12)
    #expect(ends.smallest < 1e-12)
  }

  @Test(arguments: [(1, 1), (2, 9), (9, 2), (120, 130), (512, 513)])
  func zeroMatrixHasZeroExtremes(_ rows: Int, _ columns: Int) throws {
    let ends = try ExtremeSingularValues(of: Matrix(zerosOfRows: rows, columns: columns))
    #expect(ends.largest == 0)
    #expect(ends.smallest == 0)
  }

  @Test(arguments: [(110, 100), (513, 512)], [Double.nan, .infinity])
  func nonFiniteElementIsRefused(_ size: (Int, Int), _ value: Double) {
    var matrix = Matrix.pattern(rows: size.0, columns: size.1)
    matrix[2, 3] = value
    #expect(throws: LAPACKError.nonFiniteElement(row: 2, column: 3, value: "\(value)")) {
      try ExtremeSingularValues(of: matrix)
    }
  }

  @Test(arguments: [0x1p-600, 0x1p-100, 0x1p100, 0x1p600])
  func extremesScaleWithMatrix(_ scale: Double) throws {
    let spectrum = spectra(100, condition: 50)[0]
    let matrix = Matrix.withSingularValues(spectrum, rows: 120, columns: 100, seed: 2)
    let scaled = Matrix.filled(120, 100) { matrix[$0, $1] * scale }
    let expected = try #require(try ExtremeSingularValues.proven(try gram(of: matrix)))
    let ends = try #require(try ExtremeSingularValues.proven(try gram(of: scaled)))
    #expect(abs(ends.largest / (expected.largest * scale) - 1) < 1e-12)
    #expect(abs(ends.smallest / (expected.smallest * scale) - 1) < 1e-12)
  }

  /// Makes threaded BLAS calls at once on threads that are unaware of each other, some of them
  /// beside a region that requests one thread.
  @Test func extremesAreSameOnConcurrentThreads() async throws {
    let spectrum = spectra(200, condition: 100)[0]
    let matrix = Matrix.withSingularValues(spectrum, rows: 200, columns: 300, seed: 6)
    let expected = try ExtremeSingularValues(of: matrix)
    try await withThrowingTaskGroup(of: ExtremeSingularValues?.self) { group in
      for index in 0..<24 {
        group.addTask {
          let gram = try gram(of: matrix)
          return index.isMultiple(of: 3)
            ? try BLASThreads.runningSingleThreaded { try ExtremeSingularValues.proven(gram) }
            : try ExtremeSingularValues.proven(gram)
        }
      }
      for try await found in group {
        let ends = try #require(found)
        // The found ends are iterated; the expected ones come from all eigenvalues.
        #expect(abs(ends.largest / expected.largest - 1) < ExtremeSingularValues.relativeError)
        #expect(abs(ends.smallest / expected.smallest - 1) < ExtremeSingularValues.relativeError)
      }
    }
  }

  /// Returns `condition^(−t)` for t in 0…1, by repeated square roots.
  private func exponential(_ condition: Double, _ t: Double) -> Double {
    var (result, factor, rest) = (1.0, condition, t)
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
}
