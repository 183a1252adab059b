import Storage

/// The material on which a model's activations are recorded.
public struct CalibrationRecipe: Hashable, Sendable {
  /// How patches are taken from pictures.
  public struct Patches: Hashable, Sendable {
    /// The default number of patches.
    public static let standardCount = 32
    /// The default side of a patch in pixels.
    public static let standardSide = 64

    /// How many patches are taken, of all pictures together.
    public var count: Int
    /// Pixels of a patch's side, before enlargement.
    public var side: Int
    /// The seed from which the places of patches are drawn.
    public var seed: UInt64
    /// Whether the pictures are what the model enlarges, not originals.
    public var isSmall: Bool

    public init(
      count: Int = standardCount, side: Int = standardSide, seed: UInt64 = 0, isSmall: Bool = false
    ) {
      self.count = count
      self.side = side
      self.seed = seed
      self.isSmall = isSmall
    }
  }

  /// How patches are taken; `nil` if a file of statistics is read.
  public var patches: Patches?
  /// The SHA-256 of the pictures or of the file, in hexadecimal; `nil` for any.
  public var digest: String?

  public init(patches: Patches?, digest: String? = nil) {
    self.patches = patches
    self.digest = digest
  }

  /// Records the digest of the given material.
  ///
  /// - Throws: `ModelError` when the recipe asks for other pictures, or another file.
  package mutating func identify(_ found: String, as name: String) throws {
    if let digest, digest != found {
      throw ModelError("the recipe is for other \(name): their SHA-256 is \(digest), not \(found)")
    }
    digest = found
  }
}
