import Imaging
import Storage

/// How far the outputs of two networks are from one another over a data set, in dB.
///
/// Measured as `Evaluation` does: outputs are rounded to 8 bits, and luma is compared without a
/// border of as many pixels as the scale.
///
/// ```swift
/// func network(_ path: String) throws -> SuperResolutionNetwork {
///   try SuperResolutionNetwork(FormatRegistry.standard.open(path), name: path, threads: 4)
/// }
/// let comparison = try OutputComparison(
///   network("model.pth"), network("model.condi"), set: BenchmarkSet(folder: "Set5", scale: 2))
/// print(comparison.meanPSNR ?? .infinity, comparison.gainPSNR ?? 0)
/// ```
public struct OutputComparison: Codable, Hashable, Sendable {
  /// The data set's folder.
  public let dataset: String
  /// The factor by which the networks upscale each side.
  public let scale: Int
  /// The images, in the data set's order.
  public let images: [Image]
  /// The number of images of which both outputs are the same.
  public let identicalCount: Int
  /// The mean PSNR of B's outputs against A's in dB, of the other images; `nil` if there are none.
  public let meanPSNR: Double?
  /// The mean PSNR of B's outputs against the high-resolution images minus that of A's, in dB, of the
  /// images that neither reproduces exactly; `nil` if there are none.
  public let gainPSNR: Double?

  /// One image of the data set.
  public struct Image: Codable, Hashable, Sendable {
    /// The image's name in the data set.
    public let name: String
    /// The PSNR of B's output against A's in dB; infinite if they are the same.
    public let psnr: Double
    /// The structural similarity of both outputs, at most 1.
    public let ssim: Double
    /// The PSNR of A's output against the high-resolution image in dB.
    public let psnrA: Double
    /// The same of B's output.
    public let psnrB: Double
  }

  /// Upscales every image of the set with both networks.
  ///
  /// - Parameter progress: Called with the completed share of the work, from 0 to 1, from any thread.
  /// - Throws: `ModelError` when the networks and the set have different scales, or an image cannot
  ///   be read or upscaled.
  public init(
    _ a: any Upscaler, _ b: any Upscaler, set: BenchmarkSet,
    progress: (@Sendable (Double) -> Void)? = nil
  ) throws {
    for upscaler in [a, b] where upscaler.scale != set.scale {
      throw ModelError(
        "one network upscales \(set.scale) times, the other \(upscaler.scale): their outputs have "
          + "different sizes")
    }
    var images: [Image] = []
    for (index, entry) in set.entries.enumerated() {
      let pair = try ImagePair(entry, scale: set.scale)
      let planes = try [a, b].enumerated().map { place, upscaler in
        let (tiled, _) = upscaler.tiled(
          for: pair.lowResolution, as: .png, within: .current())
        return LumaPlane(
          of: try pair.upscaled(by: tiled) { share in
            progress?((Double(index) + (Double(place) + share) / 2) / Double(set.entries.count))
          })
      }
      let between = try pair.compare(planes[1], with: planes[0])
      let highResolution = LumaPlane(of: pair.highResolution)
      images.append(
        Image(
          name: pair.name, psnr: between.psnr, ssim: between.ssim,
          psnrA: try pair.compare(planes[0], with: highResolution).psnr,
          psnrB: try pair.compare(planes[1], with: highResolution).psnr))
    }
    func mean(_ values: [Double]) -> Double? {
      values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
    }
    dataset = set.path
    scale = set.scale
    self.images = images
    identicalCount = images.count { $0.psnr == .infinity }
    meanPSNR = mean(images.map(\.psnr).filter(\.isFinite))
    gainPSNR = mean(
      images.filter { $0.psnrA.isFinite && $0.psnrB.isFinite }.map { $0.psnrB - $0.psnrA })
  }
}
