import Formats
import Foundation
import TestSupport
import Testing

@testable import Transform

/// The goldens that `Tests/Fixtures/generate_bounds.py` wrote.
private struct Goldens: Decodable {
  struct Case: Decodable, Sendable, CustomTestStringConvertible {
    let name: String
    let values: [Float]
    let results: [Golden]
    var testDescription: String { name }
  }

  struct Golden: Decodable, Sendable {
    let method: BoundSearchMethod
    let bits: Int
    let parameterType: String
    let lower: Float
    let scale: Float
    let squaredError: Double
  }

  let cases: [Case]

  static func load() throws -> [Case] {
    let url = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "Fixtures/bounds.json")
    return try JSONDecoder().decode(Goldens.self, from: Data(contentsOf: url)).cases
  }
}

@Suite("Bound search")
struct BoundSearchTests {
  @Test func boundsMatchNumPy() throws {
    let cases = try Goldens.load()
    #expect(cases.count == 10)
    for example in cases {
      for golden in example.results {
        let search = BoundSearch(
          method: golden.method, bitWidth: golden.bits,
          parameterType: try #require(
            QuantizationParameterType(rawValue: golden.parameterType)))
        let found = search.bounds(of: example.values)
        let comment = Comment("\(example.name), \(golden)")
        #expect(found == .init(lower: golden.lower, scale: golden.scale), comment)
        #expect(
          search.squaredError(of: example.values, bounds: found) == golden.squaredError, comment)
      }
    }
  }

  @Test(arguments: 1...8, [1, 2, 7, 8, 9, 60, 301])
  func methodsAreNoWorseThanTheirStart(bitWidth: Int, count: Int) {
    var generator = SplitMix(seed: UInt64(bitWidth * 1_000 + count))
    for exponent in [Float(1), 3] {
      let values = (0..<count).map { _ in
        let value = generator.nextNormal()
        return exponent == 1 ? value : value * value * value
      }
      for parameterType in QuantizationParameterType.allCases {
        func error(_ method: BoundSearchMethod) -> Double {
          let search = BoundSearch(
            method: method, bitWidth: bitWidth, parameterType: parameterType)
          return search.squaredError(of: values, bounds: search.bounds(of: values))
        }
        let plain = error(.minimumMaximum)
        let dobi = error(.dobi)
        #expect(dobi <= plain)
        #expect(error(.dobiOneSided) <= plain)
        #expect(error(.free) <= dobi)
      }
    }
  }

  @Test func freeBoundsAreBetterOnSkewedData() {
    var generator = SplitMix(seed: 3)
    let values = (0..<2_000).map { _ in exp(generator.nextNormal()) }
    func error(_ method: BoundSearchMethod) -> Double {
      let search = BoundSearch(method: method, bitWidth: 3)
      return search.squaredError(of: values, bounds: search.bounds(of: values))
    }
    #expect(error(.free) < 0.8 * error(.dobi))
  }

  @Test(arguments: BoundSearchMethod.allCases, [Float(0), 0.1, -3e38, .leastNonzeroMagnitude])
  func constantsHaveZeroScale(method: BoundSearchMethod, value: Float) {
    let values = [Float](repeating: value, count: 13)
    let bounds = BoundSearch(method: method, bitWidth: 2).bounds(of: values)
    #expect(bounds == .init(lower: value, scale: 0))
  }

  /// Returns the sum in the order that `AffineCode.squaredError` promises, one element at a time.
  private func plainSquaredError(of values: [Float], _ code: AffineCode) -> Double {
    let rounding: Float = 0x1.8p23
    let divisor = code.scale > 0 ? code.scale : .infinity
    let maximumCode = code.maximumCode
    var sums = [Double](repeating: 0, count: 8)
    for (index, value) in values.enumerated() {
      var clipped = (value - code.lower) / divisor
      if clipped < 0 { clipped = 0 }
      if clipped > maximumCode { clipped = maximumCode }
      let rounded = (clipped + rounding) - rounding
      let difference = Double(value - (code.lower + code.scale * rounded))
      sums[index % 8] += difference * difference
    }
    let even = (sums[0] + sums[4]) + (sums[2] + sums[6])
    return even + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
  }

  @Test(arguments: 1...8, [0, 1, 7, 8, 9, 16, 203])
  func squaredErrorIsSummedInFixedOrder(bitWidth: Int, count: Int) {
    var generator = SplitMix(seed: UInt64(bitWidth * 1_000 + count))
    let values = (0..<count).map { _ in generator.nextNormal() }
    for (lower, scale) in [(Float(-1), Float(0.25)), (-3, 0.01), (0.5, 0), (-1e30, 1e30)] {
      let code = AffineCode(lower: lower, scale: scale, bitWidth: bitWidth)
      let found = values.withUnsafeBufferPointer { code.squaredError(of: $0) }
      #expect(found == plainSquaredError(of: values, code))
    }
  }

  /// The quantizer that is searched must be the one that is stored.
  @Test(arguments: 1...8, [1, 5, 8, 100])
  func squaredErrorMatchesCodec(bitWidth: Int, count: Int) throws {
    var generator = SplitMix(seed: UInt64(bitWidth))
    let values = (0..<count).map { _ in generator.nextNormal() }
    let search = BoundSearch(method: .dobi, bitWidth: bitWidth, parameterType: .float16)
    let bounds = search.bounds(of: values)
    let tensor = try QuantizedTensor.encode(
      values: values,
      spec: AffineSpec(
        layout: AffineLayout(shape: [count], granularity: .tensor), bitWidth: bitWidth,
        parameterType: .float16), lower: [bounds.lower], scale: [bounds.scale],
      elementType: .float32, shape: #require(Shape([count])))
    let error = zip(values, try tensor.floatValues()).reduce(0.0) { sum, pair in
      let difference = Double(pair.0 - pair.1)
      return sum + difference * difference
    }
    #expect(abs(search.squaredError(of: values, bounds: bounds) - error) <= 1e-12 * error)
  }

  /// The whole range has no finite step in Float32, but narrower ones do.
  @Test func rangesBeyondFloat32AreNarrowed() {
    let values: [Float] = [-3e38, 0, 1, 3e38]
    let bounds = BoundSearch(method: .dobi, bitWidth: 2).bounds(of: values)
    #expect((bounds.lower + bounds.scale * 3).isFinite)
  }
}
