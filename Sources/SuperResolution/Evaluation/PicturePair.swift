/// An original and its small version, ready to be measured.
struct PicturePair {
  let name: String
  /// RGB of 8 bits, without alpha, its sides multiples of the scale.
  let original: RasterImage
  let reduced: RasterImage
  private let scale: Int
  private let originalPath: String
  private let reducedPath: String

  /// - Throws: `SuperResolutionError` with the path of the picture that is too small or does not fit;
  ///   whatever reading throws.
  init(_ entry: BenchmarkSet.Entry, scale: Int) throws {
    let whole = try RasterImage(contentsOf: entry.originalPath)
    guard let cropped = whole.cropped(toMultipleOf: scale) else {
      throw SuperResolutionError(
        "its \(whole.sizeText) pixels are too few for scale \(scale)", path: entry.originalPath)
    }
    name = entry.name
    originalPath = entry.originalPath
    reducedPath = entry.reducedPath ?? entry.originalPath
    self.scale = scale
    // As BasicSR reads them: everything is RGB. A model for grey pictures gets their luma.
    original = cropped.asEightBit.asRGB
    guard let path = entry.reducedPath else {
      reduced = BicubicResampling().reduced(original, by: scale)
      return
    }
    reduced = try RasterImage(contentsOf: path).asEightBit.asRGB
    guard reduced.width * scale == original.width, reduced.height * scale == original.height else {
      throw SuperResolutionError(
        "its \(reduced.sizeText) pixels times \(scale) are not the \(original.sizeText) of "
          + entry.originalPath, path: path)
    }
  }

  /// PSNR and SSIM without a border of `scale` pixels.
  func compare(_ result: LumaPlane, with original: LumaPlane) throws -> (
    psnr: Double, ssim: Double
  ) {
    let least = PictureFidelity.windowSide
    guard let a = result.trimmed(by: scale), let b = original.trimmed(by: scale),
      a.height >= least, a.width >= least
    else {
      throw SuperResolutionError(
        "its \(original.width)×\(original.height) pixels are too few: without a border of \(scale), "
          + "SSIM needs \(least)×\(least)", path: originalPath)
    }
    return (
      PictureFidelity.peakSignalToNoise(a, b), PictureFidelity.structuralSimilarity(a, b)
    )
  }

  /// Errors of models do not know which picture it was.
  func locatingErrors<Result>(_ body: () throws -> Result) throws -> Result {
    do {
      return try body()
    } catch var error as SuperResolutionError {
      error.path = error.path ?? reducedPath
      throw error
    }
  }
}
