/// The patches that a convolution multiplies by its weights, as rows of a matrix, `[pixels of the
/// result, taps · channels]`. The matrix is filled one band of rows of the result at a time.
struct PatchMatrix {
  let shape: ConvolutionShape
  /// The size of the image.
  let height: Int
  let width: Int
  /// The size of the result.
  let size: (height: Int, width: Int)

  init(_ shape: ConvolutionShape, height: Int, width: Int) {
    self.shape = shape
    self.height = height
    self.width = width
    size = shape.output(height: height, width: width)
  }

  var channels: Int { shape.inputs }
  var tapCount: Int { shape.kernel.height * shape.kernel.width }
  var columns: Int { tapCount * channels }
  /// The number of rows of the result in a band of about 256 pixels.
  private var bandHeight: Int { min(size.height, max(1, 256 / size.width)) }
  /// The number of matrix rows in the largest band.
  var bandTokens: Int { bandHeight * size.width }

  func forEachBand(_ body: (Range<Int>) -> Void) {
    for first in stride(from: 0, to: size.height, by: bandHeight) {
      body(first..<min(size.height, first + bandHeight))
    }
  }

  func fill(
    _ rows: Range<Int>, from x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>
  ) {
    guard shape.isSimple else {
      forEachTap(rows) { pixel, place in
        let target = y + place * channels
        guard let pixel else { return target.update(repeating: 0, count: channels) }
        target.update(from: x + pixel * channels, count: channels)
      }
      return
    }
    for row in rows {
      for column in 0..<width {
        let target = y + ((row - rows.lowerBound) * width + column) * columns
        for down in 0..<3 {
          fillThree(
            row + down - 1, column, from: x, to: target + down * 3 * channels)
        }
      }
    }
  }

  /// Adds the rows of a band, the gradient of what `fill` writes, to that of the image.
  func spread(
    _ rows: Range<Int>, of gradient: UnsafePointer<Float>, to dx: UnsafeMutablePointer<Float>
  ) {
    forEachTap(rows) { pixel, place in
      guard let pixel else { return }
      let (target, source) = (dx + pixel * channels, gradient + place * channels)
      for channel in 0..<channels { target[channel] += source[channel] }
    }
  }

  /// Calls `body` with the pixel of the image behind every tap, `nil` for zeros, and the tap's number
  /// in the band.
  @inline(__always)
  func forEachTap(_ rows: Range<Int>, _ body: (_ pixel: Int?, _ place: Int) -> Void) {
    var place = 0
    for row in rows {
      for column in 0..<size.width {
        for down in 0..<shape.kernel.height {
          let fromRow = shape.mode.pixel(
            row * shape.step + down * shape.dilation - shape.padding.height, of: height)
          for right in 0..<shape.kernel.width {
            let fromColumn = shape.mode.pixel(
              column * shape.step + right * shape.dilation - shape.padding.width, of: width)
            body(fromRow.flatMap { row in fromColumn.map { row * width + $0 } }, place)
            place += 1
          }
        }
      }
    }
  }

  /// Copies three adjacent pixels, the middle one in `column`.
  private func fillThree(
    _ row: Int, _ column: Int, from x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>
  ) {
    guard row >= 0, row < height else { return y.update(repeating: 0, count: 3 * channels) }
    let first = max(0, column - 1)
    let last = min(width - 1, column + 1)
    let skipped = first - (column - 1)
    let count = last - first + 1
    if skipped > 0 { y.update(repeating: 0, count: skipped * channels) }
    (y + skipped * channels).update(
      from: x + (row * width + first) * channels, count: count * channels)
    if skipped + count < 3 {
      (y + (skipped + count) * channels).update(
        repeating: 0, count: (3 - skipped - count) * channels)
    }
  }
}
