import CKernels
import CLAPACKE

/// Returns all eigenvalues of a symmetric matrix, smallest first.
///
/// LAPACK's `dsytrd_sy2sb` reduces the matrix to band form, bulge chasing the band to tridiagonal
/// form, and LAPACK's `dsterf` finds the eigenvalues. The result does not depend on the number of
/// threads beyond the first stage's rounding.
///
/// - Parameters:
///   - matrix: The lower triangle in column-major order; overwritten. The largest element's square
///     does not overflow.
///   - count: The number of rows, at least 1.
func eigenvaluesInTwoStages(_ matrix: inout [Double], count: Int) throws -> [Double] {
  var band = try reducedToBand(&matrix, count: count)
  let stride = ck_band_stride
  band.withUnsafeMutableBufferPointer { chaseBulges(in: $0, count: count) }
  var diagonal = (0..<count).map { band[$0 * stride] }
  var subdiagonal = (0..<count).map { band[$0 * stride + 1] }
  let info = OpenBLAS.calls.LAPACKE_dsterf(Int32(count), &diagonal, &subdiagonal)
  try LAPACKError.check(info, routine: "dsterf")
  return diagonal
}

/// Returns the band of an orthogonally similar matrix, followed by the zeros that `ck_chase_bulge`
/// requires.
private func reducedToBand(_ matrix: inout [Double], count: Int) throws -> [Double] {
  let (order, width) = (Int32(count), Int32(ck_band_width))
  let stride = Int32(ck_band_stride)
  var band = [Double](repeating: 0, count: (count + ck_band_width) * ck_band_stride)
  var factors = [Double](repeating: 0, count: count)
  func reduce(_ work: inout [Double], size: Int32) throws {
    let info = BLASThreads.perform {
      var info: Int32 = 0
      OpenBLAS.calls.dsytrd_sy2sb_(
        [CChar(UInt8(ascii: "L"))], [order], [width], &matrix, [order], &band, [stride], &factors,
        &work, [size], &info, 1)
      return info
    }
    try LAPACKError.check(info, routine: "dsytrd_sy2sb")
  }
  var size = [0.0]
  try reduce(&size, size: -1)
  var work = [Double](repeating: 0, count: max(1, Int(size[0])))
  try reduce(&work, size: Int32(work.count))
  return band
}

/// Reduces a band to tridiagonal form.
private func chaseBulges(in band: UnsafeMutableBufferPointer<Double>, count: Int) {
  guard let start = band.baseAddress else { return }
  let kernels = ck_bulge_kernels()
  let width = ck_band_width
  var reflection = ck_reflection()
  for sweep in 0..<max(0, count - 2) {
    for step in 0..<(count - sweep - 2 + width) / width {
      ck_chase_bulge(kernels, start, sweep, step, &reflection)
    }
  }
}
