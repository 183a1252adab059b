import Storage

/// The material on which a model's activations are recorded.
///
/// ```swift
/// var recipe = Recipe.calibrated(bitWidth: 3)
/// recipe.method.calibration = CalibrationRecipe(patches: .init(count: 64, side: 48))
/// let archive = try FormatRegistry.standard.open("model.pth")
/// var compressor = try Compressor(archive, recipe: recipe)
/// try compressor.calibrate(with: .images("photos"))
/// try compressor.write(to: "model.condi")
/// ```
public struct CalibrationRecipe: Hashable, Sendable {
  /// How patches are taken from images.
  public struct Patches: Hashable, Sendable {
    /// The default number of patches.
    public static let standardCount = 32
    /// The default side of a patch in pixels.
    public static let standardSide = 64

    /// How many patches are taken, of all images together.
    public var count: Int
    /// Pixels of a patch's side, before upscaling.
    public var side: Int
    /// The seed from which the places of patches are drawn.
    public var seed: UInt64
    /// Whether the images are of low resolution and used as they are, not downscaled first.
    public var isLowResolution: Bool

    public init(
      count: Int = standardCount, side: Int = standardSide, seed: UInt64 = 0,
      isLowResolution: Bool = false
    ) {
      self.count = count
      self.side = side
      self.seed = seed
      self.isLowResolution = isLowResolution
    }
  }

  /// How patches are taken; `nil` if a file of statistics is read.
  public var patches: Patches?
  /// The SHA-256 of the images or of the file, in hexadecimal; `nil` for any.
  public var digest: String?

  public init(patches: Patches?, digest: String? = nil) {
    self.patches = patches
    self.digest = digest
  }

  /// Records the digest of the given material.
  ///
  /// - Throws: `ModelError` when the recipe asks for other images, or another file.
  package mutating func identify(_ found: String, as name: String) throws {
    if let digest, digest != found {
      throw ModelError("the recipe is for other \(name): their SHA-256 is \(digest), not \(found)")
    }
    digest = found
  }
}
