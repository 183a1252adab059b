import Glibc
import Imaging
import SuperResolution

/// Patches that are not used for training, with the full-precision model's output.
struct ValidationPatches: Sendable {
  private static let count = 32
  private let patches: [Image]
  private let targets: [Image]

  /// - Throws: `ModelError` for an image that cannot be used.
  init(
    _ images: ImageFolder, settings: DistillationSettings, teacher distillation: Distillation
  ) throws {
    var sampler = PatchSampler(
      images, side: settings.patchSide, seed: settings.seed, for: .validation)
    patches = try sampler.drawVaried(Self.count)
    targets = try distillation.teach(patches).map(\.image)
  }

  /// Returns the similarity of the student's images to the teacher's: 10 · log10(1 / mean (O_Q −
  /// O_F)²) over all samples, in dB; infinite if they are equal.
  func psnr(of distillation: Distillation) throws -> Double {
    var (sum, count) = (0.0, 0)
    for (found, target) in zip(try distillation.upscale(patches), targets) {
      for (a, b) in zip(found.samples, target.samples) { sum += Double(a - b) * Double(a - b) }
      count += found.samples.count
    }
    return sum > 0 ? -10 * log10(sum / Double(count)) : .infinity
  }
}
