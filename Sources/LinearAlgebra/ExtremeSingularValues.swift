import CLAPACKE

/// The largest and the smallest singular value of a matrix, without those between.
///
/// The Gram matrix and its Cholesky factor are computed in single precision, at BLAS's full speed.
/// They give approximate singular vectors by the Lanczos iteration, which are then refined with the
/// matrix itself in double precision. Both values are norms ‖A·x‖ of unit vectors, so `largest` is
/// never above σ_max and `smallest` never below σ_min, and their ratio never above the condition
/// number, but for rounding. A residual that is not small against the value is not accepted, nor is a
/// smallest value that a Cholesky factor in double precision does not prove to be the smallest: the
/// matrix is then decomposed as `SingularValues` does, which happens beyond condition numbers of a
/// few thousand in spectra that fall evenly.
public struct ExtremeSingularValues: Hashable, Sendable {
  /// σ_max.
  public let largest: Double
  /// σ_min, of `min(rows, columns)` values.
  public let smallest: Double

  /// The relative error of both values, as the accepted residuals bound it.
  public static let relativeError = 1e-4

  /// Below this many values all of them take no longer.
  private static let smallestIterated = 96

  /// - Parameter values: `rows · columns` elements, row by row.
  /// - Precondition: the matrix is not empty.
  /// - Throws: `LAPACKError`, in particular for NaN and infinite elements.
  /// - Complexity: O(rows · columns · min(rows, columns)).
  public init(rows: Int, columns: Int, values: [Float]) throws {
    precondition(rows > 0 && columns > 0, "an empty matrix has no singular values")
    precondition(values.count == rows * columns, "one element a place")
    let matrix = GramOperator(rows: rows, columns: columns, values: values)
    if let (smallest, largest) = try Self.iterated(matrix) {
      self.largest = largest
      self.smallest = smallest
    } else {
      let all = try SingularValues(
        of: Matrix(rows: rows, columns: columns, values: values.map(Double.init))
      ).values
      largest = all[0]
      smallest = all[all.count - 1]
    }
  }

  /// - Returns: `nil` when the residuals are too large, or the matrix too small or out of scale.
  static func iterated(_ matrix: GramOperator) throws -> (smallest: Double, largest: Double)? {
    guard matrix.count >= smallestIterated, matrix.count <= Int(Int32.max),
      matrix.values.count / matrix.count <= Int(Int32.max), hasSafeSquares(matrix.values)
    else { return nil }
    let gram = matrix.formed()
    let count = Int32(matrix.count)
    var single = [Float](repeating: 0, count: matrix.count)
    let direction = try Lanczos.dominant(
      count: matrix.count, tolerance: 2 * relativeError, maximumSteps: 200
    ) { vector in
      cblas_ssymv(
        CblasRowMajor, CblasUpper, count, 1, gram, count, vector.map(Float.init), 1, 0, &single, 1)
      return single.map(Double.init)
    }
    let image = matrix.apply(direction)
    let top = cblas_ddot(count, direction, 1, image, 1)
    var residual = image
    cblas_daxpy(count, -top, direction, 1, &residual, 1)
    // Half of λ's relative error is σ's.
    guard top > 0, VectorBasis.norm(residual) <= 2 * relativeError * top,
      let factor = choleskyFactor(of: gram, count: matrix.count, top: top)
    else { return nil }

    func approximateInverse(_ vector: [Double]) -> [Double] {
      var solution = vector.map(Float.init)
      for transposition in [CblasTrans, CblasNoTrans] {
        cblas_strsv(
          CblasRowMajor, CblasUpper, transposition, CblasNonUnit, count, factor, count, &solution, 1
        )
      }
      return solution.map(Double.init)
    }
    let start = try Lanczos.dominant(
      count: matrix.count, tolerance: relativeError / 4, maximumSteps: 40, apply: approximateInverse
    )
    let bottom = try Davidson.smallest(
      from: start, tolerance: relativeError, maximumSteps: 24, apply: matrix.apply,
      precondition: approximateInverse)
    // A small residual says that a value is there, not that none is below it.
    guard let bottom, matrix.hasNoEigenvalue(below: bottom * (1 - 2 * relativeError)) else {
      return nil
    }
    return (bottom.squareRoot(), top.squareRoot())
  }

  /// Whether all elements are finite and their squares neither overflow nor vanish in Float.
  private static func hasSafeSquares(_ values: [Float]) -> Bool {
    values.withUnsafeBufferPointer { values in
      var largest: Float = 0
      // A NaN fails every comparison, so it must not be lost in a maximum.
      var isFinite = true
      for value in values {
        largest = Swift.max(largest, value.magnitude)
        isFinite = isFinite && value.isFinite
      }
      return isFinite && largest > 0x1p-40 && largest < 0x1p40
    }
  }

  /// The upper factor of the Gram matrix, LAPACK's `spotrf`.
  ///
  /// Where rounding to Float made the matrix indefinite, it is shifted by as much as that rounding,
  /// which makes the inverse cruder for the smallest values and the refinement longer.
  private static func choleskyFactor(of gram: [Float], count: Int, top: Double) -> [Float]? {
    let rounding = Float(top * Double(count).squareRoot()) * .ulpOfOne
    for shift in [0, rounding, 10 * rounding] {
      var factor = gram
      for index in 0..<count { factor[index * count + index] += shift }
      // The upper triangle of rows is the lower triangle of LAPACK's columns.
      let info = LAPACKE_spotrf(
        LAPACK_COL_MAJOR, CChar(UInt8(ascii: "L")), Int32(count), &factor, Int32(count))
      if info == 0 { return factor }
    }
    return nil
  }
}

extension ExtremeSingularValues {
  /// The ends of a whole spectrum.
  ///
  /// - Parameter values: largest first.
  /// - Precondition: there is at least one.
  public init(of values: [Double]) {
    precondition(!values.isEmpty, "no singular values have no ends")
    largest = values[0]
    smallest = values[values.count - 1]
  }
}
