import LinearAlgebra
import Storage
import TestSupport
import Testing

@testable import Formats
@testable import Inspect

@Suite struct LowRankSpectrumTests {
  /// The product has the singular values of the matrix that it would be.
  @Test(arguments: [(7, 5, 2), (4, 9, 4), (3, 3, 5), (6, 1, 2)])
  func spectrumIsThatOfProduct(rows: Int, columns: Int, rank: Int) throws {
    var random = SplitMix(seed: 12)
    func matrix(_ rows: Int, _ columns: Int) -> [Float] {
      (0..<rows * columns).map { _ in Float.random(in: -1...1, using: &random) }
    }
    let (up, down) = (matrix(rows, rank), matrix(rank, columns))
    func tensor(_ values: [Float], _ shape: Shape) throws -> Tensor {
      try Tensor(elementType: .float32, shape: shape, bytes: SharedBytes(elementsOf: values))
    }
    let pair = LowRankPair(
      module: "m", parts: ["a", "b"], down: try tensor(down, [rank, columns]),
      up: try tensor(up, [rows, rank]), isTransposed: false, scale: -1.5)
    let product = Matrix(rows: rows, columns: rank, values: up.map(Double.init)).multiplied(
      by: Matrix(rows: rank, columns: columns, values: down.map(Double.init)))
    let expected = try Spectrum(
      of: Matrix(rows: rows, columns: columns, values: product.values.map { -1.5 * $0 }))
    let found = try pair.spectrum()
    #expect(found.singularValues.count == expected.singularValues.count)
    for (value, other) in zip(found.singularValues, expected.singularValues) {
      #expect(abs(value - other) <= 1e-13 * expected.sigmaMax)
    }
    #expect(found.numericalRank == min(rank, rows, columns))
  }

  @Test func reportShowsProductsBesideFactors() throws {
    let path = try PackageFolder.fixture("lora/float32/adapter_model.safetensors")
    let archive = try FormatRegistry.standard.open(path).assembled()
    let report = try ModelReport(archive: archive, file: path)
    let products = report.layers.filter { $0.composition?.hasPrefix("product of LoRA") ?? false }
    #expect(
      products.map(\.name) == [
        "base_model.model.block.conv", "base_model.model.block.proj", "base_model.model.embed",
      ])
    #expect(products.map(\.shape) == [[6, 3, 3, 2], [10, 6], [11, 6]])
    for product in products {
      #expect(product.byteCount == 0)
      #expect(product.numericalRank == 3)
      #expect(product.conditionNumber == .infinity)
      #expect(
        product.composition == "product of LoRA factors of rank 3, times 1.66667"
          || product.composition?.hasSuffix("times 1.667") ?? false)
    }
    #expect(report.layers.count == archive.tensors.count + 3)
    #expect(report.tensorByteCount == archive.tensorByteCount)
  }
}
