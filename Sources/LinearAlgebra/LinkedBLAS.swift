import CLAPACKE

/// The library that does the linear algebra.
package enum LinkedBLAS {
  /// What OpenBLAS says of itself: version, how it was built, and the processor it has chosen its
  /// kernels for, such as `0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY Haswell MAX_THREADS=64`.
  package static var version: String {
    guard let text = openblas_get_config() else { return "unknown" }
    let words = String(cString: text).split(separator: " ")
    return words.drop { $0 == "OpenBLAS" }.joined(separator: " ")
  }
}
