import Imaging
import Storage

/// The tiles in which a network upscales an image, and why.
package struct TileChoice: Codable, Hashable, Sendable {
  package enum Reason: String, Codable, Hashable, Sendable {
    /// The user gave the size.
    case given
    /// The whole image fits the memory that is available.
    case fits
    /// The whole image does not; these are the largest tiles that do.
    case memory
    /// Even the smallest tiles do not; these are they.
    case least
    /// It is not known how much memory there is, or the network takes no tiles; the image stays
    /// whole.
    case unknown
  }

  package let reason: Reason
  /// The side of a tile in pixels of the image, without the overlap; `nil` for the whole image.
  package let size: Int?
  /// The pixels that a tile sees beyond each side; `nil` for the whole image.
  package let overlap: Int?
  /// The number of tiles.
  package let count: Int
  /// The bytes that upscaling is expected to take at most; `nil` where it is not known.
  package let byteCount: Int?
  /// The same for the whole image.
  package let wholeByteCount: Int?
  /// The bytes that were available, and what bounds them; `nil` where it is not known.
  package let availableByteCount: Int?
  package let bound: AvailableMemory.Bound?

  /// The tiles; `nil` for the whole image.
  package var tiles: TileOptions? {
    guard let size, let overlap else { return nil }
    return TileOptions(size: size, overlap: overlap)
  }
}

extension Upscaler {
  /// Returns the upscaler for one image: a network with tiles, and their choice (see
  /// `SuperResolutionNetwork.tileChoice`); any other as it is.
  func tiled(
    for image: RasterImage, as format: ImageFormat, given size: Int? = nil,
    within memory: AvailableMemory?
  ) -> (upscaler: any Upscaler, choice: TileChoice?) {
    guard var network = self as? SuperResolutionNetwork else { return (self, nil) }
    let choice = network.tileChoice(for: image, as: format, given: size, within: memory)
    network.tiles = choice.tiles
    return (network, choice)
  }
}

extension SuperResolutionNetwork {
  /// The largest overlap of tiles in pixels. Pixels further away hardly matter, and exact results
  /// would take well over a hundred, at many times the work.
  private static let largestOverlap = 32
  /// The smallest tiles that are chosen: of smaller ones, the overlap would be most of the work.
  private static let leastSize = 64

  private func tileOptions(size: Int) -> TileOptions {
    TileOptions(size: size, overlap: min(exactTileOverlap ?? .max, Self.largestOverlap))
  }

  /// Chooses the largest tiles, or the whole image, for which upscaling `image` to a file of `format`
  /// takes at most three quarters of the available memory: other programs may take some meanwhile,
  /// and the allocator keeps some.
  ///
  /// - Parameter size: the size that the user wants; `nil` for none.
  package func tileChoice(
    for image: RasterImage, as format: ImageFormat, given size: Int?,
    within memory: AvailableMemory?
  ) -> TileChoice {
    let need = UpscalingMemory(network: self, image: image, format: format)
    let whole = need.peakByteCount(nil)
    func choice(_ reason: TileChoice.Reason, _ tiles: TileOptions?) -> TileChoice {
      let count = tiles.map { tiles in
        let (rows, columns) = tiles.spans(
          height: image.height, width: image.width, period: architecture.windowPeriod)
        return rows.count * columns.count
      }
      return TileChoice(
        reason: reason, size: tiles?.size, overlap: tiles?.overlap, count: count ?? 1,
        byteCount: need.peakByteCount(tiles), wholeByteCount: whole,
        availableByteCount: memory?.byteCount, bound: memory?.bound)
    }
    if let size { return choice(.given, tileOptions(size: size)) }
    guard let memory, let whole else { return choice(.unknown, nil) }
    let limit = memory.byteCount / 4 * 3
    if whole <= limit { return choice(.fits, nil) }

    let period = architecture.windowPeriod
    let least = (Self.leastSize + period - 1) / period
    guard need.peakByteCount(tileOptions(size: least * period)) != nil else {
      return choice(.unknown, nil)  // a network for images of one size
    }
    /// Whether tiles of so many periods fit.
    func fits(_ periods: Int) -> Bool {
      need.peakByteCount(tileOptions(size: periods * period)).map { $0 <= limit } ?? false
    }
    guard fits(least) else { return choice(.least, tileOptions(size: least * period)) }
    var (fitting, excessive) = (least, max(image.height, image.width) / period + 1)
    while excessive - fitting > 1 {
      let middle = (fitting + excessive) / 2
      if fits(middle) { fitting = middle } else { excessive = middle }
    }
    // As many tiles of equal size take less memory than those and a narrow rest.
    func even(_ side: Int) -> Int {
      let count = (side + fitting * period - 1) / (fitting * period)
      return ((side + count - 1) / count).roundedUp(toMultipleOf: period)
    }
    let even = max(even(image.height), even(image.width))
    return choice(.memory, tileOptions(size: max(least * period, even)))
  }
}

/// The memory that upscaling an image to a file takes, as `RasterUpscaling` and the network use it.
private struct UpscalingMemory {
  let network: SuperResolutionNetwork
  let image: RasterImage
  let format: ImageFormat

  /// What the codec, the threads and the allocator have besides.
  private static let rest = 32 << 20

  /// Returns the most bytes in use at once besides the image and the weights; `nil` where the
  /// network does not take such tiles.
  func peakByteCount(_ tiles: TileOptions?) -> Int? {
    let (height, width, scale) = (image.height, image.width, network.scale)
    let (colors, channels) = (image.colorChannelCount, network.channelCount)
    let isConverted = colors != channels
    var tile = (height: height, width: width)
    var bandHeight = height
    var band = 0
    if let tiles {
      let (rows, columns) = tiles.spans(
        height: height, width: width, period: network.architecture.windowPeriod)
      func largest(_ spans: [TileOptions.Span]) -> Int { spans.map(\.outer.count).max() ?? 0 }
      tile = (largest(rows), largest(columns))
      bandHeight = rows.map(\.inner.count).max() ?? 0
      // The band and the tile's part of the image, which are there while a tile is upscaled.
      if rows.count * columns.count > 1 {
        band =
          bandHeight * width * scale * scale * channels * 4
          + tile.height * tile.width * channels * 4
      }
    }
    guard
      let pass = network.peakByteCount(height: tile.height, width: tile.width)
    else { return nil }
    // Planes of the image: colours, those that the network takes, alpha and colours under it.
    let planes = colors + (isConverted ? 3 : 0) + (image.hasAlpha ? 1 + colors : 0)
    let held = height * width * planes * 4
    // What becomes of a band, a pixel: the network's channels, the samples, and what is interpolated
    // beside, in double precision.
    let perPixel =
      channels * 4 + image.channelCount * 2 + (isConverted ? 48 : 0)
      + (image.hasAlpha ? 28 + colors * 4 : 0)
    let conversion = bandHeight * width * scale * scale * perPixel
    let streamed = held + max(band + pass, conversion) + Self.rest
    guard !format.isStreamed else { return streamed }
    // An encoder of whole images keeps all pixels, and has several copies of them at the end.
    let pixels = height * width * scale * scale
    return max(streamed + 4 * pixels, held + 36 * pixels + Self.rest)
  }
}
