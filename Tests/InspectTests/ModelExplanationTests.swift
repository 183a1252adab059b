import Formats
import Foundation
import LinearAlgebra
import Reports
import Storage
import TestSupport
import Testing
import Transform

@testable import Inspect

/// What `inspect` says of a model beyond the numbers of its matrices.
@Suite struct ModelExplanationTests {
  private func archive(_ names: String...) throws -> TensorArchive {
    var archive = TensorArchive()
    for name in names { archive.tensors[name] = try .float32([2, 2], [1, 2, 3, 5]) }
    return archive
  }

  private func family(_ archive: TensorArchive) -> String? {
    ModelFamily(of: archive)?.description
  }

  // MARK: Families

  @Test func familyIsToldByNames() throws {
    let names = ["self_attn.q_proj.weight", "mlp.gate_proj.weight", "mlp.up_proj.weight"]
    var llama = TensorArchive()
    for layer in 0..<3 {
      for name in names {
        llama.tensors["model.layers.\(layer).\(name)"] = try .float32([2, 2], [1, 2, 3, 5])
      }
    }
    #expect(family(llama) == "LLaMA-like decoder, 3 blocks (by the names of its tensors)")
    #expect(
      try family(archive("h.0.attn.c_attn.weight", "h.0.mlp.c_fc.weight"))
        == "GPT-2, 1 block (by the names of its tensors)")
    #expect(try family(archive("fc.weight", "layers.99999999.weight")) == nil)
    let report = try ModelReport(archive: llama, file: "m")
    #expect(report.network == "LLaMA-like decoder, 3 blocks (by the names of its tensors)")
  }

  @Test func familyIsToldByMetadata() throws {
    var gguf = try archive("blk.0.attn_q.weight")
    gguf.values = [
      "general.architecture": .text("qwen2"), "general.name": .text("Tiny"),
      "qwen2.block_count": .integer(24), "qwen2.embedding_length": .integer(896),
    ]
    #expect(family(gguf) == "qwen2 'Tiny', 24 layers, 896 wide (by its metadata)")
  }

  @Test func familyIsToldByConfiguration() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("model.safetensors")
      try FormatRegistry.standard.write(
        archive("a.weight"), as: SafetensorsFormat(), to: path)
      let configuration =
        #"{"architectures": ["BertModel"], "hidden_size": 384, "vocab_size": "x"}"#
      for (text, expected) in [
        (configuration, "BertModel, 384 wide (by the config.json beside it)"),
        ("[", nil), (#"{"architectures": 3}"#, nil),
      ] {
        try Data(text.utf8).write(to: URL(filePath: folder.appending("config.json")))
        #expect(try family(FormatRegistry.standard.open(path)) == expected)
      }
    }
  }

  // MARK: Text

  @Test func plainTextCountsVectorsByGroup() throws {
    var archive = TensorArchive()
    for layer in 0..<3 {
      archive.tensors["layers.\(layer).weight"] = try .float32([2, 2], [1, 2, 3, 5])
      archive.tensors["layers.\(layer).bias"] = try .float32([2], [1, 2])
    }
    archive.tensors["scale"] = try .float32([], [1])
    archive.tensors["broken.bias"] = try .float32([2], [1, .nan])
    var report = try ModelReport(archive: archive, file: "m")
    let text = try report.rendered(as: .text)
    #expect(text.contains("layers.*.bias (3 tensors)"))
    #expect(text.contains("layers.2.weight"))
    #expect(!text.contains("layers.1.bias"))
    #expect(text.contains("\nscale "))
    // What is not finite is never hidden.
    #expect(text.contains("\nbroken.bias "))
    #expect(try report.rendered(as: .csv).contains("layers.1.bias"))
    report.listsAll = true
    #expect(try report.rendered(as: .text).contains("layers.1.bias"))
  }

  // MARK: References and calibrations

  @Test func differenceToReferenceIsMapped() throws {
    var (archive, reference) = (TensorArchive(), TensorArchive())
    for block in 0..<2 {
      for kind in ["q", "k"] {
        let name = "blocks.\(block).\(kind).weight"
        let change: Float = kind == "q" ? 0 : 0.1 * Float(block + 1)
        archive.tensors[name] = try .float32([2, 2], [1, 2, 3, 5 + change])
        reference.tensors[name] = try .float32([2, 2], [1, 2, 3, 5])
      }
    }
    var options = ModelReport.Options()
    options.reference = ("r", reference)
    let report = try ModelReport(archive: archive, file: "m", options: options)
    #expect(report.layers.map(\.referenceSQNR).filter { $0 == .infinity }.count == 2)
    let expected = 10 * log10(39 / (0.1 * 0.1))
    let found = try #require(report.layers.first { $0.name == "blocks.0.k.weight" }?.referenceSQNR)
    #expect(abs(found - expected) < 1e-3)
    let maps = report.figures.compactMap { figure in
      if case .heatMap(let map) = figure { map } else { nil }
    }
    #expect(maps.count == 1)
    #expect(maps.first?.rows == ["q.weight", "k.weight"])
    #expect(maps.first?.columns == ["0", "1"])
    #expect(try report.rendered(as: .html).contains("class=\"heat\""))
    // A reference of another shape says nothing.
    options.reference = ("r", try self.archive("other"))
    let other = try ModelReport(archive: archive, file: "m", options: options)
    #expect(other.layers.allSatisfy { $0.referenceSQNR == nil })
  }

  @Test func worstOutputsComeFirst() throws {
    var archive = TensorArchive()
    var calibration = Calibration()
    // The inputs of 'low' lie where its weight is small.
    let energies: [String: [Double]] = ["low": [0.01, 100], "high": [100, 0.01]]
    for name in ["high", "low", "unknown"] {
      archive.tensors["\(name).weight"] = try .float32([2, 2], [5, 0.1, -4, 0.2])
      guard let energy = energies[name] else { continue }
      var histogram = ActivationHistogram()
      [-30, 30].withUnsafeBufferPointer { histogram.add($0) }
      calibration.sites["\(name).input"] = SiteStatistics(
        histogram: histogram,
        moments: .init(
          mean: [0, 0], second: Matrix(rows: 2, columns: 2, values: [energy[0], 0, 0, energy[1]])))
    }
    var options = ModelReport.Options()
    options.calibrated = ("c.npz", calibration)
    let report = try ModelReport(archive: archive, file: "m", options: options)
    #expect(report.unpredicted == ["unknown.weight"])
    let table = try #require(report.document.tables.dropFirst().first)
    #expect(table.title == "What quantization will cost, the worst first")
    #expect(table.rows.map { $0[0] } == [.text("low.weight"), .text("high.weight")])
    let text = try report.rendered(as: .text)
    #expect(text.contains("No prediction for 1 of the matrices"))
    let rule = try MetricRule("output-sqnr4 < 0 dB")
    #expect(try !RuleOutcome(of: rule, on: report.layers).isPassed)
    // A calibration of another model is an error.
    calibration.sites["missing.input"] = calibration.sites["low.input"]
    options.calibrated = ("c.npz", calibration)
    #expect(throws: ModelError.self) {
      try ModelReport(archive: archive, file: "m", options: options)
    }
  }
}
