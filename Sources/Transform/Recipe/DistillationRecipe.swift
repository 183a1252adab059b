import Formats
import Storage

/// The length of a distillation from the full-precision model, and its patches.
///
/// The method determines what is learned and at which rates.
///
/// ```swift
/// var recipe = Recipe.calibrated(bitWidth: 2)
/// recipe.method.distillation = DistillationRecipe(limit: .steps(1000), patience: 5)
/// let archive = try FormatRegistry.standard.open("model.pth")
/// var compressor = try Compressor(archive, recipe: recipe)
/// try compressor.calibrate(with: .images("photos"))
/// try compressor.write(to: "model.condi")
/// ```
public struct DistillationRecipe: Hashable, Sendable {
  /// The end of distillation.
  public enum Limit: Hashable, Sendable, CustomStringConvertible {
    /// A number of steps; the result is the same for any number of threads.
    case steps(Int)
    /// A number of elapsed minutes; the result depends on the machine.
    case minutes(Double)

    public var description: String {
      switch self {
      case .steps(let count): counted(count, "step")
      case .minutes(let minutes): "\(minutes) minutes"
      }
    }
  }

  /// The default number of patches per step.
  public static let standardBatchCount = 4
  /// The default side of a patch in pixels.
  public static let standardPatchSide = 32

  /// The end of distillation, unless patience ends it earlier.
  public var limit: Limit
  /// The number of patches per step.
  public var batchCount: Int
  /// Pixels of a patch's side, before upscaling.
  public var patchSide: Int
  /// The seed from which the places of patches are drawn.
  public var seed: UInt64
  /// The number of successive comparisons without a gain after which distillation ends early; `nil`
  /// for never.
  public var patience: Int?
  /// The SHA-256 of the images that the student is compared on, in hexadecimal; `nil` for other
  /// patches of the images that it learns from, which are those of the calibration.
  public var validationDigest: String?

  public init(
    limit: Limit, batchCount: Int = standardBatchCount, patchSide: Int = standardPatchSide,
    seed: UInt64 = 0, patience: Int? = nil, validationDigest: String? = nil
  ) {
    self.limit = limit
    self.batchCount = batchCount
    self.patchSide = patchSide
    self.seed = seed
    self.patience = patience
    self.validationDigest = validationDigest
  }

  /// Takes on the digest of the images that the student is compared on.
  ///
  /// - Throws: `ModelError` when the recipe asks for others.
  package mutating func identify(validation found: String) throws {
    if let validationDigest, validationDigest != found {
      throw ModelError(
        "the recipe is for other images to compare on: their SHA-256 is "
          + "\(validationDigest), not \(found)")
    }
    validationDigest = found
  }
}
