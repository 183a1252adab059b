import Glibc
import Storage
import Synchronization

/// Draws square patches from low-resolution images, reproducibly for the same seed, folder and
/// size.
///
/// Each round takes one patch from every image, in a new random order.
package struct PatchSampler: Sendable {
  /// The purpose of the patches. Purposes draw different patches under the same seed.
  package enum Purpose: UInt64, Sendable {
    /// Calibration, which records activations.
    case calibration = 1
    /// Training.
    case training = 2
    /// Validation, which compares student and teacher.
    case validation = 3
  }

  /// The images that patches are cut from.
  package let images: ImageFolder
  /// The side of a patch in pixels; smaller images are taken whole.
  package let side: Int
  private var generator: SeededGenerator
  private var remaining: [Int] = []

  /// Creates a sampler at its beginning.
  ///
  /// - Precondition: `side` is positive.
  package init(_ images: ImageFolder, side: Int, seed: UInt64, for purpose: Purpose) {
    precondition(side > 0, "a patch has pixels")
    self.images = images
    self.side = side
    generator = SeededGenerator(seed: seed, stream: purpose.rawValue)
  }

  /// The state of a sampler, from which it can continue.
  package struct Position: Hashable, Sendable {
    package var generatorState: UInt64
    /// The indices of the images remaining in this round, the next one last.
    package var remaining: [Int]

    package init(generatorState: UInt64, remaining: [Int]) {
      self.generatorState = generatorState
      self.remaining = remaining
    }
  }

  /// The sampler's current position.
  ///
  /// - Precondition: The indices are those of images.
  package var position: Position {
    get { Position(generatorState: generator.state, remaining: remaining) }
    set {
      precondition(
        newValue.remaining.allSatisfy(images.paths.indices.contains), "no such image")
      generator = SeededGenerator(state: newValue.generatorState)
      remaining = newValue.remaining
    }
  }

  /// Draws the next patches, for measurements.
  ///
  /// - Throws: Any error of `draw`, and `ModelError` with the folder's path if every patch is of a
  ///   single colour: black frames reveal nothing about the values that a model encounters.
  package mutating func drawVaried(_ count: Int) throws -> [Image] {
    let patches = try draw(count)
    guard patches.isEmpty || patches.contains(where: { !$0.isOfOneColor }) else {
      throw ModelError(
        "each of the \(counted(count, "patch")) drawn from its images is of one colour, on which nothing "
          + "can be measured", path: images.folder)
    }
    return patches
  }

  /// Draws the next patches.
  ///
  /// - Throws: `ModelError` with the path of an image that cannot be read or is too small.
  package mutating func draw(_ count: Int) throws -> [Image] {
    try (0..<count).map { _ in
      if remaining.isEmpty { remaining = generator.order(of: images.paths.count) }
      return try images.patch(of: remaining.removeLast(), side: side, &generator)
    }
  }
}

extension Image {
  /// Whether all pixels are equal.
  fileprivate var isOfOneColor: Bool {
    let count = height * width
    return (0..<channelCount).allSatisfy { channel in
      let plane = samples[channel * count..<(channel + 1) * count]
      return plane.allSatisfy { $0 == plane.first }
    }
  }
}

/// The low-resolution images of a folder, for calibration and training. They are downscaled from
/// the folder's images by MATLAB's bicubic downscaling, or used as they are.
///
/// The images are PNG, JPEG and WebP files in natural order, from `HR` if the folder has high-resolution
/// images there. They are read on demand, and those read last are cached.
package struct ImageFolder: Sendable {
  /// The folder that contains the files.
  package let folder: String
  /// The paths of the files, at least one, in natural order.
  package let paths: [String]
  /// The factor by which images are downscaled; 1 if they are of low resolution.
  package let downscalingFactor: Int
  /// The number of channels: 1 for luma, 3 for RGB.
  package let channelCount: Int
  private let recent = RecentImages()

  /// Lists the images in a folder, in natural order, without reading them.
  ///
  /// - Parameters:
  ///   - scale: The model's scale.
  ///   - channelCount: The model's channel count, 1 or 3.
  ///   - isLowResolution: Whether the images are of low resolution and used as they are.
  /// - Throws: `ModelError` if the folder does not exist or contains no image.
  package init(folder path: String, scale: Int, channelCount: Int, isLowResolution: Bool = false)
    throws
  {
    precondition(scale > 0, "a scale is positive")
    var folder = ImageFileFolder(path)
    if !isLowResolution, folder.below("HR").exists { folder = folder.below("HR") }
    self.folder = folder.path
    paths = try folder.files().map(\.path)
    guard !paths.isEmpty else {
      throw ModelError("there is no \(ImageFormat.names) file in it", path: folder.path)
    }
    downscalingFactor = isLowResolution ? 1 : scale
    self.channelCount = channelCount
  }

  /// Returns a SHA-256, in hexadecimal, of the files' contents in order, independent of their
  /// names.
  ///
  /// - Throws: `ModelError` if a file cannot be read.
  package func sha256() throws -> String {
    let digests = try paths.map { try InputFile(path: $0).sha256() }
    return SharedBytes(digests.joined(separator: "\n").utf8).sha256
  }

  /// Returns a randomly placed part of an image, at most `side` pixels high and wide.
  func patch(of index: Int, side: Int, _ generator: inout SeededGenerator) throws -> Image {
    let image = try load(index)
    let (width, height) = (min(side, image.width), min(side, image.height))
    let x = generator.number(below: image.width - width + 1)
    let y = generator.number(below: image.height - height + 1)
    let color = image.cropped(x: x, y: y, width: width, height: height).colorImage
    return channelCount == 1 ? color.luma : color
  }

  /// Returns an image as 8-bit RGB, from the cache if possible.
  private func load(_ index: Int) throws -> RasterImage {
    if let known = recent[index] { return known }
    let whole = try RasterImage(contentsOf: paths[index])
    guard let cropped = whole.cropped(toMultipleOf: downscalingFactor) else {
      throw ModelError(
        "its \(whole.sizeText) pixels are too few for scale \(downscalingFactor)",
        path: paths[index])
    }
    var image = cropped.asEightBit.asRGB
    if downscalingFactor > 1 {
      image = BicubicResampling().downscaled(image, by: downscalingFactor)
    }
    recent[index] = image
    return image
  }
}

/// A cache of the most recently added images, bounded by their pixel count.
private final class RecentImages: Sendable {
  private static let pixelLimit = 1 << 23
  private struct State {
    var images: [Int: RasterImage] = [:]
    /// The indices of the images, oldest first.
    var order: [Int] = []
    var pixelCount = 0
  }
  private let state = Mutex(State())

  subscript(index: Int) -> RasterImage? {
    get { state.withLock { $0.images[index] } }
    set {
      guard let newValue else { return }
      state.withLock { state in
        guard state.images.updateValue(newValue, forKey: index) == nil else { return }
        state.order.append(index)
        state.pixelCount += newValue.width * newValue.height
        while state.pixelCount > Self.pixelLimit, state.order.count > 1 {
          let oldest = state.images.removeValue(forKey: state.order.removeFirst())
          state.pixelCount -= oldest.map { $0.width * $0.height } ?? 0
        }
      }
    }
  }
}
