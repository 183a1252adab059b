import Formats
import Foundation
import Imaging
import Storage
import SuperResolution
import TestSupport
import Testing

@Suite struct UpscaleCommandTests {
  private func fixture(_ name: String) throws -> String {
    try PackageFolder.fixture("images/\(name)")
  }

  @Test(arguments: [
    ("rgb8.png", 3), ("rgba16.png", 4), ("grey1.png", 1), ("grey_alpha16_interlaced.png", 2),
    ("palette8_transparent.png", 4), ("turned_6.jpg", 3),
  ])
  func bicubicKeepsChannelsBitDepthAndTags(_ name: String, channelCount: Int) throws {
    try withTemporaryFolder { folder in
      let output = folder.appending("out.png")
      let outcome = try CommandLine.succeed(
        "upscale", "bicubic", fixture(name), output, "--scale", "3")
      let input = try RasterImage(contentsOf: fixture(name))
      let result = try RasterImage(contentsOf: output)
      #expect(result.width == 3 * input.width && result.height == 3 * input.height)
      #expect(result.channelCount == channelCount)
      #expect(result.bitDepth == input.bitDepth)
      #expect(result.tags == input.tags)
      #expect(
        outcome.standardError
          == "condi-convert: wrote \(result.sizeText) pixels to \(output), ×3 by bicubic\n")
      #expect(outcome.standardOutput.isEmpty)
    }
  }

  /// Upscales with the example checkpoint, its packed form, and the checkpoint on one thread.
  @Test func modelsUpscaleImages() throws {
    try CommandLine.withPackedExample { folder, packed in
      let input = try fixture("metric_3.png")
      let image = try RasterImage(contentsOf: input)
      var results: [String: RasterImage] = [:]
      for (name, model, options) in [
        ("whole", CommandLine.checkpoint, []), ("packed", packed, []),
        ("again", CommandLine.checkpoint, ["--threads", "1"]),
      ] {
        let output = folder.appending("\(name).png")
        let outcome = try BuiltProgram().run(
          ["upscale", model, input, output, "--quiet"] + options)
        #expect(outcome.exitCode == 0, "\(outcome.standardError)")
        #expect(outcome.standardError.isEmpty)
        let result = try RasterImage(contentsOf: output)
        #expect(result.width == 2 * image.width && result.height == 2 * image.height)
        results[name] = result
      }
      let whole = try #require(results["whole"])
      #expect(results["again"] == whole)
      let packedResult = try #require(results["packed"])
      #expect(packedResult != whole)
      // Both results resemble the interpolated image.
      let bicubic = LumaPlane(of: BicubicResampling().upscaled(image, by: 2))
      for result in [whole, packedResult] {
        #expect(ImageFidelity.peakSignalToNoise(LumaPlane(of: result), bicubic) > 20)
      }
    }
  }

  /// Runs a packed model that has quantizers for all inputs of linear layers in both arithmetics.
  @Test func quantizedLayersUseIntegerArithmetic() throws {
    try CommandLine.withPackedExample { folder, packed in
      let model = folder.appending("quantized.condi")
      try Self.addQuantizers(to: packed, as: model)
      let input = try fixture("metric_3.png")
      let output = folder.appending("out.png")
      func upscale(_ options: String...) throws -> (note: String, result: RasterImage) {
        let outcome = try BuiltProgram().run(
          ["upscale", model, input, output, "--force"] + options)
        #expect(outcome.exitCode == 0, "\(outcome.standardError)")
        return (outcome.standardError, try RasterImage(contentsOf: output))
      }
      let integers = try upscale()
      #expect(
        integers.note.hasSuffix(
          "×2 by quantized, 96 layers in integer arithmetic, 1.787 MiB of weights\n"))
      let float = try upscale("--float")
      #expect(float.note.hasSuffix("×2 by quantized, 3.472 MiB of weights\n"))
      let fidelity = ImageFidelity.peakSignalToNoise(
        LumaPlane(of: integers.result), LumaPlane(of: float.result))
      #expect(fidelity > 50)
    }
  }

  /// Rewrites `path` with an 8-bit quantizer at the input of every quantized layer.
  private static func addQuantizers(to path: String, as output: String) throws {
    let archive = try FormatRegistry.standard.open(path)
    var header = PackedHeader(producer: "tests")
    var items: [PackedItem<Never>] = []
    for (name, tensor) in archive.tensors {
      var item = PackedItem<Never>(name: name, role: .parameter, source: tensor, action: .keep)
      if let quantized = tensor.quantized {
        let codes = try quantized()
        item.action = .quantize(
          AffineSpec(
            layout: codes.layout, bitWidth: codes.bitWidth, parameterType: codes.parameterType),
          method: "given"
        ) { (codes, nil) }
        header.activations.append(
          ActivationQuantizer(
            name: "\(name.dropLast(".weight".count)).input", bitWidth: 8, lower: -8, upper: 8))
      }
      items.append(item)
    }
    try PackedPlan(header: header, items: items).file.write(to: output)
  }

  /// Six tiles of 48 pixels have margins of 32. Pixels beyond a margin change a sample by less than
  /// one 8-bit step, so samples may differ only by rounding, by one.
  @Test func tiledResultMatchesWholeImage() throws {
    try withTemporaryFolder { folder in
      let lowResolution = folder.appending("low.png")
      let source = try RasterImage(contentsOf: fixture("metric_3.png"))
      let large = RasterImage(
        color: BicubicResampling().upscaled(source.colorImage, by: 2), bitDepth: .eight)
      try Data(large.encoded(as: .png).array).write(to: URL(filePath: lowResolution))
      func upscale(_ options: String...) throws -> RasterImage {
        let output = folder.appending("out.png")
        let outcome = try BuiltProgram().run(
          ["upscale", CommandLine.checkpoint, lowResolution, output, "--quiet", "--force"] + options
        )
        #expect(outcome.exitCode == 0, "\(outcome.standardError)")
        return try RasterImage(contentsOf: output)
      }
      let whole = try upscale()
      let tiled = try upscale("--tile", "48")
      #expect(whole.width == 2 * large.width && whole.height == 2 * large.height)
      #expect((tiled.width, tiled.height) == (whole.width, whole.height))
      #expect(
        zip(whole.samples, tiled.samples).allSatisfy { abs(Int($0) - Int($1)) <= 1 })
      // A tile as large as the image gives the identical result.
      #expect(try upscale("--tile", "4096") == whole)
    }
  }

  /// libpng does not write this profile: the image is written without it, and a message says so.
  @Test func unwritableProfilesAreLeftOut() throws {
    try withTemporaryFolder { folder in
      let input = PackageFolder.root.appending(
        path: "Fuzz/Findings/image/crash-59f08dd260f24fd527de5e5383e2c591a5782a88"
      ).path
      let outcome = try CommandLine.succeed(
        "upscale", "bicubic", input, folder.appending("out.png"), "--scale", "2")
      #expect(
        outcome.standardError.contains("condi-convert: \(input): left out the colour profile: "))
    }
  }

  /// Each thing beside the image in the file, and each thing that the output has no place for, has
  /// one line.
  @Test func omissionsAreReported() throws {
    try withTemporaryFolder { folder in
      let input = try fixture("described.png")
      let output = folder.appending("out.jpg")
      let outcome = try CommandLine.succeed("upscale", "bicubic", input, output, "--scale", "2")
      let place = "a JPEG file has a place for ICC profiles only"
      #expect(
        outcome.standardError.split(separator: "\n").dropLast()
          == [
            "XMP data: it describes the file that it is from",
            "2 further frames: only the first image is read",
            "1 text (Title): texts about the image are not carried over",
            "2 other chunks (tIME, bKGD): they are not carried over",
            "8 bytes after the end of the image: only the first image is read",
            "colour code points (cICP): \(place)", "the mastering display (mDCV, cLLI): \(place)",
          ].map { "condi-convert: \(input): left out \($0)" })
      let quiet = try CommandLine.succeed(
        "upscale", "bicubic", input, output, "--scale", "2", "--force", "--quiet")
      #expect(quiet.standardError.isEmpty && quiet.standardOutput.isEmpty)
      let report = try CommandLine.json(
        CommandLine.succeed(
          "upscale", "bicubic", input, output, "--scale", "2", "--force", "--format", "json"))
      let image = try #require((report["images"] as? [[String: Any]])?.first)
      let listed = try #require(image["omissions"] as? [[String: String]])
      #expect(listed.count == 7)
      #expect(
        listed.last == ["what": "the mastering display (mDCV, cLLI)", "reason": place])
      #expect(image["width"] as? Int == 26 && image["scale"] as? Int == 2)
    }
  }

  // MARK: Folders

  /// Makes a folder with two images and one that cannot be read, and returns its path.
  static func mixedImages(below folder: TemporaryFolder) throws -> String {
    let images = folder.appending("small")
    try FileManager.default.createDirectory(atPath: images, withIntermediateDirectories: true)
    for name in ["rgb8.png", "grey1.png"] {
      try FileManager.default.copyItem(
        atPath: PackageFolder.fixture("images/\(name)"), toPath: "\(images)/\(name)")
    }
    try Data("no image".utf8).write(to: URL(filePath: "\(images)/odd.png"))
    try Data("no image".utf8).write(to: URL(filePath: "\(images)/notes.txt"))
    return images
  }

  @Test func folderIsUpscaledImageByImage() throws {
    try withTemporaryFolder { folder in
      let images = try Self.mixedImages(below: folder)
      let large = folder.appending("a/large")
      let outcome = try CommandLine.run(
        "upscale", "bicubic", images, large, "--scale", "2", "--format", "json")
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError.hasSuffix(
          "condi-convert: \(images): 1 of 3 images could not be upscaled\n"))
      let report = try CommandLine.json(outcome)
      let made = try #require(report["images"] as? [[String: Any]])
      #expect(
        made.compactMap { $0["output"] as? String } == ["\(large)/grey1.png", "\(large)/rgb8.png"])
      let failures = try #require(report["failures"] as? [[String: String]])
      #expect(failures.map { $0["input"] } == ["\(images)/odd.png"])
      #expect(try FileManager.default.contentsOfDirectory(atPath: large).count == 2)

      // An image of a folder is what it is alone.
      let alone = folder.appending("alone.png")
      try CommandLine.succeed("upscale", "bicubic", "\(images)/rgb8.png", alone, "--scale", "2")
      #expect(
        try RasterImage(contentsOf: alone) == RasterImage(contentsOf: "\(large)/rgb8.png"))
    }
  }

  /// Nothing is made when an output exists, when there is no image, or in the folder itself.
  @Test func folderIsCheckedBeforeTheWork() throws {
    try withTemporaryFolder { folder in
      let images = try Self.mixedImages(below: folder)
      let large = folder.appending("large")
      try FileManager.default.createDirectory(atPath: large, withIntermediateDirectories: true)
      try Data("mine".utf8).write(to: URL(filePath: "\(large)/rgb8.png"))
      for (input, output, message) in [
        (images, large, "\(large)/rgb8.png: already exists"),
        (images, images, "\(images): it is the folder of the images to upscale"),
        (large, folder.appending("b"), nil),
        (folder.appending("none"), folder.appending("c"), nil),
      ] {
        let outcome = try CommandLine.run("upscale", "bicubic", input, output, "--scale", "2")
        #expect(outcome.exitCode != 0)
        if let message {
          #expect(outcome.standardError.contains(message), "\(outcome.standardError)")
        }
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: large) == ["rgb8.png"])
    }
  }

  /// Without a quality, WebP output loses nothing.
  @Test func webPImagesAreReadAndWritten() throws {
    try withTemporaryFolder { folder in
      func upscale(_ input: String, _ output: String, _ options: String...) throws -> RasterImage {
        let outcome = try BuiltProgram().run(
          ["upscale", "bicubic", fixture(input), folder.appending(output), "--scale", "2"] + options
        )
        #expect(outcome.exitCode == 0, "\(outcome.standardError)")
        return try RasterImage(contentsOf: folder.appending(output))
      }
      let png = try upscale("rgba8.webp", "a.png")
      #expect(try upscale("rgba8.webp", "a.webp").samples == png.samples)
      #expect(try upscale("rgba8.png", "b.webp").samples == upscale("rgba8.png", "b.png").samples)
      #expect(try upscale("rgba8.webp", "c.webp", "--quality", "60").samples != png.samples)
      #expect(try upscale("turned_6.webp", "d.jpg").width == 22)
    }
  }

  /// JPEG files cannot have such a side; the command fails before any work.
  @Test func oversizedJPEGOutputIsRefused() throws {
    try withTemporaryFolder { folder in
      let input = folder.appending("wide.png")
      let image = RasterImage(
        width: 70_000, height: 1, channelCount: 1, bitDepth: .eight,
        samples: [UInt16](repeating: 9, count: 70_000))
      try Data(image.encoded(as: .png).array).write(to: URL(filePath: input))
      let refused = try CommandLine.run(
        "upscale", "bicubic", input, folder.appending("out.jpg"), "--scale", "1")
      #expect(refused.exitCode == 2)
      #expect(
        refused.standardError
          == "condi-convert: \(input): a JPEG file has at most 65500 pixels a side; write a PNG file "
          + "instead\n")
      let output = folder.appending("out.png")
      try CommandLine.succeed("upscale", "bicubic", input, output, "--scale", "2")
      #expect(try RasterImage(contentsOf: output).width == 140_000)
      #expect(try folder.names() == ["out.png", "wide.png"])
    }
  }

  @Test func greyImagesStayGrey() throws {
    try withTemporaryFolder { folder in
      let output = folder.appending("out.png")
      try CommandLine.succeed(
        "upscale", CommandLine.checkpoint, fixture("grey_alpha16.png"), output, "--quiet")
      let result = try RasterImage(contentsOf: output)
      #expect(result.channelCount == 2)
      #expect(result.bitDepth == .sixteen)
    }
  }

  @Test func outputIsReplacedOnlyWithForce() throws {
    try withTemporaryFolder { folder in
      let output = folder.appending("out.jpg")
      try Data("mine".utf8).write(to: URL(filePath: output))
      let arguments = ["upscale", "bicubic", try fixture("rgb8.png"), output, "--scale", "2"]
      let refused = try BuiltProgram().run(arguments)
      #expect(refused.exitCode == 2)
      #expect(refused.standardError.hasSuffix("already exists; use --force to replace it\n"))
      #expect(try Data(contentsOf: URL(filePath: output)) == Data("mine".utf8))
      #expect(try BuiltProgram().run(arguments + ["--force"]).exitCode == 0)
      #expect(try RasterImage(contentsOf: output).width == 26)
      #expect(try folder.names() == ["out.jpg"])
    }
  }

  @Test(arguments: [
    ("refused_short.png", "out.png", "its 10000×10000 pixels cannot be in a file of 69 bytes"),
    ("refused_cmyk.jpg", "out.png", "it has CMYK colours"),
    ("images.json", "out.png", "it is neither a PNG nor a JPEG nor a WebP file"),
    ("refused_animated.webp", "out.png", "it is an animated WebP file"),
    ("rgba16.png", "out.webp", "a WebP file holds 8 bits a sample, not 16"),
    ("rgba8.png", "out.jpg", "a JPEG file holds neither alpha nor 16 bits a sample"),
  ])
  func failuresPrintOneLineAndLeaveNoFiles(input: String, output: String, reason: String) throws {
    try withTemporaryFolder { folder in
      let outcome = try CommandLine.run(
        "upscale", "bicubic", fixture(input), folder.appending(output), "--scale", "2")
      #expect(outcome.exitCode == 2)
      let path = try fixture(input)
      #expect(outcome.standardError.hasPrefix("condi-convert: \(path): "))
      #expect(outcome.standardError.contains(reason), "\(outcome.standardError)")
      #expect(outcome.standardError.split(separator: "\n").count == 1)
      #expect(try folder.names().isEmpty)
    }
  }

  @Test func fileWithoutNetworkIsRefused() throws {
    try withTemporaryFolder { folder in
      let model = try PackageFolder.fixture("safetensors/shapes.safetensors")
      let outcome = try CommandLine.run(
        "upscale", model, fixture("rgb8.png"), folder.appending("out.png"), "--quiet")
      #expect(outcome.exitCode == 2)
      #expect(outcome.standardError.hasPrefix("condi-convert: \(model): "))
      #expect(outcome.standardError.split(separator: "\n").count == 1)
      #expect(try folder.names().isEmpty)
    }
  }

  @Test(arguments: [
    ["upscale", "m.pth", "a.png", "b.gif"], ["upscale", "bicubic", "a.png", "b.png"],
    ["upscale", "m.pth", "a.png", "b.png", "--scale", "2"],
    ["upscale", "bicubic", "a.png", "b.png", "--scale", "0"],
    ["upscale", "bicubic", "a.png", "b.png", "--scale", "2", "--tile", "64"],
    ["upscale", "m.pth", "a.png", "b.png", "--tile", "1"],
    ["upscale", "m.pth", "a.png", "b.jpg", "--quality", "0"],
  ])
  func wrongUsageExitsWith64(_ arguments: [String]) throws {
    let outcome = try BuiltProgram().run(arguments)
    #expect(outcome.exitCode == 64, "\(outcome.standardError)")
  }
}
