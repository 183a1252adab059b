import Imaging

/// Finds the squares of an image in which one result loses most against another.
///
/// The loss is the increase of the mean squared error on luma. A ratio would favour flat squares,
/// where the eye sees no difference.
struct WorstRegions {
  private let scale: Int
  /// The side of a square in pixels: a multiple of the scale, about 96.
  private let side: Int
  private let step: Int
  private let limit = 2

  init(scale: Int) {
    self.scale = scale
    side = max(1, 96 / scale) * scale
    step = max(1, 48 / scale) * scale
  }

  struct Square: Hashable {
    let x: Int
    let y: Int
    let side: Int
    let errorIncrease: Double

    func psnr(of plane: LumaPlane, against highResolution: LumaPlane) -> Double {
      ImageFidelity.peakSignalToNoise(
        plane.part(x: x, y: y, width: side, height: side),
        highResolution.part(x: x, y: y, width: side, height: side))
    }

    /// - Parameter scale: the factor by which `image` is smaller than the high-resolution image.
    func crop(_ image: RasterImage, by scale: Int = 1) -> RasterImage {
      image.cropped(x: x / scale, y: y / scale, width: side / scale, height: side / scale)
    }

    func overlaps(_ other: Square) -> Bool {
      abs(x - other.x) < side && abs(y - other.y) < side
    }
  }

  /// Returns at most two squares that do not overlap, the worst first. An image smaller than a
  /// square gives one smaller square.
  func find(highResolution: LumaPlane, reference: LumaPlane, subject: LumaPlane) -> [Square] {
    let side = min(side, highResolution.width, highResolution.height)
    var squares: [Square] = []
    for y in starts(length: highResolution.height, side: side) {
      for x in starts(length: highResolution.width, side: side) {
        func error(_ plane: LumaPlane) -> Double {
          ImageFidelity.meanSquaredError(
            plane.part(x: x, y: y, width: side, height: side),
            highResolution.part(x: x, y: y, width: side, height: side))
        }
        squares.append(
          Square(x: x, y: y, side: side, errorIncrease: error(subject) - error(reference)))
      }
    }
    // Ties stay in reading order.
    let sorted = squares.enumerated().sorted {
      $0.element.errorIncrease == $1.element.errorIncrease
        ? $0.offset < $1.offset : $0.element.errorIncrease > $1.element.errorIncrease
    }.map(\.element)
    var chosen: [Square] = []
    for square in sorted where chosen.count < limit && !chosen.contains(where: square.overlaps) {
      chosen.append(square)
    }
    return chosen
  }

  /// Returns the starts of squares, at multiples of the scale; the last square ends at the edge.
  private func starts(length: Int, side: Int) -> [Int] {
    let last = length - side
    let starts = Array(stride(from: 0, through: last, by: step))
    return starts.last == last ? starts : starts + [last]
  }
}
