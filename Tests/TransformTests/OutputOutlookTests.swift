import Foundation
import LinearAlgebra
import TestSupport
import Testing

@testable import Transform

/// What quantization costs a layer's output, predicted and measured.
@Suite struct OutputOutlookTests {
  /// A layer whose loss NumPy has measured on its inputs: `Tests/Fixtures/generate_outlook.py`.
  struct Case: Decodable, Sendable, CustomTestStringConvertible {
    let name: String
    let weight, mean, secondMoment: [Double]
    /// Counts of all inputs in 2,048 bins between the smallest and the largest.
    let edges: [Double]
    let histogram: [Int]
    let alignment, concentration: Double
    let measured: [Double]

    var testDescription: String { name }

    var layer: Matrix {
      Matrix(rows: weight.count / mean.count, columns: mean.count, values: weight)
    }

    var site: SiteStatistics {
      let histogram = ActivationHistogram(
        minimum: edges[0], maximum: edges[1], edges: edges[0]...edges[1], counts: histogram)
      let second = Matrix(rows: mean.count, columns: mean.count, values: secondMoment)
      return SiteStatistics(histogram: histogram, moments: .init(mean: mean, second: second))
    }
  }

  static let cases: [Case] = {
    let data = PackageFolder.root.appending(path: "Tests/Fixtures/outlook.json")
    return (try? JSONDecoder().decode([Case].self, from: Data(contentsOf: data))) ?? []
  }()

  @Test func fixtureHasCases() { #expect(Self.cases.count == 7) }

  @Test(arguments: cases)
  func predictionIsCloseToSimulation(_ layer: Case) throws {
    let outlook = try #require(OutputOutlook(of: layer.layer, inputs: layer.site))
    #expect(abs(outlook.alignment - layer.alignment) < 1e-4)
    #expect(abs(outlook.concentration - layer.concentration) < 1e-4)
    // Errors of inputs that few directions make are not independent.
    let limit = layer.name == "aligned" ? 2.0 : 1.0
    for (predicted, measured) in zip([outlook.bits2, outlook.bits3, outlook.bits4], layer.measured)
    {
      #expect(abs(predicted - measured) < limit, "\(predicted), measured \(measured)")
    }
  }

  @Test func outlierChannelsAreNamed() throws {
    let layer = try #require(Self.cases.first { $0.name == "outliers" })
    let outlook = try #require(OutputOutlook(of: layer.layer, inputs: layer.site))
    #expect(Set(outlook.outliers.map(\.index)) == [3, 17])
    #expect(outlook.outliers.allSatisfy { $0.ratio > 15 && $0.ratio < 25 })
    // Two taps each belong to one channel.
    var convolution = layer.site
    convolution.tapCount = 2
    let paired = try #require(OutputOutlook(of: layer.layer, inputs: convolution))
    #expect(Set(paired.outliers.map(\.index)) == [1, 8])
    #expect(OutlierChannel.find(meanSquares: [1, 100]) == [])
    #expect(OutlierChannel.find(meanSquares: [0, 0, 0, 0, 5]) == [])
  }

  @Test func inputsWithoutMomentsHaveNoPrediction() throws {
    let layer = try #require(Self.cases.first)
    var site = layer.site
    site.moments = nil
    #expect(OutputOutlook(of: layer.layer, inputs: site) == nil)
    let other = Matrix(rows: 2, columns: 2, values: [1, 2, 3, 4])
    #expect(OutputOutlook(of: other, inputs: layer.site) == nil)
    let zero = Matrix(rows: 2, columns: 24, values: [Double](repeating: 0, count: 48))
    #expect(OutputOutlook(of: zero, inputs: layer.site) == nil)
  }
}
