import Formats
import Inspect
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

  @Test func convolutionIsAMatrixOfItsOutputs() throws {
    let layer = try layer("conv.weight", in: report())
    #expect(layer.shape == [2, 1, 1, 3])
    #expect(layer.matrix == [2, 3])
    #expect(layer.sigmaMax == 3)
    #expect(layer.sigmaMin == 0.25)
    #expect(layer.conditionNumber == 12)
    #expect(layer.numericalRank == 2)
    #expect(abs(try #require(layer.stableRank) - (1 + 1.0 / 144)) < 1e-15)
    #expect(layer.note == nil)
    #expect(layer.singularValues == nil)
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

  @Test func fusedWeightsAreSplitWhenAskedFor() throws {
    let name = "layers.0.residual_group.blocks.0.attn.qkv.weight"
    let parts = try report { $0.splitsFusedQKV = true }.layers.filter { $0.name == name }
    #expect(parts.map(\.part) == ["q", "k", "v"])
    #expect(parts.map(\.matrix) == [[2, 6], [2, 6], [2, 6]])
    #expect(parts.map(\.sigmaMax) == [8, 2, 16])
    #expect(parts.map(\.conditionNumber) == [2, 2, 8])
    #expect(parts.map(\.byteCount) == [48, 48, 48])
    #expect(try report().layers.first?.part == nil)
  }

  @Test func rowsThatThreeDoesNotDivideAreNotSplit() throws {
    var options = ModelReport.Options()
    options.splitsFusedQKV = true
    let archive = TensorArchive([
      "a.qkv.weight": try .diagonal([1, 2], rows: 4, columns: 2),
      "in_proj_weight": try .diagonal([1, 2, 3], rows: 3, columns: 3),
      "not_qkv.weight": try .diagonal([1, 2, 3], rows: 3, columns: 3),
    ])
    let layers = try ModelReport(archive: archive, file: "x", options: options).layers
    #expect(layers.map(\.part) == [nil, "q", "k", "v", nil])
  }

  @Test func globsSelectLayers() throws {
    let selected = try report { $0.layers = [try NameGlob("*.weight")] }
    #expect(selected.layers.count == 4)
    #expect(selected.tensorCount == 7)
    #expect(
      throws: FormatError.mismatch(
        expected: "a tensor name that matches 'nothing*'", found: "none")
    ) { try report { $0.layers = [try NameGlob("nothing*")] } }
  }

  @Test func missingQuantitiesSortLastEitherWay() throws {
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

  @Test func threadsChangeNothing() throws {
    let reports = try [1, 2, 5].map { threads in try report { $0.threads = threads } }
    #expect(reports[0] == reports[1])
    #expect(reports[0] == reports[2])
  }

  @Test func singularValuesOnRequest() throws {
    let layer = try layer("conv.weight", in: report { $0.includesSingularValues = true })
    #expect(layer.singularValues == [3, 0.25])
  }

  @Test func unreadableTensorNamesItself() throws {
    let tensor = try Tensor(elementType: .float32, shape: [2, 2]) {
      throw FormatError.malformed("the disk is gone")
    }
    #expect(throws: FormatError.malformed("the disk is gone", tensor: "w")) {
      try ModelReport(archive: TensorArchive(["w": tensor]), file: "x")
    }
  }

  @Test(arguments: [ElementType.float16, .float64, .bfloat16, .float8E5M2])
  func everyFloatingPointTypeHasASpectrum(_ type: ElementType) throws {
    // The identity, with 1.0 as each type writes it.
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
