import TestSupport
import Testing

@testable import Imaging
@testable import Storage
@testable import SuperResolution

@Suite struct TileChoiceTests {
  private func choice(
    _ name: String, width: Int = 700, height: Int = 500, given size: Int? = nil,
    byteCount: Int?
  ) throws -> TileChoice {
    let image = RasterImage(
      width: width, height: height, channelCount: 3, bitDepth: .eight,
      samples: [UInt16](repeating: 7, count: 3 * width * height))
    return try NetworkFixture(name).network().tileChoice(
      for: image, as: .png, given: size,
      within: byteCount.map { AvailableMemory(byteCount: $0, bound: .system) })
  }

  /// The more memory there is, the larger the tiles, all of which fit in three quarters of it.
  @Test(arguments: ["span_x4", "swinir_shuffle_x4", "hat_x2", "rcan_x2", "omnisr_x4"])
  func tilesGrowWithMemory(_ name: String) throws {
    let whole = try #require(try choice(name, byteCount: .max).byteCount)
    #expect(try choice(name, byteCount: .max).reason == .fits)
    #expect(try choice(name, byteCount: whole / 3 * 4 + 8).size == nil)
    let small = try choice(name, byteCount: 60 << 20)
    let large = try choice(name, byteCount: 80 << 20)
    var sizes: [Int] = []
    for chosen in [small, large] {
      #expect(chosen.reason == .memory || chosen.reason == .least)
      #expect(chosen.wholeByteCount == whole)
      let byteCount = try #require(chosen.byteCount)
      let available = try #require(chosen.availableByteCount)
      #expect(chosen.reason == .least || byteCount <= available / 4 * 3)
      sizes.append(try #require(chosen.size))
    }
    #expect(sizes[0] < sizes[1] && sizes[1] < 700)
    #expect(small.count > large.count)
  }

  @Test func smallestTilesAreChosenWhereNoneFit() throws {
    let chosen = try choice("span_x4", byteCount: 1 << 20)
    #expect(chosen.reason == .least && chosen.size == 64 && chosen.count == 11 * 8)
  }

  @Test func givenSizeWins() throws {
    let chosen = try choice("span_x4", given: 100, byteCount: .max)
    #expect(chosen.reason == .given && chosen.size == 100 && chosen.count == 35)
    // With 21 pixels around a tile, results are exact.
    #expect(chosen.overlap == 21)
  }

  @Test func imagesStayWholeWhereNothingIsKnown() throws {
    #expect(try choice("span_x4", byteCount: nil).reason == .unknown)
    // An embedding of positions is for images of one size.
    let chosen = try choice("swinir_positions", byteCount: 1 << 20)
    #expect(chosen.reason == .unknown && chosen.size == nil)
  }
}
