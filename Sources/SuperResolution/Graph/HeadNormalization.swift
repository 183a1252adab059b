/// The normalization of queries and keys by which attention compares cosines (Liu et al. 2022, "Swin
/// Transformer V2", equation 2).
struct HeadNormalization: Sendable {
  /// The factor of each head's queries: eˢ for the head's scale s, at most 100, and the root of the
  /// head's channels, by which attention divides.
  let factors: [Float]
  private let size: Int

  /// - Parameters:
  ///   - scales: the logarithm of the factor of cosines, one per head.
  ///   - channels: those of the queries, which are as many as those of the keys.
  init(scales: [Float], channels: Int) {
    size = channels / scales.count
    let root = Float(size).squareRoot()
    factors = scales.map { min(100, exponential($0)) * root }
  }

  /// Divides the queries and keys of a pixel by their norms, in place, which are at least 10⁻¹² as in
  /// PyTorch.
  func apply(_ pixel: UnsafeMutablePointer<Float>) {
    for vector in 0..<2 * factors.count {
      let start = pixel + vector * size
      var squares: Float = 0
      for channel in 0..<size { squares += start[channel] * start[channel] }
      let factor =
        (vector < factors.count ? factors[vector] : 1) / max(1e-12, squares.squareRoot())
      for channel in 0..<size { start[channel] *= factor }
    }
  }
}
