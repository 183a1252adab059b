import Imaging
import Storage

/// How to cut a large image into tiles, which are upscaled one after the other to bound memory.
///
/// Tiles begin at multiples of the network's window. Each is processed with `overlap` more pixels
/// of the image on every side, which are cropped afterwards. If the overlap is at least
/// `SuperResolutionNetwork.exactTileOverlap`, the result is that of the whole image but for rounding.
/// Networks in which every pixel depends on all others, such as DAT with its channel attention,
/// always differ a little.
///
/// The largest difference of a sample was measured on one image of 128 × 128 pixels in tiles of 32.
/// For SwinIR-light ×2 it was 0.16 without overlap, 2·10⁻³ with 8 pixels, 2·10⁻⁵ with 16 and that
/// of rounding with 32 (exact from 104 on); for DAT-light ×2 it was 0.04 with 32 and 0.01 with 64.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// var network = try SuperResolutionNetwork(archive, name: "model", threads: 4)
/// network.tiles = TileOptions(size: 256, overlap: min(network.exactTileOverlap ?? 32, 32))
/// let image = try RasterImage(contentsOf: "map.png")
/// print(try RasterUpscaling(network).upscale(image).sizeText)
/// ```
public struct TileOptions: Hashable, Sendable {
  /// The side of a tile in low-resolution pixels, without the overlap, rounded up to a multiple of
  /// the network's window.
  public var size: Int
  /// The overlap in low-resolution pixels, rounded up in the same way.
  public var overlap: Int

  /// Creates options for tiles of `size` pixels per side that see `overlap` pixels beyond it.
  ///
  /// - Precondition: `size` is positive and `overlap` is not negative.
  public init(size: Int, overlap: Int) {
    precondition(size > 0 && overlap >= 0, "a tile of \(size) with an overlap of \(overlap)")
    self.size = size
    self.overlap = overlap
  }

  /// Upscales every tile, and gives each row of tiles to `body` as a band of the result.
  ///
  /// - Parameters:
  ///   - period: the number at whose multiples tiles begin.
  ///   - upscale: called for one tile after the other, with the share of the work completed before
  ///     it and its own share.
  func bands(
    of image: Image, scale: Int, period: Int,
    upscale: (_ tile: Image, _ done: Double, _ share: Double) throws -> Image,
    _ body: (_ band: Image) throws -> Void
  ) throws {
    let (rows, columns) = spans(height: image.height, width: image.width, period: period)
    guard rows.count * columns.count > 1 else { return try body(try upscale(image, 0, 1)) }

    let share = 1 / Double(rows.count * columns.count)
    for (row, vertical) in rows.enumerated() {
      var band = Image(
        zeros: image.channelCount, height: vertical.inner.count * scale, width: image.width * scale)
      for (column, horizontal) in columns.enumerated() {
        let tile = image.cropped(rows: vertical.outer, columns: horizontal.outer)
        let done = Double(row * columns.count + column) * share
        band.paste(
          try upscale(tile, done, share),
          rows: (vertical.inner.lowerBound - vertical.outer.lowerBound) * scale,
          columns: (horizontal.inner.lowerBound - horizontal.outer.lowerBound) * scale,
          height: band.height, width: horizontal.inner.count * scale,
          toRow: 0, column: horizontal.inner.lowerBound * scale)
      }
      try body(band)
    }
  }

  /// Returns the tiles' extents along both axes.
  func spans(height: Int, width: Int, period: Int) -> (rows: [Span], columns: [Span]) {
    let size = size.roundedUp(toMultipleOf: period)
    let overlap = overlap.roundedUp(toMultipleOf: period)
    return (
      Self.spans(height, size: size, overlap: overlap),
      Self.spans(width, size: size, overlap: overlap)
    )
  }

  /// The extent of a tile along one axis: the part that is kept, and the part that is processed.
  struct Span: Hashable {
    let inner: Range<Int>
    let outer: Range<Int>
  }

  static func spans(_ length: Int, size: Int, overlap: Int) -> [Span] {
    stride(from: 0, to: length, by: size).map { start in
      let end = min(length, start + size)
      return Span(
        inner: start..<end, outer: max(0, start - overlap)..<min(length, end + overlap))
    }
  }
}

extension Image {
  func cropped(rows: Range<Int>, columns: Range<Int>) -> Image {
    var cropped: [Float] = []
    cropped.reserveCapacity(channelCount * rows.count * columns.count)
    for channel in 0..<channelCount {
      for row in rows {
        let start = (channel * height + row) * width
        cropped += samples[start + columns.lowerBound..<start + columns.upperBound]
      }
    }
    return Image(
      channelCount: channelCount, height: rows.count, width: columns.count, samples: cropped)
  }

  /// Creates a black image.
  init(zeros channelCount: Int, height: Int, width: Int) {
    self.init(
      channelCount: channelCount, height: height, width: width,
      samples: [Float](repeating: 0, count: channelCount * height * width))
  }

  /// Copies `height` × `width` pixels of `other`, from the given row and column on.
  mutating func paste(
    _ other: Image, rows firstRow: Int = 0, columns firstColumn: Int = 0, height partHeight: Int,
    width partWidth: Int, toRow targetRow: Int, column targetColumn: Int = 0
  ) {
    for channel in 0..<channelCount {
      for row in 0..<partHeight {
        let source = (channel * other.height + firstRow + row) * other.width + firstColumn
        let target = (channel * height + targetRow + row) * width + targetColumn
        samples.replaceSubrange(
          target..<target + partWidth, with: other.samples[source..<source + partWidth])
      }
    }
  }
}
