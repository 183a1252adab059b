import Formats
import Foundation
import Imaging
import Storage
import TestSupport
import Testing

/// Weights that are quantized in groups without any data.
@Suite struct SmallParametersCommandTests {
  private func affineSpecs(_ path: String) throws -> [String: AffineSpec] {
    let entries = try PackedModel(parsing: InputFile(path: path)).header.entries
    return Dictionary(
      uniqueKeysWithValues: entries.compactMap { entry in
        if case .affine(let spec) = entry.encoding { (entry.name, spec) } else { nil }
      })
  }

  private func bytes(_ path: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(filePath: path)))
  }

  @Test(Python.require("jsonschema")) func groupsHaveParametersOfSixBits() throws {
    try withTemporaryFolder { folder in
      let (small, wide) = (folder.appending("small.condi"), folder.appending("wide.condi"))
      let outcome = try CommandLine.succeed(
        "convert", CommandLine.checkpoint, small, "--bits", "4", "--granularity", "group:20",
        "--threads", "1", "--format", "json")
      try CommandLine.succeed(
        "convert", CommandLine.checkpoint, wide, "--bits", "4", "--granularity", "group:20",
        "--parameters", "float32", "--quiet")
      try Schema.expectValid([outcome.standardOutput], "packing-report")
      let header = try CommandLine.succeed("inspect", small, "--raw-header").standardOutput
      try Schema.expectValid([header], "packed-header")
      let json = try JSONSerialization.jsonObject(with: Data(header.utf8)) as? [String: Any]
      let recipe = try JSONSerialization.data(withJSONObject: try #require(json?["recipe"]))
      try Schema.expectValid([String(decoding: recipe, as: UTF8.self)], "recipe")
      #expect(try affineSpecs(small).values.allSatisfy { $0.parameterType == .scaled6 })
      #expect(try affineSpecs(wide).values.allSatisfy { $0.parameterType == .float32 })
      #expect(try bytes(small).count < bytes(wide).count - 691_200 / 20 * 5)

      let again = folder.appending("again.condi")
      try CommandLine.succeed(
        "convert", CommandLine.checkpoint, again, "--bits", "4", "--granularity", "group:20",
        "--threads", "4", "--quiet")
      #expect(try bytes(again) == bytes(small))
      try CommandLine.succeed(
        "verify", small, "--reference", CommandLine.checkpoint, "--reproduce", "--quiet")
    }
  }

  /// The networks and the exports take what codes of parameters stand for.
  @Test func modelRunsAndExports() throws {
    try withTemporaryFolder { folder in
      let input = try PackageFolder.fixture("images/metric_3.png")
      var images: [RasterImage] = []
      for type in ["scaled6", "float32"] {
        let packed = folder.appending("\(type).condi")
        try CommandLine.succeed(
          "convert", CommandLine.checkpoint, packed, "--bits", "4", "--granularity", "group:32",
          "--parameters", type, "--quiet")
        let output = folder.appending("\(type).png")
        try CommandLine.succeed("upscale", packed, input, output, "--quiet")
        images.append(try RasterImage(contentsOf: output))
      }
      #expect(
        ImageFidelity.peakSignalToNoise(LumaPlane(of: images[0]), LumaPlane(of: images[1])) > 35)

      let packed = folder.appending("scaled6.condi")
      let exported = folder.appending("codes.safetensors")
      try CommandLine.succeed("export", packed, exported, "--to", "safetensors", "--quiet")
      let codes = try FormatRegistry.standard.open(exported)
      let archive = try FormatRegistry.standard.open(packed)
      let name = "layers.0.residual_group.blocks.0.mlp.fc1.weight"
      let values = try #require(archive.tensors[name]).floatValues()
      let stored = try ["codes", "lower", "scale"].map { part in
        try #require(codes.tensors["\(name).\(part)"]).floatValues()
      }
      let columns = try #require(archive.tensors[name]?.shape.matrix?.columns)
      let restored = values.indices.map { index in
        let cell = index / columns * ((columns + 31) / 32) + index % columns / 32
        return stored[1][cell] + stored[2][cell] * stored[0][index]
      }
      #expect(restored == values)
      for (target, file) in [("gguf", "m.gguf"), ("mlx", "mlx"), ("onnx", "m.onnx")] {
        try CommandLine.succeed(
          "export", packed, folder.appending(file), "--to", target, "--pad", "--quiet")
      }
    }
  }

  private func writeLanguageModel(to path: String) throws {
    var random = SplitMix(seed: 9)
    var archive = TensorArchive()
    for (name, shape) in [
      ("embeddings.word_embeddings.weight", [400, 64] as Shape), ("layer.0.weight", [64, 64]),
      ("lm_head.weight", [400, 64]),
    ] {
      let values = (0..<shape.elementCount).map { _ in random.nextNormal() }
      archive.tensors[name] = try Tensor(
        elementType: .float32, shape: shape, bytes: SharedBytes(elementsOf: values))
    }
    try SafetensorsFormat().plan(archive).write(to: path)
  }

  @Test func tablesAreQuantizedUnlessKept() throws {
    try withTemporaryFolder { folder in
      let (model, packed) = (folder.appending("a.safetensors"), folder.appending("a.condi"))
      try writeLanguageModel(to: model)
      let outcome = try CommandLine.succeed(
        "convert", model, packed, "--bits", "3", "--granularity", "group:32")
      #expect(
        outcome.standardOutput.split(separator: "\n").joined(separator: " ").contains(
          """
          Embedding tables have at least 4 bits, heads 6: 'embeddings.word_embeddings.weight' and \
          1 other; --keep PATTERN keeps them in full precision.
          """))
      #expect(
        try affineSpecs(packed).mapValues(\.bitWidth) == [
          "embeddings.word_embeddings.weight": 4, "layer.0.weight": 3, "lm_head.weight": 6,
        ])
      try CommandLine.succeed(
        "convert", model, packed, "--bits", "3", "--keep", "*embed*", "--keep", "lm_head.*",
        "--force")
      #expect(try Array(affineSpecs(packed).keys) == ["layer.0.weight"])
      let missing = try CommandLine.run(
        "convert", model, packed, "--bits", "3", "--keep", "wte.*", "--force")
      #expect(missing.exitCode == 2)
      #expect(
        missing.standardError
          == "condi-convert: \(model): no tensor name matches --keep 'wte.*'\n")
    }
  }
}
