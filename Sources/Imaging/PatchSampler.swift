import Glibc
import Storage
import Synchronization

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
  package struct Position: Hashable, Sendable {
    package var generatorState: UInt64
    /// Indices of the pictures that this round has not come to, the next one last.
    package var remaining: [Int]

    package init(generatorState: UInt64, remaining: [Int]) {
      self.generatorState = generatorState
      self.remaining = remaining
    }
  }

  /// - Precondition: the indices are those of pictures.
  package var position: Position {
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
  /// - Throws: as `draw`, and `ModelError` with the folder's path when each patch is of one
  ///   colour: black frames say nothing about the values that a model meets.
  public mutating func drawVaried(_ count: Int) throws -> [Picture] {
    let patches = try draw(count)
    guard patches.isEmpty || patches.contains(where: { !$0.isOfOneColor }) else {
      throw ModelError(
        "each of the \(counted(count, "patch")) drawn from its images is of one colour, on which nothing "
          + "can be measured", path: pictures.folder)
    }
    return patches
  }

  /// The next patches.
  ///
  /// - Throws: `ModelError` for a picture that cannot be read or is too small, with its path.
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

/// The small pictures of a folder, to calibrate and to train with: made from the originals in it by
/// MATLAB's bicubic reduction, or small already.
///
/// PNG and JPEG files in natural order, below `HR` where the folder has originals there. Pictures are
/// read when they are needed; some megabytes of those used last are kept.
public struct ReducedPictures: Sendable {
  /// The folder that the files are in.
  package let folder: String
  /// The files, in natural order; at least one.
  public let paths: [String]
  /// How many times smaller pictures are made; 1 where they are small already.
  public let reduction: Int
  /// 1 for luma, 3 for RGB.
  public let channelCount: Int
  private let recent = RecentPictures()

  /// Lists the pictures of a folder, in the order of their paths; none is read.
  ///
  /// - Parameters:
  ///   - scale: of the model.
  ///   - channelCount: of the model, 1 or 3.
  ///   - isSmall: pictures are taken as they are.
  /// - Throws: `ModelError` when there is no such folder, or no picture in it.
  public init(folder path: String, scale: Int, channelCount: Int, isSmall: Bool = false) throws {
    precondition(scale > 0, "a scale is positive")
    var folder = PictureFolder(path)
    if !isSmall, folder.below("HR").exists { folder = folder.below("HR") }
    self.folder = folder.path
    paths = try folder.pictures().map(\.path)
    guard !paths.isEmpty else {
      throw ModelError("there is no PNG or JPEG file in it", path: folder.path)
    }
    reduction = isSmall ? 1 : scale
    self.channelCount = channelCount
  }

  /// A SHA-256 in hexadecimal of what the files hold, in their order, whatever they are called.
  ///
  /// - Throws: `ModelError` when a file cannot be read.
  package func sha256() throws -> String {
    let digests = try paths.map { try InputFile(path: $0).sha256() }
    return SharedBytes(digests.joined(separator: "\n").utf8).sha256
  }

  /// A part of one of the pictures, at most `side` pixels high and wide, at a place that is drawn.
  func patch(of index: Int, side: Int, _ generator: inout SeededGenerator) throws -> Picture {
    let image = try picture(index)
    let (width, height) = (min(side, image.width), min(side, image.height))
    let x = generator.number(below: image.width - width + 1)
    let y = generator.number(below: image.height - height + 1)
    let color = image.cropped(x: x, y: y, width: width, height: height).colorPicture
    return channelCount == 1 ? color.luma : color
  }

  /// RGB of 8 bits.
  private func picture(_ index: Int) throws -> RasterImage {
    if let known = recent[index] { return known }
    let whole = try RasterImage(contentsOf: paths[index])
    guard let cropped = whole.cropped(toMultipleOf: reduction) else {
      throw ModelError(
        "its \(whole.sizeText) pixels are too few for scale \(reduction)", path: paths[index])
    }
    var image = cropped.asEightBit.asRGB
    if reduction > 1 { image = BicubicResampling().reduced(image, by: reduction) }
    recent[index] = image
    return image
  }
}

/// Pictures used last, as many as fit in a number of pixels.
private final class RecentPictures: Sendable {
  private static let pixelLimit = 1 << 23
  private struct State {
    var pictures: [Int: RasterImage] = [:]
    /// The oldest first.
    var order: [Int] = []
    var pixelCount = 0
  }
  private let state = Mutex(State())

  subscript(index: Int) -> RasterImage? {
    get { state.withLock { $0.pictures[index] } }
    set {
      guard let newValue else { return }
      state.withLock { state in
        guard state.pictures.updateValue(newValue, forKey: index) == nil else { return }
        state.order.append(index)
        state.pixelCount += newValue.width * newValue.height
        while state.pixelCount > Self.pixelLimit, state.order.count > 1 {
          let oldest = state.pictures.removeValue(forKey: state.order.removeFirst())
          state.pixelCount -= oldest.map { $0.width * $0.height } ?? 0
        }
      }
    }
  }
}
