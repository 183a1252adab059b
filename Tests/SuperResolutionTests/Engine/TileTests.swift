import TestSupport
import Testing

@testable import Imaging
@testable import SuperResolution

@Suite struct TileTests {
  @Test func spansCoverEveryPixelOnce() {
    for length in [1, 7, 8, 9, 31, 32, 33] {
      for overlap in [0, 8, 16, 40] {
        let spans = TileOptions.spans(length, size: 8, overlap: overlap)
        #expect(spans.flatMap { Array($0.inner) } == Array(0..<length))
        for span in spans {
          #expect(span.outer.lowerBound == max(0, span.inner.lowerBound - overlap))
          #expect(span.outer.upperBound == min(length, span.inner.upperBound + overlap))
        }
      }
    }
  }

  @Test func tilesOfPixelwiseUpscalerAreExact() throws {
    let image = noise(channelCount: 2, height: 21, width: 30, seed: 8)
    var tiles: [(height: Int, width: Int)] = []
    var bandHeights: [Int] = []
    var samples = [[Float]](repeating: [], count: 2)
    try TileOptions(size: 7, overlap: 3).bands(of: image, scale: 3, period: 4) { tile, _, _ in
      tiles.append((tile.height, tile.width))
      return repeated(tile, 3)
    } _: { band in
      bandHeights.append(band.height)
      for channel in 0..<2 {
        let area = band.height * band.width
        samples[channel] += band.samples[channel * area..<(channel + 1) * area]
      }
    }
    #expect(bandHeights == [24, 24, 15])
    #expect(samples[0] + samples[1] == repeated(image, 3).samples)
    // A side of 7 becomes 8, an overlap of 3 becomes 4.
    #expect(tiles.count == 3 * 4)
    #expect(tiles[5] == (16, 16))
  }

  private func repeated(_ image: Image, _ factor: Int) -> Image {
    let (height, width) = (image.height * factor, image.width * factor)
    let samples = (0..<image.channelCount * height * width).map { index in
      let (channel, row, column) = (index / (height * width), index / width % height, index % width)
      return image.samples[
        (channel * image.height + row / factor) * image.width + column / factor]
    }
    return Image(
      channelCount: image.channelCount, height: height, width: width, samples: samples)
  }

  /// The stated overlap suffices with real windows, shifts, masks and convolutions.
  @Test(arguments: [
    "swinir_direct_x2", "swinir_shuffle_x4", "swinir_nearest_x4", "swinir_jpeg_colour",
    "swinir_shuffle_x8",
  ])
  func exactTileOverlapGivesWholeResult(name: String) throws {
    var network = try NetworkFixture(name).network()
    let overlap = try #require(network.exactTileOverlap)
    let period = network.architecture.windowPeriod
    #expect(overlap % period == 0)
    // Tiles are cut off above, below, or both. The last is no multiple of the window, so it is
    // padded like the whole image.
    let image = noise(
      height: 2 * overlap + 2 * period + 3, width: overlap + period + 1, seed: 9)
    let whole = try network.upscale(image, progress: nil)
    network.tiles = TileOptions(size: (overlap + period) / 2, overlap: overlap)
    let exact = largestDifference(try network.upscale(image, progress: nil), whole)
    network.tiles = TileOptions(size: (overlap + period) / 2, overlap: period)
    let near = largestDifference(try network.upscale(image, progress: nil), whole)
    #expect(exact <= 2e-6)
    #expect(near > 10 * max(exact, 1e-7))
  }

  @Test func channelAttentionHasNoExactOverlap() throws {
    let network = try NetworkFixture("dat_direct_x2").network()
    #expect(network.exactTileOverlap == nil)
  }

  @Test func imageOfOneTileIsRunWhole() throws {
    var network = try NetworkFixture("dat_direct_x2").network()
    let image = noise(height: 13, width: 16, seed: 10)
    let whole = try network.upscale(image, progress: nil)
    network.tiles = TileOptions(size: 16, overlap: 8)
    #expect(try network.upscale(image, progress: nil) == whole)
  }
}
