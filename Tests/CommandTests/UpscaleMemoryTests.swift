import Formats
import Foundation
import TestSupport
import Testing

@testable import Imaging
@testable import SuperResolution

/// What upscaling is expected to take beside what it takes.
@Suite struct UpscaleMemoryTests {
  /// Writes the network of a fixture as a checkpoint, and returns its path.
  static func checkpoint(_ fixture: String, in folder: TemporaryFolder) throws -> String {
    var archive = try FormatRegistry.standard.open(
      PackageFolder.fixture("superresolution/\(fixture).safetensors"))
    archive.tensors = archive.tensors.filter { !$0.key.hasPrefix("golden.") }
    let path = folder.appending("\(fixture).safetensors")
    try SafetensorsFormat().plan(archive).write(to: path)
    return path
  }

  /// The most memory that the program had until it had written its output.
  private func peakByteCount(_ arguments: [String]) throws -> Int {
    var found: Int?
    let outcome = try FaultyProgram().run(arguments, pausedAt: 1, of: ["fsync"]) {
      (process: Process) throws in
      let status = try String(
        contentsOfFile: "/proc/\(process.processIdentifier)/status", encoding: .utf8)
      let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
      found = line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }
    }
    #expect(outcome.exitCode == 0, "\(outcome.standardError)")
    return try #require(found) * 1024
  }

  @Test(arguments: [
    ("span_x4", nil, "png"), ("span_x4", 96, "png"), ("span_x4", 96, "webp"),
    ("compact_x4", nil, "jpg"), ("swinir_shuffle_x4", nil, "png"), ("hat_x2", nil, "png"),
    ("rcan_x2", nil, "png"),
  ])
  func memoryIsPredicted(_ fixture: String, tile: Int?, suffix: String) throws {
    try withTemporaryFolder { folder in
      let model = try Self.checkpoint(fixture, in: folder)
      func image(_ width: Int, _ height: Int) throws -> (path: String, image: RasterImage) {
        let image = ImageFixtures.sample(width: width, height: height, channelCount: 3)
        let path = folder.appending("\(width).png")
        try Data(image.encoded(as: .png).array).write(to: URL(filePath: path))
        return (path, image)
      }
      func peak(_ input: String) throws -> Int {
        try peakByteCount(
          ["upscale", model, input, folder.appending("out.\(suffix)"), "--threads", "2", "--force"]
            + (tile.map { ["--tile", "\($0)"] } ?? []))
      }
      let (small, large) = (try image(64, 64), try image(416, 304))
      let grown = try peak(large.path) - peak(small.path)
      let network = try SuperResolutionNetwork(
        FormatRegistry.standard.open(model), name: "model", threads: 2)
      let format = try #require(ImageFormat(path: "out.\(suffix)"))
      let predicted = try #require(
        network.tileChoice(for: large.image, as: format, given: tile, within: nil).byteCount)
      #expect(grown <= predicted, "\(grown) of \(predicted)")
      // The constant part is for what the small image takes as well.
      #expect(grown >= (predicted - (32 << 20)) / 2, "\(grown) of \(predicted)")
    }
  }

  /// Progress counts tiles, and a message says why there are any.
  @Test func tilesAreToldOf() throws {
    try withTemporaryFolder { folder in
      let model = try Self.checkpoint("span_x2", in: folder)
      let input = try PackageFolder.fixture("images/metric_3.png")
      let output = folder.appending("out.png")
      let tiled = try CommandLine.succeed("upscale", model, input, output, "--tile", "32")
      #expect(
        tiled.standardError.hasPrefix(
          "condi-convert: \(input): tiles: 4 of 32 pixels, each with 21 more around it, as given\n")
      )
      let report = try CommandLine.json(
        CommandLine.succeed("upscale", model, input, output, "--force", "--format", "json"))
      let made = try #require((report["images"] as? [[String: Any]])?.first)
      let tiles = try #require(made["tiles"] as? [String: Any])
      #expect(tiles["reason"] as? String == "fits" && tiles["count"] as? Int == 1)
      #expect(tiles["size"] == nil)
      let available = try #require(tiles["availableByteCount"] as? Int)
      #expect(try #require(tiles["byteCount"] as? Int) < available)
    }
  }
}
