import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct QuantizationErrorTests {
  /// A tensor, bounds that clip a tenth of it at either end, and its nearest codes.
  private struct Subject {
    let values: [Float]
    let tensor: QuantizedTensor

    /// - Parameters:
    ///   - center: The mean of the normally distributed values.
    ///   - change: A change applied to every code.
    init(
      _ type: ElementType, center: Float, spread: Float, bitWidth: Int,
      granularity: QuantizationGranularity, changing change: (UInt8) -> UInt8 = { $0 }
    ) throws {
      var generator = SplitMix(seed: 7)
      let values = (0..<256).map { _ in type.rounded(center + spread * generator.nextNormal()) }
      let layout = try AffineLayout(shape: [16, 16], granularity: granularity)
      var (lower, scale): ([Float], [Float]) = ([], [])
      for cell in 0..<layout.cellCount {
        let sorted = values[layout.elements(ofCell: cell)].sorted()
        let inset = sorted.count / 10
        lower.append(sorted[inset])
        let range = Double(sorted[sorted.count - 1 - inset]) - Double(sorted[inset])
        scale.append(Float(range / Double(1 << bitWidth - 1)))
      }
      let nearest = try QuantizedTensor.encode(
        values: values,
        spec: AffineSpec(layout: layout, bitWidth: bitWidth, parameterType: .float32), lower: lower,
        scale: scale, elementType: type, shape: [16, 16])
      let codes = try nearest.unpackedCodes().map(change)
      tensor = try QuantizedTensor(
        elementType: type, shape: [16, 16],
        spec: AffineSpec(layout: layout, bitWidth: bitWidth, parameterType: .float32), lower: lower,
        scale: scale,
        codes: BitStream.pack(codes, bitWidth: bitWidth))
      self.values = values
    }

    var error: QuantizationError {
      get throws { try QuantizationError(of: tensor, from: values) }
    }
  }

  private static let places: [(center: Float, spread: Float)] = [
    (0, 0.1), (1, 0.01), (1, 0.05), (0.5, 0.003), (0, 3e-7), (0, 1e-6), (6e-8, 3e-8), (100, 1),
    (0, .leastNormalMagnitude / 8), (1, 1e-7),
  ]

  /// The nearest codes are within a step even where the element type, or Float32 itself, is coarser
  /// than a step.
  @Test(arguments: [ElementType.float16, .bfloat16, .float32, .float64], [1, 4, 8])
  func nearestCodesAreWithinOneStep(type: ElementType, bitWidth: Int) throws {
    for (center, spread) in Self.places {
      for granularity in [QuantizationGranularity.tensor, .channel, .group(5)] {
        let subject = try Subject(
          type, center: center, spread: spread, bitWidth: bitWidth, granularity: granularity)
        #expect(
          try subject.error.maximumStrayInSteps <= 1,
          "\(center) ± \(spread) in \(granularity)")
      }
    }
  }

  /// Codes two steps off are found even where rounding to the element type is as large.
  @Test(arguments: [ElementType.float16, .bfloat16, .float32])
  func wrongCodesAreFound(type: ElementType) throws {
    for (center, spread) in Self.places where spread >= 0.003 {
      for granularity in [QuantizationGranularity.tensor, .channel] {
        let subject = try Subject(
          type, center: center, spread: spread, bitWidth: 8, granularity: granularity
        ) { $0 < 128 ? $0 + 2 : $0 - 2 }
        #expect(try subject.error.maximumStrayInSteps > 1, "\(center) ± \(spread)")
      }
    }
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func nonFiniteReferenceValuesAreRefused(_ value: Float) throws {
    let subject = try Subject(
      .float32, center: 0, spread: 1, bitWidth: 4, granularity: .tensor)
    var values = subject.values
    values[9] = value
    #expect(
      throws: ModelError.mismatch(
        expected: "numbers that are finite in Float32, to compare codes with",
        found: "\(value) at element 9")
    ) { try QuantizationError(of: subject.tensor, from: values) }
  }

  /// A scale that float16 cannot hold would make all weights of a block equal.
  @Test(arguments: [GGUFTensorType.Written.tq2, .q2, .q4, .q4m, .q5m, .q2k])
  func scalesThatUnderflowFloat16AreRefused(_ type: GGUFTensorType.Written) throws {
    var encoder = GGUFBlockEncoder(type)
    let codes = [UInt8](repeating: 1, count: 256)
    let (lower, scale) = ([Float](repeating: 0, count: 16), [Float](repeating: 1e-9, count: 16))
    #expect(
      throws: ModelError.unsupported("the scale 1e-09 is less than the smallest float16")
    ) {
      _ = try SharedBytes(count: 256) {
        try encoder.encode(codes[...], lower: lower, scale: scale, into: $0)
      }
    }
  }
}
