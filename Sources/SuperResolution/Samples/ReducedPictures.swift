import Formats
import Foundation
import Synchronization

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
  /// - Throws: `SuperResolutionError` when there is no such folder, or no picture in it.
  public init(folder path: String, scale: Int, channelCount: Int, isSmall: Bool = false) throws {
    precondition(scale > 0, "a scale is positive")
    var folder = PictureFolder(path)
    if !isSmall, folder.below("HR").exists { folder = folder.below("HR") }
    self.folder = folder.path
    paths = try folder.pictures().map(\.path)
    guard !paths.isEmpty else {
      throw SuperResolutionError("there is no PNG or JPEG file in it", path: folder.path)
    }
    reduction = isSmall ? 1 : scale
    self.channelCount = channelCount
  }

  /// A SHA-256 in hexadecimal of what the files hold, in their order, whatever they are called.
  ///
  /// - Throws: `FormatError` when a file cannot be read.
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
      throw SuperResolutionError(
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
