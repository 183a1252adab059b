import Formats

/// Draws square patches from small pictures: the same ones for the same seed, folder and size.
///
/// Each round takes a patch of every picture, in an order that is drawn anew.
public struct PatchSampler: Sendable {
  /// What patches are drawn for: under one seed, others for each.
  public enum Purpose: UInt64, Sendable {
    /// To record activations on.
    case calibration = 1
    /// To learn from.
    case training = 2
    /// To compare student and teacher on.
    case validation = 3
  }

  /// What patches are cut from.
  package let pictures: ReducedPictures
  /// Pixels of a patch's side; pictures that are smaller are taken whole.
  package let side: Int
  private var generator: SeededGenerator
  private var remaining: [Int] = []

  /// A sampler at its beginning.
  ///
  /// - Precondition: `side` is positive.
  public init(_ pictures: ReducedPictures, side: Int, seed: UInt64, for purpose: Purpose) {
    precondition(side > 0, "a patch has pixels")
    self.pictures = pictures
    self.side = side
    generator = SeededGenerator(seed: seed, stream: purpose.rawValue)
  }

  /// How far the sampler has come, to go on from there.
  struct Position: Hashable, Sendable {
    var generatorState: UInt64
    /// Indices of the pictures that this round has not come to, the next one last.
    var remaining: [Int]
  }

  /// - Precondition: the indices are those of pictures.
  var position: Position {
    get { Position(generatorState: generator.state, remaining: remaining) }
    set {
      precondition(
        newValue.remaining.allSatisfy(pictures.paths.indices.contains), "no such picture")
      generator = SeededGenerator(state: newValue.generatorState)
      remaining = newValue.remaining
    }
  }

  /// The next patches, to measure something on.
  ///
  /// - Throws: as `draw`, and `SuperResolutionError` with the folder's path when each patch is of one
  ///   colour: black frames say nothing about the values that a model meets.
  public mutating func drawVaried(_ count: Int) throws -> [Picture] {
    let patches = try draw(count)
    guard patches.isEmpty || patches.contains(where: { !$0.isOfOneColor }) else {
      throw SuperResolutionError(
        "each of the \(counted(count, "patch")) drawn from its images is of one colour, on which nothing "
          + "can be measured", path: pictures.folder)
    }
    return patches
  }

  /// The next patches.
  ///
  /// - Throws: `SuperResolutionError` for a picture that cannot be read or is too small, with its path.
  public mutating func draw(_ count: Int) throws -> [Picture] {
    try (0..<count).map { _ in
      if remaining.isEmpty { remaining = generator.order(of: pictures.paths.count) }
      return try pictures.patch(of: remaining.removeLast(), side: side, &generator)
    }
  }
}

extension Picture {
  /// Whether all pixels are the same.
  fileprivate var isOfOneColor: Bool {
    let count = height * width
    return (0..<channelCount).allSatisfy { channel in
      let plane = samples[channel * count..<(channel + 1) * count]
      return plane.allSatisfy { $0 == plane.first }
    }
  }
}
