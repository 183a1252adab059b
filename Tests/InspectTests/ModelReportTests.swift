import Formats
import Inspect
import Reports
import Storage
import Testing

@Suite struct ModelReportTests {
  private func report(_ change: (inout ModelReport.Options) throws -> Void = { _ in }) throws
    -> ModelReport
  {
    var options = ModelReport.Options()
    options.threads = 2
    try change(&options)
    return try ModelReport(
      archive: .varied(), file: "model.pth", fileByteCount: 1234, options: options)
  }

  private func layer(_ name: String, in report: ModelReport) throws -> LayerReport {
    try #require(report.layers.first { $0.name == name })
  }

  @Test func everyTensorIsListedInFileOrder() throws {
    let report = try report()
    #expect(report.layers.map(\.name) == Array(try TensorArchive.varied().tensors.keys))
    #expect(report.tensorCount == 7)
    #expect(report.tensorByteCount == 144 + 24 + 16 + 12 + 16 + 32 + 16)
    #expect(report.parameterCount == 36 + 6 + 4 + 3 + 4 + 2)
    #expect(report.schemaVersion == 1)
  }

  @Test func convolutionIsViewedAsMatrixOfOutputs() throws {
    let layer = try layer("conv.weight", in: report())
    #expect(layer.shape == [2, 1, 1, 3])
    #expect(layer.matrix == [2, 3])
    #expect(layer.sigmaMax == 3)
    #expect(layer.sigmaMin == 0.25)
    #expect(layer.conditionNumber == 12)
    #expect(layer.numericalRank == 2)
    let stableRank = try #require(layer.stableRank)
    #expect(abs(stableRank - 145.0 / 144) < 1e-15)
    #expect(layer.note == nil)
    #expect(layer.singularValues == nil)
  }

  @Test func outlierRowsBeyondListedOnesAreCounted() throws {
    var values = [Float](repeating: 0, count: 40 * 40)
    for row in 0..<40 { values[41 * row] = row < 10 ? 100 + Float(row) : 1 }
    let report = try ModelReport(
      archive: TensorArchive(["a.weight": try .float32([40, 40], values)]), file: "model.pth")
    let layer = try layer("a.weight", in: report)
    #expect(layer.outlierOutputs?.map(\.index) == [9, 8, 7, 6, 5, 4, 3, 2])
    #expect(layer.outlierOutputCount == 10)
    let table = try #require(report.document.tables.first { $0.title == "Outlier channels" })
    #expect(table.rows.map { $0[2] } == [.integer(10)])
    guard case .text(let list) = table.rows[0][3] else { throw ModelError("no list") }
    #expect(list.hasPrefix("9 (109") && list.hasSuffix("×), …"), "\(list)")
  }

  @Test func rankDeficientMatrixHasInfiniteCondition() throws {
    let report = try report()
    let layer = try layer("singular.weight", in: report)
    #expect(layer.conditionNumber == .infinity)
    #expect(layer.numericalRank == 1)
    #expect(abs(try #require(layer.sigmaMax) - 5) < 1e-14)
    #expect(report.condition?.rankDeficientCount == 1)
    #expect(report.condition?.matrixCount == 4)
    #expect(report.condition?.maximum == 16)
    #expect(report.condition?.median == 12)
  }

  @Test(arguments: [
    ("norm.bias", "no singular values: a vector"),
    ("index", "no singular values: int64 is not a floating-point type"),
    ("broken.weight", "no singular values: the element in row 1, column 0 is nan"),
  ])
  func missingValuesAreExplained(_ name: String, _ note: String) throws {
    let layer = try layer(name, in: report())
    #expect(layer.note == note)
    #expect(layer.sigmaMax == nil)
    #expect(layer.conditionNumber == nil)
  }

  @Test func scalarsAndEmptyTensorsAreExplained() throws {
    let archive = TensorArchive([
      "scalar": try .float32([], [1]), "empty": try .float32([0, 4], []),
      "flag": try .of(.bool, [1, 1], [1] as [UInt8]),
    ])
    let report = try ModelReport(archive: archive, file: "x")
    #expect(
      report.layers.map(\.note) == [
        "no singular values: a scalar", "no singular values: no elements",
        "no singular values: bool is not a floating-point type",
      ])
    #expect(report.condition == nil)
  }

  @Test func fusedWeightsAreSplitOnRequest() throws {
    let name = "layers.0.residual_group.blocks.0.attn.qkv.weight"
    let parts = try report { $0.splitsFusedQKV = true }.layers.filter { $0.name == name }
    #expect(parts.map(\.part) == ["q", "k", "v"])
    #expect(parts.map(\.matrix) == [[2, 6], [2, 6], [2, 6]])
    #expect(parts.map(\.sigmaMax) == [8, 2, 16])
    #expect(parts.map(\.conditionNumber) == [2, 2, 8])
    #expect(parts.map(\.byteCount) == [48, 48, 48])
    #expect(try report().layers.first?.part == nil)
  }

  @Test func rowsNotDivisibleByThreeAreNotSplit() throws {
    var options = ModelReport.Options()
    options.splitsFusedQKV = true
    let archive = TensorArchive([
      "a.qkv.weight": try .diagonal([1, 2], rows: 4, columns: 2),
      "in_proj_weight": try .diagonal([1, 2, 3], rows: 3, columns: 3),
      "not_qkv.weight": try .diagonal([1, 2, 3], rows: 3, columns: 3),
    ])
    let layers = try ModelReport(archive: archive, file: "x", options: options).layers
    #expect(layers.map(\.part) == [nil, "q", "k", "v", nil])
    #expect(layers[0].view == "q, k and v together: 4 rows are not three equal parts")
    #expect(layers[4].view == nil)
  }

  /// Covers columns of weights that are stored as [inputs, outputs], and layers known only by their
  /// shape.
  @Test func fusedWeightsAreRecognizedByPlaceAndShape() throws {
    var options = ModelReport.Options()
    options.splitsFusedQKV = true
    var sideBySide = [Float](repeating: 0, count: 12)
    for (place, value) in [(0, 1), (7, 2), (2, 3), (9, 4), (4, 5), (11, 6)] {
      sideBySide[place] = Float(value)
    }
    let archive = TensorArchive([
      "h.0.attn.c_attn.weight": try .float32([2, 6], sideBySide),
      "attention.mix.weight": try .diagonal([1, 2], rows: 6, columns: 2),
      "attention.mix2.weight": try .diagonal([1, 2], rows: 6, columns: 3),
      "mlp.mix.weight": try .diagonal([1, 2], rows: 6, columns: 2),
      "attention.query_key_value.bias": try .float32([6], [1, 2, 3, 4, 5, 6]),
    ])
    for onlyExtremes in [false, true] {
      options.onlyExtremes = onlyExtremes
      let layers = try ModelReport(archive: archive, file: "x", options: options).layers
      #expect(layers.map(\.part) == ["q", "k", "v", "q", "k", "v", nil, nil, nil])
      #expect(layers[..<3].map(\.matrix) == [[2, 2], [2, 2], [2, 2]])
      #expect(layers[..<3].map(\.sigmaMax) == [2, 4, 6])
      #expect(layers[..<3].map(\.sigmaMin) == [1, 3, 5])
    }
  }

  @Test func globsSelectLayers() throws {
    let selected = try report { $0.layers = [try NameGlob("*.weight")] }
    #expect(selected.layers.count == 4)
    #expect(selected.tensorCount == 7)
    #expect(
      throws: ModelError.mismatch(
        expected: "a tensor name that matches 'nothing*'", found: "none")
    ) { try report { $0.layers = [try NameGlob("nothing*")] } }
  }

  @Test func missingQuantitiesSortLastInEitherOrder() throws {
    let names = ["conv.weight", "singular.weight", "norm.bias", "index"]
    func sorted(_ isDescending: Bool) throws -> [String] {
      try report {
        $0.sortKey = .condition
        $0.isDescending = isDescending
      }.layers.map(\.name).filter(names.contains)
    }
    #expect(try sorted(false) == names)
    #expect(try sorted(true) == ["singular.weight", "conv.weight", "norm.bias", "index"])
  }

  @Test(arguments: ModelReport.SortKey.allCases)
  func everySortKeyKeepsEveryLayer(_ key: ModelReport.SortKey) throws {
    let report = try report { $0.sortKey = key }
    #expect(Set(report.layers.map(\.name)) == Set(try TensorArchive.varied().tensors.keys))
  }

  @Test func reportDoesNotDependOnThreads() throws {
    let reports = try [1, 2, 5].map { threads in try report { $0.threads = threads } }
    #expect(reports[0] == reports[1])
    #expect(reports[0] == reports[2])
  }

  @Test func singularValuesAreIncludedOnRequest() throws {
    let layer = try layer("conv.weight", in: report { $0.includesSingularValues = true })
    #expect(layer.singularValues == [3, 0.25])
  }

  @Test func unreadableTensorIsNamed() throws {
    let tensor = try Tensor(elementType: .float32, shape: [2, 2]) {
      throw ModelError.malformed("the disk is gone")
    }
    #expect(throws: ModelError.malformed("the disk is gone", tensor: "w")) {
      try ModelReport(archive: TensorArchive(["w": tensor]), file: "x")
    }
  }

  @Test(arguments: [ElementType.float16, .float64, .bfloat16, .float8E5M2])
  func everyFloatingPointTypeHasSpectrum(_ type: ElementType) throws {
    // The identity, with 1.0 as each type encodes it.
    let tensor =
      switch type {
      case .float16: try Tensor.of(type, [2, 2], [1, 0, 0, 1] as [Float16])
      case .float64: try Tensor.of(type, [2, 2], [1, 0, 0, 1] as [Double])
      case .bfloat16: try Tensor.of(type, [2, 2], [0x3F80, 0, 0, 0x3F80] as [UInt16])
      default: try Tensor.of(type, [2, 2], [0x3C, 0, 0, 0x3C] as [UInt8])
      }
    let report = try ModelReport(archive: TensorArchive(["w": tensor]), file: "x")
    #expect(report.layers[0].conditionNumber == 1)
    #expect(report.layers[0].elementType == type.rawValue)
  }
}

/// Options of the report beyond one file's singular values.
@Suite struct ModelReportOptionsTests {
  private func report(
    _ archive: TensorArchive? = nil, _ change: (inout ModelReport.Options) throws -> Void
  ) throws -> ModelReport {
    var options = ModelReport.Options()
    options.threads = 2
    try change(&options)
    return try ModelReport(
      archive: archive ?? .varied(), file: "model.pth", options: options)
  }

  @Test func extremesMatchEndsOfSpectrum() throws {
    let all = try report { _ in }
    let extremes = try report { $0.onlyExtremes = true }
    #expect(all.layers.count == extremes.layers.count)
    for (full, ends) in zip(all.layers, extremes.layers) {
      #expect(ends.name == full.name && ends.note == full.note)
      #expect(ends.sigmaMax == full.sigmaMax)
      #expect(ends.sigmaMin == full.sigmaMin)
      #expect(ends.conditionNumber == full.conditionNumber)
      #expect(ends.effectiveRank == nil && ends.statistics == nil)
      if let norm = full.frobeniusNorm {
        #expect(abs(try #require(ends.frobeniusNorm) - norm) < 1e-14 * norm)
      }
    }
  }

  @Test func referenceValuesAreReported() throws {
    var other = try TensorArchive.varied()
    other.tensors["conv.weight"] = try .float32([2, 1, 1, 3], [1, 0, 0, 0, 1, 0])
    other.tensors["singular.weight"] = try .float32([1, 4], [1, 2, 2, 4])
    let report = try report {
      $0.reference = ("fp.pth", other)
      $0.splitsFusedQKV = true
    }
    func reference(_ name: String) -> ReferenceLayer? {
      report.layers.first { $0.name == name }?.reference
    }
    #expect(report.referenceFile == "fp.pth")
    #expect(reference("conv.weight")?.conditionNumber == 1)
    #expect(reference("singular.weight") == nil)
    let rows = try report.rendered(as: .csv).split(separator: "\r\n")
    let bias = try #require(rows.first { $0.hasPrefix("norm.bias") })
    #expect(bias.hasSuffix(",no singular values: a vector"))
    #expect(
      reference("broken.weight")?.note
        == "no singular values: the element in row 1, column 0 is nan")
    let parts = report.layers.filter { $0.part != nil }
    #expect(parts.map { $0.reference?.conditionNumber } == [2, 2, 8])
    #expect(report.referenceCondition?.matrixCount == 5)
    let text = try report.rendered(as: .text)
    #expect(text.contains("condition  before"))
    #expect(text.contains("reference                      fp.pth\n"))
  }

  @Test func convolutionsAreViewedAsOperatorsOnRequest() throws {
    let depthwise = try report { $0.convolutionGrid = .init(width: 4, height: 2) }
    let channels = try #require(depthwise.layers.first { $0.name == "conv.weight" })
    #expect(
      channels.view
        == "circular convolution on 4x2, 2 groups, assumed depthwise because each kernel has one "
        + "input channel")
    // With one tap per filter, each channel has its length at every frequency.
    #expect(abs(try #require(channels.conditionNumber) - 12) < 1e-12)
    let glob = try NameGlob("conv.*")
    let report = try report {
      $0.convolutionGrid = .init(width: 4, height: 2)
      $0.convolutionGroups = [(glob, 1)]
    }
    let layer = try #require(report.layers.first { $0.name == "conv.weight" })
    #expect(layer.view == "circular convolution on 4x2")
    // With one tap per filter, every frequency has a column of the lengths 3 and ¼.
    #expect(abs(try #require(layer.sigmaMax) - (9.0625).squareRoot()) < 1e-12)
    #expect(abs(try #require(layer.conditionNumber) - 1) < 1e-12)
    #expect(report.layers.first { $0.name == "singular.weight" }?.view == nil)
  }

  @Test func layersBeyondMemoryLimitAreNoted() throws {
    let report = try report { $0.memoryLimit = 500 }
    let layer = try #require(report.layers.first { $0.name.hasSuffix("qkv.weight") })
    #expect(
      layer.note
        == "no singular values: they would take 864 B of memory, but only 500 B may be used")
    #expect(layer.statistics == nil)
    #expect(report.layers.first { $0.name == "conv.weight" }?.conditionNumber == 12)
  }

  @Test func everyRealTensorHasStatistics() throws {
    let report = try report { _ in }
    let statistics = Dictionary(
      uniqueKeysWithValues: report.layers.map { ($0.name, $0.statistics) })
    #expect(statistics["norm.bias"]??.zeroShare == 1.0 / 3)
    #expect(statistics["norm.bias"]??.channelNormSpread == nil)
    #expect(statistics["broken.weight"]??.nanCount == 1)
    #expect(statistics["conv.weight"]??.channelNormSpread == 12)
    #expect(statistics["index"] == .some(nil))
  }

  @Test func sortColumnIsShown() throws {
    let text = try report { $0.sortKey = .metric(.kurtosis) }.rendered(as: .text)
    #expect(text.contains("kurtosis"))
    #expect(!text.contains("left out at this width: kurtosis"))
  }

  @Test func spectrumIsOutlined() throws {
    let matrix = try Tensor.diagonal((1...40).map { Float($0) }, rows: 40, columns: 40)
    let report = try report(TensorArchive(["w": matrix])) { _ in }
    let outline = try #require(report.layers[0].spectrumOutline)
    #expect(outline.count == 32)
    let last = try #require(outline.last)
    #expect(outline.first == 40 && abs(last - 1) < 1e-12)
    #expect(try report.rendered(as: .text).contains("███▇▇▇▆▅▅▁"))
    #expect(try report.rendered(as: .html).contains("<svg class=\"spark\""))
    #expect(try !report.rendered(as: .csv).contains("█"))
  }

  @Test func modelsAreComparedByLayer() throws {
    var other = try TensorArchive.varied()
    other.tensors["conv.weight"] = nil
    other.tensors["new.weight"] = try .diagonal([4, 1], rows: 2, columns: 2)
    other.tensors["singular.weight"] = try .float32([1, 2], [1, 2])
    let second = try ModelReport(archive: other, file: "b.npz")
    let comparison = ModelComparison(models: [try report { _ in }, second])
    let lines = try comparison.rendered(as: .csv).split(separator: "\r\n")
    #expect(lines[0] == "name,shape,conditionNumberA,conditionNumberB,note")
    #expect(lines.contains("conv.weight,2×1×1×3,12.0,,not in B"))
    #expect(lines.contains("new.weight,2×2,,4.0,not in A"))
    #expect(lines.contains("singular.weight,2×2 | 1×2,inf,1.0,"))
    #expect(lines.count == 9)
    let text = try comparison.rendered(as: .text)
    #expect(text.contains("A is model.pth.") && text.contains("B is b.npz."))
    #expect(text.split(separator: "\n").allSatisfy { $0.count <= 100 })
    // The row limit applies to the layers only.
    let tables = comparison.document.limitingRows(to: 2).tables
    #expect(tables.map(\.rows.count) == [2, 8])
    #expect(tables.map(\.title) == ["Layers (the first 2 of 8)", "Models"])
    let json = try comparison.rendered(as: .json)
    #expect(try ReportJSON.decode(ModelComparison.self, from: json) == comparison)
  }
}
