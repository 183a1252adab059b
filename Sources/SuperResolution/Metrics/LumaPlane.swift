/// The luma of a picture, on which super-resolution is measured.
///
/// `Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255` for samples of 8 bits, not rounded (ITU-R BT.601's
/// studio range, as BasicSR and the papers that build on it). A grey picture counts as one with three
/// equal channels, because those programs read it so; scripts that take the grey samples themselves
/// report 20 · log₁₀(255/219) = 1.32 dB less.
public struct LumaPlane: Hashable, Sendable {
  /// Rows of pixels.
  public let height: Int
  /// Columns of pixels.
  public let width: Int
  /// Rows from the top; from 16 for black to 235 for white.
  public private(set) var samples: [Double]

  init(height: Int, width: Int, samples: [Double]) {
    self.height = height
    self.width = width
    self.samples = samples
  }

  /// The luma of `image` as 8 bits a sample; alpha is left out.
  public init(of image: RasterImage) {
    let image = image.asEightBit
    let stride = image.channelCount
    let count = image.width * image.height
    height = image.height
    width = image.width
    let isGrey = image.colorChannelCount == 1
    samples = image.samples.withUnsafeBufferPointer { source in
      [Double](unsafeUninitializedCapacity: count) { target, filled in
        for pixel in 0..<count {
          let red = Double(source[pixel * stride])
          let green = isGrey ? red : Double(source[pixel * stride + 1])
          let blue = isGrey ? red : Double(source[pixel * stride + 2])
          target[pixel] = 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255
        }
        filled = count
      }
    }
  }

  /// The plane without `border` rows and columns on every side; `nil` when nothing would remain.
  public func trimmed(by border: Int) -> LumaPlane? {
    precondition(border >= 0, "a border is no negative width")
    guard border > 0 else { return self }
    guard height > 2 * border, width > 2 * border else { return nil }
    return part(
      x: border, y: border, width: width - 2 * border, height: height - 2 * border)
  }

  /// - Precondition: the part lies inside the plane.
  func part(x: Int, y: Int, width: Int, height: Int) -> LumaPlane {
    var part: [Double] = []
    part.reserveCapacity(width * height)
    for row in y..<y + height {
      part += samples[row * self.width + x..<row * self.width + x + width]
    }
    return LumaPlane(height: height, width: width, samples: part)
  }
}
