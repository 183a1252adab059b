import Formats
import Foundation
import Imaging
import Storage
import SuperResolution
import TestSupport
import Testing

@Suite struct EvaluateCommandTests {
  /// Calls `body` with a data set of two small images that lacks their low-resolution versions.
  static func withDataSet<Result>(
    _ body: (TemporaryFolder, String) throws -> Result
  ) throws -> Result {
    try withTemporaryFolder { folder in
      let set = folder.appending("set")
      try FileManager.default.createDirectory(
        atPath: "\(set)/HR", withIntermediateDirectories: true)
      for (name, source) in [("b10.png", "metric_3.png"), ("b9.png", "metric_1.png")] {
        try FileManager.default.copyItem(
          atPath: PackageFolder.fixture("images/\(source)"), toPath: "\(set)/HR/\(name)")
      }
      return try body(folder, set)
    }
  }

  @Test func baselineIsMeasuredWithoutModels() throws {
    try Self.withDataSet { _, set in
      let report = try CommandLine.json(
        CommandLine.succeed("evaluate", "--dataset", set, "--scale", "2", "--format", "json"))
      let images = try #require(report["images"] as? [[String: Any]])
      #expect(images.map { $0["name"] as? String } == ["b9", "b10"])
      // The values are those of Tests/Fixtures/images/metrics.json.
      for (image, expected) in zip(images, [33.99205612770314, 34.574779738280476]) {
        let scores = try #require(image["scores"] as? [[String: Double]])
        #expect(scores.count == 1)
        #expect(abs((scores[0]["psnr"] ?? 0) - expected) < 1e-9)
      }
      #expect(report["lowResolution"] as? String == "bicubic")
    }
  }

  /// At scale 1 interpolation changes nothing, so its PSNR is that of the degraded images.
  @Test func degradedImagesAreRestored() throws {
    try Self.withDataSet { folder, set in
      let noisy = folder.appending("noisy")
      try FileManager.default.createDirectory(atPath: noisy, withIntermediateDirectories: true)
      var expected: [Double] = []
      for name in ["b9", "b10"] {
        let image = try RasterImage(contentsOf: "\(set)/HR/\(name).png")
        let bytes = try image.encoded(as: .jpeg, quality: 30)
        try Data(bytes.array).write(to: URL(filePath: "\(noisy)/\(name).jpg"))
        let planes = try [image, RasterImage(parsing: bytes)].map {
          try #require(LumaPlane(of: $0).trimmed(by: 1))
        }
        expected.append(ImageFidelity.peakSignalToNoise(planes[1], planes[0]))
      }
      let arguments = ["evaluate", "--dataset", set, "--degraded", noisy, "--scale", "1"]
      let outcome = try BuiltProgram().run(arguments + ["--format", "json"])
      let report = try CommandLine.json(outcome)
      let images = try #require(report["images"] as? [[String: Any]])
      for (image, psnr) in zip(images, expected) {
        let scores = try #require(image["scores"] as? [[String: Double]])
        #expect(abs((scores[0]["psnr"] ?? 0) - psnr) < 1e-9)
      }
      #expect(images.count == 2)
      #expect(report["lowResolution"] as? String == "degraded")
      #expect(report["degradedFolder"] as? String == noisy)
      let text = try BuiltProgram().run(arguments).standardOutput
      // Long paths lose their middle.
      #expect(text.contains("degraded ones from /") && text.contains("/noisy\n"))

      try FileManager.default.removeItem(atPath: "\(noisy)/b9.jpg")
      let refused = try BuiltProgram().run(arguments)
      #expect(refused.exitCode == 2)
      #expect(
        refused.standardError
          == "condi-convert: \(set)/HR/b9.png: its partner 'b9.png' is missing in \(noisy)\n")
    }
  }

  @Test func modelsAreComparedInOneReport() throws {
    try Self.withDataSet { folder, set in
      let packed = folder.appending("small.condi")
      try CommandLine.succeed("convert", CommandLine.checkpoint, packed, "--quiet")
      let outcome = try CommandLine.succeed(
        "evaluate", CommandLine.checkpoint, packed, "--dataset", set, "--format", "json", "--quiet")
      let report = try CommandLine.json(outcome)
      let methods = try #require(report["methods"] as? [[String: Any]])
      #expect(
        methods.map { $0["name"] as? String } == ["bicubic", "swinir_light_x2", "small"])
      #expect(report["reference"] as? Int == 1)
      #expect(methods[1]["gainPSNR"] == nil)
      let gain = try #require(methods[2]["gainPSNR"] as? Double)
      let means = methods.compactMap { $0["meanPSNR"] as? Double }
      #expect(abs(gain - (means[2] - means[1])) < 1e-12)
      #expect(
        (methods[2]["fileByteCount"] as? Int) == (try Data(contentsOf: URL(filePath: packed)).count)
      )
      #expect(outcome.standardError.isEmpty)
    }
  }

  @Test func everyReportFormatIsPrinted() throws {
    try Self.withDataSet { _, set in
      func print(_ format: String) throws -> String {
        try CommandLine.succeed(
          "evaluate", CommandLine.checkpoint, "--dataset", set, "--format", format, "--quiet"
        ).standardOutput
      }
      let text = try print("text")
      #expect(text.contains("swinir_light_x2 dB") && text.contains("Means"))
      let csv = try print("csv").split(separator: "\r\n")
      #expect(csv.count == 3)
      #expect(
        csv[0]
          == "image,width,height,bicubic psnr,bicubic ssim,bicubic seconds,"
          + "swinir_light_x2 psnr,swinir_light_x2 ssim,swinir_light_x2 seconds")
      #expect(try print("markdown").contains("## Means"))
      let html = try print("html")
      #expect(html.contains("img-src data:"))
      // Each of the two images has one region of the high-resolution image, the low-resolution
      // image and two results.
      #expect(html.components(separatedBy: "<img src=\"data:image/png;base64,").count == 1 + 2 * 4)
      #expect(!html.contains("http://") && !html.contains("https://"))
    }
  }

  /// Each panel has the pixels of the HTML page's, enlarged to squares.
  @Test func comparisonShowsRegionsSideBySide() throws {
    try Self.withDataSet { folder, set in
      let path = folder.appending("worst.png")
      func evaluate(_ more: String...) throws -> BuiltProgram.Outcome {
        try BuiltProgram().run(
          ["evaluate", CommandLine.checkpoint, "--dataset", set, "--comparison", path]
            + ["--format", "json"] + more)
      }
      let outcome = try evaluate()
      #expect(outcome.exitCode == 0, "\(outcome.standardError)")
      #expect(
        outcome.standardError.hasSuffix(
          "condi-convert: wrote \(path), from left to right: high resolution, low resolution, bicubic, "
            + "swinir_light_x2\n"))
      let regions = try #require(try CommandLine.json(outcome)["regions"] as? [[String: Any]])
      let sheet = try RasterImage(contentsOf: path)
      let sides = try regions.map { try #require($0["width"] as? Int) }
      let step = 2 * (try #require(sides.max())) + 6
      #expect(sheet.sizeText == "\(4 * step - 6)×\(regions.count * step - 6)")
      func panel(_ row: Int, _ column: Int) -> RasterImage {
        sheet.cropped(
          x: column * step, y: row * step, width: 2 * sides[row], height: 2 * sides[row])
      }
      for (row, region) in regions.enumerated() {
        let name = try #require(region["image"] as? String)
        let (x, y) = (try #require(region["x"] as? Int), try #require(region["y"] as? Int))
        let original = try RasterImage(contentsOf: "\(set)/HR/\(name).png").cropped(
          x: x, y: y, width: sides[row], height: sides[row])
        let shown = panel(row, 0)
        func pixel(_ image: RasterImage, _ x: Int, _ y: Int) -> [UInt16] {
          let start = (y * image.width + x) * image.channelCount
          let samples = image.samples[start..<start + image.colorChannelCount]
          return samples.count == 3
            ? Array(samples) : [UInt16](repeating: samples[start], count: 3)
        }
        for y in 0..<shown.height {
          for x in 0..<shown.width where pixel(shown, x, y) != pixel(original, x / 2, y / 2) {
            Issue.record("\(name): pixel \(x), \(y) is not the original's")
            return
          }
        }
        // A pixel of the low-resolution image covers four by four; results have no such squares.
        let low = panel(row, 1)
        let corners = (0..<low.height).allSatisfy { y in
          (0..<low.width).allSatisfy { pixel(low, $0, y) == pixel(low, $0 / 4 * 4, y / 4 * 4) }
        }
        #expect(corners)
        #expect(Set([0, 1, 2, 3].map { panel(row, $0) }).count == 4)
      }
      let again = try evaluate()
      #expect(again.exitCode == 2)
      #expect(again.standardError.contains("exists"), "\(again.standardError)")
      #expect(try evaluate("--force", "--quiet").exitCode == 0)
      #expect(try RasterImage(contentsOf: path) == sheet)
    }
  }

  @Test func againstOptionSelectsReference() throws {
    try Self.withDataSet { folder, set in
      let copy = folder.appending("copy.pth")
      try CommandLine.copy(CommandLine.checkpoint, to: copy) { _ in }
      let added = try CommandLine.json(
        CommandLine.succeed(
          "evaluate", copy, "--against", CommandLine.checkpoint, "--dataset", set, "--format",
          "json", "--quiet"))
      let methods = try #require(added["methods"] as? [[String: Any]])
      #expect(methods.map { $0["name"] as? String } == ["bicubic", "swinir_light_x2", "copy"])
      #expect(methods[2]["gainPSNR"] as? Double == 0)
      let bicubic = try CommandLine.json(
        CommandLine.succeed(
          "evaluate", copy, "--against", "bicubic", "--dataset", set, "--format", "json",
          "--quiet"))
      #expect(bicubic["reference"] as? Int == 0)
    }
  }

  @Test(arguments: [("-20", Int32(1)), ("20", 0)])
  func maxLossDeterminesExitCode(_ limit: String, exitCode: Int32) throws {
    try Self.withDataSet { folder, set in
      let packed = folder.appending("small.condi")
      try FileManager.default.copyItem(atPath: CommandLine.packedExample(), toPath: packed)
      let outcome = try CommandLine.run(
        "evaluate", packed, "--against", CommandLine.checkpoint, "--dataset", set, "--format",
        "json", "--max-loss=\(limit)")
      #expect(outcome.exitCode == exitCode, "\(outcome.standardError)")
      let report = try CommandLine.json(outcome)
      let methods = try #require(report["methods"] as? [[String: Any]])
      #expect(methods.count == 3)
      #expect(
        outcome.standardError.contains("small loses ") == (exitCode == 1),
        "\(outcome.standardError)")
    }
  }

  /// A white image, which both models reproduce exactly once colours are clipped, does not hide a
  /// loss.
  @Test func exactlyReproducedImagesDoNotHideLoss() throws {
    try Self.withDataSet { folder, set in
      let blank = RasterImage(
        width: 64, height: 64, channelCount: 3, bitDepth: .eight,
        samples: [UInt16](repeating: 255, count: 64 * 64 * 3))
      try Data(blank.encoded(as: .png).array).write(to: URL(filePath: "\(set)/HR/white.png"))
      // Bicubic interpolation reproduces the image, as does a copy of the example with clipped
      // results.
      let good = try Self.brightened(folder.appending("good.safetensors"), bodyFactor: 1)
      let bad = try Self.brightened(folder.appending("bad.safetensors"), bodyFactor: -0.5)
      let outcome = try CommandLine.run(
        "evaluate", bad, "--against", good, "--dataset", set, "--format", "json",
        "--max-loss", "0.01")
      #expect(outcome.exitCode == 1, "\(outcome.standardError)")
      #expect(outcome.standardError.contains("bad loses "), "\(outcome.standardError)")
      let methods = try #require(try CommandLine.json(outcome)["methods"] as? [[String: Any]])
      #expect(methods.allSatisfy { $0["exactImages"] as? [String] == ["white"] })
      #expect(methods.allSatisfy { $0["meanPSNR"] is Double })
      let text = try CommandLine.run(
        "evaluate", bad, "--against", good, "--dataset", set, "--quiet")
      #expect(
        text.standardOutput.contains("'white' is reproduced exactly by bicubic, good, bad: "))
    }
  }

  /// Writes the example with a bias so bright that white stays white, and with the weight after its
  /// body multiplied by `bodyFactor`.
  private static func brightened(_ path: String, bodyFactor: Float) throws -> String {
    var archive = try FormatRegistry.standard.open(CommandLine.checkpoint).selecting(root: "params")
    for (name, change) in [
      ("upsample.0.bias", { $0 + 0.12 }), ("conv_after_body.weight", { $0 * bodyFactor }),
    ] as [(String, (Float) -> Float)] {
      let tensor = try #require(archive.tensors[name])
      archive.tensors[name] = try Tensor(
        elementType: .float32, shape: tensor.shape,
        bytes: SharedBytes(elementsOf: tensor.floatValues().map(change)))
    }
    try FormatRegistry.standard.write(
      archive, as: SafetensorsFormat(), to: path, replacesExisting: true)
    return path
  }

  @Test func missingLowResolutionImageIsAnError() throws {
    try Self.withDataSet { _, set in
      try FileManager.default.createDirectory(
        atPath: "\(set)/LR_bicubic/X2", withIntermediateDirectories: true)
      let outcome = try CommandLine.run("evaluate", "--dataset", set, "--scale", "2")
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError
          == "condi-convert: \(set)/HR/b9.png: its partner 'b9x2.png' is missing in "
          + "\(set)/LR_bicubic/X2\n")
    }
  }

  @Test(arguments: [
    ["evaluate", "m.pth"], ["evaluate", "--dataset", "d"],
    ["evaluate", "bicubic", "--dataset", "d", "--scale", "2"],
    ["evaluate", "m.pth", "m.pth", "--dataset", "d"],
    ["evaluate", "m.pth", "--dataset", "d", "--scale", "0"],
    ["evaluate", "m.pth", "--dataset", "d", "--max-loss", "1"],
    ["evaluate", "m.pth", "n.pth", "--dataset", "d", "--max-loss", "nan"],
    ["evaluate", "m.pth", "--dataset", "d", "--comparison", "worst.gif"],
    ["evaluate", "--dataset", "d", "--scale", "2", "--comparison", "worst.png"],
    ["evaluate", "m.pth", "--dataset", "d", "--force"],
  ])
  func wrongUsageExitsWith64(_ arguments: [String]) throws {
    let outcome = try BuiltProgram().run(arguments)
    #expect(outcome.exitCode == 64, "\(outcome.standardError)")
  }
}
