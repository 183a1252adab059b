import Formats
import Storage
import TestSupport
import Testing

@Suite("Affine quantization")
struct AffineQuantizationTests {
  /// One combination of the properties that shape a quantized tensor.
  struct Case: Sendable, CustomTestStringConvertible {
    let granularity: QuantizationGranularity
    let parts: Int
    let parameterType: QuantizationParameterType
    let elementType: ElementType

    var testDescription: String { "\(granularity) ×\(parts) \(parameterType) \(elementType)" }

    static let all: [Case] = {
      let granularities: [(QuantizationGranularity, Int)] = [
        (.tensor, 1), (.tensor, 3), (.tensor, 9), (.channel, 1), (.group(1), 1), (.group(4), 1),
        (.group(7), 1), (.group(11), 1), (.group(64), 1),
      ]
      var cases: [Case] = []
      for (granularity, parts) in granularities {
        for parameterType in QuantizationParameterType.allCases
        where parameterType.suits(granularity) {
          for elementType in [ElementType.float32, .float64, .float16, .bfloat16] {
            cases.append(
              Case(
                granularity: granularity, parts: parts, parameterType: parameterType,
                elementType: elementType))
          }
        }
      }
      return cases
    }()
  }

  /// Encodes with each cell's minimum and maximum as bounds.
  private func encode(
    _ values: [Float], _ layout: AffineLayout, bitWidth: Int,
    parameterType: QuantizationParameterType = .float32, elementType: ElementType = .float32,
    shape: Shape
  ) throws -> QuantizedTensor {
    let cells = (0..<layout.cellCount).map { Array(values[layout.elements(ofCell: $0)]) }
    let lower = cells.map { $0.min() ?? 0 }
    let scale = zip(cells, lower).map { (($0.max() ?? 0) - $1) / Float(1 << bitWidth - 1) }
    return try QuantizedTensor.encode(
      values: values,
      spec: AffineSpec(layout: layout, bitWidth: bitWidth, parameterType: parameterType),
      lower: lower, scale: scale, elementType: elementType, shape: shape)
  }

  @Test("values stay within half a scale and read back bit for bit", arguments: Case.all, 1...8)
  func decodedValuesStayWithinHalfScale(_ example: Case, bitWidth: Int) throws {
    let shape: Shape = [9, 11]
    let layout = try AffineLayout(
      shape: shape, granularity: example.granularity, parts: example.parts)
    var generator = SplitMix(seed: 7)
    let values = (0..<shape.elementCount).map { _ in generator.nextNormal() }
    let tensor = try encode(
      values, layout, bitWidth: bitWidth, parameterType: example.parameterType,
      elementType: example.elementType, shape: shape)

    let decoded = try tensor.floatValues()
    let codes = try tensor.unpackedCodes()
    for cell in 0..<layout.cellCount {
      let (lower, scale) = (tensor.lower[cell], tensor.scale[cell])
      let upper = lower + scale * Float(1 << bitWidth - 1)
      for element in layout.elements(ofCell: cell) {
        let value = values[element]
        // The definition, written out with the standard library's rounding.
        let position = scale > 0 ? ((value - lower) / scale).rounded(.toNearestOrEven) : 0
        let code = min(max(position, 0), Float(1 << bitWidth - 1))
        #expect(Float(codes[element]) == code)
        #expect(decoded[element] == lower + scale * code)
        let slack = max(abs(lower), abs(upper)) * 0x1p-22
        let outside = max(lower - value, value - upper, 0)
        #expect(abs(value - decoded[element]) <= max(scale / 2, outside) + slack)
      }
    }

    let bytes = try tensor.dequantized()
    let restored = try Tensor(elementType: example.elementType, shape: shape, bytes: bytes)
      .doubleValues()
    for (restored, decoded) in zip(restored, decoded) {
      let expected =
        switch example.elementType {
        case .float16: Double(Float16(decoded))
        case .bfloat16: nearestBFloat16(decoded)
        default: Double(decoded)
        }
      #expect(restored == expected)
    }

    let parsed = try QuantizedTensor(
      parsing: tensor.parameterBytes, codes: tensor.codes, elementType: example.elementType,
      shape: shape,
      spec: AffineSpec(layout: layout, bitWidth: bitWidth, parameterType: example.parameterType))
    #expect(parsed.lower == tensor.lower)
    #expect(parsed.scale == tensor.scale)
    #expect(try parsed.dequantized().elementsEqual(bytes))
    #expect(
      tensor.parameterBytes.count
        == tensor.spec.parameterByteCount)
    #expect(tensor.codes.count == tensor.spec.codeByteCount)
  }

  /// Returns the closer of the two neighbours by comparing distances; ties go to the even one.
  private func nearestBFloat16(_ value: Float) -> Double {
    let below = value.bitPattern & 0xFFFF_0000
    let candidates = [below, below + 0x1_0000].map { Double(Float(bitPattern: $0)) }
    let distances = candidates.map { abs($0 - Double(value)) }
    if distances[0] == distances[1] { return candidates[below >> 16 & 1 == 0 ? 0 : 1] }
    return candidates[distances[0] < distances[1] ? 0 : 1]
  }

  @Test func bytesMatchDocumentedLayout() throws {
    let layout = try AffineLayout(rows: 2, columns: 3, granularity: .channel)
    let tensor = try QuantizedTensor.encode(
      values: [-1, 0, 2, 5, 5, 5],
      spec: AffineSpec(layout: layout, bitWidth: 2, parameterType: .float32),
      lower: [-1, 5], scale: [1, 0], elementType: .float32, shape: [2, 3])
    // Codes 0, 1, 3, 0, 0, 0 from the low bits up, then lower bounds, then scales.
    #expect(tensor.codes.array == [0b00_11_01_00, 0])
    #expect(
      tensor.parameterBytes.array
        == [0, 0, 0x80, 0xBF, 0, 0, 0xA0, 0x40, 0, 0, 0x80, 0x3F, 0, 0, 0, 0])
    #expect(try tensor.floatValues() == [-1, 0, 2, 5, 5, 5])
  }

  @Test func encodingRoundsTiesToEvenAndClips() throws {
    let values: [Float] = [-9, -0.5, 0.5, 1.5, 2.5, 2.5000002, 6.5, 7.5, 1e30]
    let tensor = try QuantizedTensor.encode(
      values: values,
      spec: AffineSpec(
        layout: AffineLayout(rows: 1, columns: 9, granularity: .tensor), bitWidth: 3,
        parameterType: .float32), lower: [0], scale: [1], elementType: .float32, shape: [9])
    #expect(try tensor.unpackedCodes() == [0, 0, 0, 2, 2, 3, 6, 7, 7])
  }

  @Test(arguments: [Float(0), -0.0, 0.1, -3e38, .leastNonzeroMagnitude], 1...8)
  func constantsAreExact(value: Float, bitWidth: Int) throws {
    let layout = try AffineLayout(rows: 4, columns: 5, granularity: .tensor, parts: 2)
    let values = [Float](repeating: value, count: 20)
    let tensor = try encode(values, layout, bitWidth: bitWidth, shape: [4, 5])
    #expect(tensor.scale == [0, 0])
    #expect(try tensor.floatValues() == values)
  }

  @Test func float16ParametersAreRoundedBeforeEncoding() throws {
    let layout = try AffineLayout(rows: 1, columns: 2, granularity: .tensor)
    let tensor = try QuantizedTensor.encode(
      values: [0.1, 0.7], spec: AffineSpec(layout: layout, bitWidth: 8, parameterType: .float16),
      lower: [0.1],
      scale: [0.6 / 255], elementType: .float32, shape: [2])
    #expect(tensor.lower == [Float(Float16(0.1))])
    #expect(tensor.scale == [Float(Float16(0.6 / 255 as Float))])
    #expect(tensor.parameterBytes.count == 4)
    #expect(abs(try tensor.floatValues()[1] - 0.7) <= tensor.scale[0])
  }

  @Test func unrepresentableParametersAreErrors() throws {
    let layout = try AffineLayout(rows: 1, columns: 2, granularity: .tensor)
    func encode(
      lower: Float, scale: Float, _ type: QuantizationParameterType = .float16,
      _ elementType: ElementType = .float32
    ) throws {
      _ = try QuantizedTensor.encode(
        values: [0, 1], spec: AffineSpec(layout: layout, bitWidth: 2, parameterType: type),
        lower: [lower],
        scale: [scale], elementType: elementType, shape: [2])
    }
    #expect(
      throws: ModelError.mismatch(
        expected: "a finite lower bound and a finite scale of at least 0 in cell 0",
        found: "-inf and 1.0")
    ) { try encode(lower: -1e6, scale: 1) }
    #expect(
      throws: ModelError(
        "the scale 1e-09 of cell 0 is too small for float16")
    ) { try encode(lower: 0, scale: 1e-9) }
    #expect(
      throws: ModelError.mismatch(
        expected: "a finite lower bound and a finite scale of at least 0 in cell 0",
        found: "0.0 and -1.0")
    ) { try encode(lower: 0, scale: -1) }
    #expect(
      throws: ModelError.mismatch(
        expected: "values within float32 in cell 0", found: "-3e+38 to inf")
    ) { try encode(lower: -3e38, scale: 2e38, .float32) }
    #expect(
      throws: ModelError.mismatch(
        expected: "values within float16 in cell 0", found: "65000.0 to 66500.0")
    ) { try encode(lower: 65_000, scale: 500, .float32, .float16) }
    try encode(lower: 65_000, scale: 168, .float32, .float16)
    #expect(
      throws: ModelError.mismatch(
        expected: "values within bfloat16 in cell 0", found: "0.0 to 3.4e+38")
    ) { try encode(lower: 0, scale: 3.4e38 / 3, .float32, .bfloat16) }
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func nonFiniteValuesAreRefused(value: Float) throws {
    let layout = try AffineLayout(rows: 1, columns: 3, granularity: .tensor)
    #expect(
      throws: ModelError.mismatch(
        expected: "finite values to quantize", found: "\(value) at element 1")
    ) {
      try QuantizedTensor.encode(
        values: [0, value, .nan],
        spec: AffineSpec(layout: layout, bitWidth: 2, parameterType: .float32), lower: [0],
        scale: [1], elementType: .float32, shape: [3])
    }
  }

  @Test func inconsistentParametersAndCodesAreRefused() throws {
    let layout = try AffineLayout(rows: 2, columns: 3, granularity: .channel)
    func parse(
      parameters: [Float] = [0, 0, 1, 1], codes: [UInt8] = [0, 0],
      elementType: ElementType = .float32, shape: Shape = [2, 3], bitWidth: Int = 2,
      parameterType: QuantizationParameterType = .float32
    ) throws {
      _ = try QuantizedTensor(
        parsing: SharedBytes(elementsOf: parameters), codes: SharedBytes(codes),
        elementType: elementType, shape: shape,
        spec: AffineSpec(layout: layout, bitWidth: bitWidth, parameterType: parameterType))
    }
    try parse()
    #expect(
      throws: ModelError(
        .truncated(
          expectedBytes: 16, foundBytes: 12, purpose: "2 lower bounds and scales in float32"))
    ) { try parse(parameters: [0, 0, 1]) }
    #expect(
      throws: ModelError(
        .truncated(
          expectedBytes: 8, foundBytes: 16, purpose: "2 lower bounds and scales in float16"))
    ) { try parse(parameterType: .float16) }
    #expect(
      throws: ModelError(
        .truncated(expectedBytes: 2, foundBytes: 1, purpose: "6 codes of 2 bits"))
    ) { try parse(codes: [0]) }
    #expect(throws: ModelError.malformed("the bits after the last code are not zero")) {
      try parse(codes: [0, 0x80])
    }
    #expect(
      throws: ModelError.mismatch(
        expected: "a finite lower bound and a finite scale of at least 0 in cell 1",
        found: "nan and 1.0")
    ) { try parse(parameters: [0, .nan, 1, 1]) }
    #expect(
      throws: ModelError.mismatch(
        expected: "a finite lower bound and a finite scale of at least 0 in cell 0",
        found: "0.0 and inf")
    ) { try parse(parameters: [0, 0, .infinity, 1]) }
    #expect(throws: ModelError.mismatch(expected: "1 to 8 bits per code", found: "9")) {
      try parse(bitWidth: 9)
    }
    #expect(throws: ModelError.unsupported("int32 elements cannot be quantized")) {
      try parse(elementType: .int32)
    }
    #expect(
      throws: ModelError.mismatch(
        expected: "3 rows of 2 for [3, 2]", found: "2 rows of 3")
    ) { try parse(shape: [3, 2]) }
  }

  @Test func emptyAndOverflowingLayoutsAreRefused() {
    #expect(
      throws: ModelError.mismatch(
        expected: "a matrix of at least one element and fewer than 2^63", found: "0 rows of 3")
    ) { try AffineLayout(rows: 0, columns: 3, granularity: .tensor) }
    #expect(
      throws: ModelError.mismatch(
        expected: "a matrix of at least one element and fewer than 2^63",
        found: "2 rows of \(Int.max)")
    ) { try AffineLayout(rows: 2, columns: .max, granularity: .tensor) }
    #expect(
      throws: ModelError.mismatch(
        expected: "a group size of at least 1", found: "0")
    ) { try AffineLayout(rows: 2, columns: 2, granularity: .group(0)) }
    #expect(
      throws: ModelError.mismatch(
        expected: "rows that divide into 3 parts", found: "8 rows")
    ) { try AffineLayout(rows: 8, columns: 2, granularity: .tensor, parts: 3) }
    #expect(
      throws: ModelError.mismatch(
        expected: "one part, or several per tensor", found: "3 parts per channel")
    ) { try AffineLayout(rows: 9, columns: 2, granularity: .channel, parts: 3) }
    #expect(throws: ModelError.unsupported("a scalar cannot be quantized")) {
      try AffineLayout(shape: .scalar, granularity: .tensor)
    }
    #expect(
      throws: ModelError.mismatch(
        expected: "a matrix of at least one element and fewer than 2^63", found: "1 rows of 0")
    ) { try AffineLayout(shape: [3, 0], granularity: .tensor) }
  }

  @Test(arguments: Case.all.filter { $0.elementType == .float32 && $0.parameterType == .float32 })
  func cellsCoverEveryElementOnceInOrder(_ example: Case) throws {
    let layout = try AffineLayout(
      rows: 9, columns: 11, granularity: example.granularity, parts: example.parts)
    var elements: [Int] = []
    var indices: [Int] = []
    layout.forEachCell { index, cell in
      indices.append(index)
      for row in cell.rows { for column in cell.columns { elements.append(row * 11 + column) } }
      #expect(cell.elementCount == layout.elements(ofCell: index).count)
    }
    #expect(elements == Array(0..<99))
    #expect(indices == Array(0..<layout.cellCount))
  }

  @Test func lastGroupOfRowMayBeShorter() throws {
    let layout = try AffineLayout(rows: 2, columns: 5, granularity: .group(3))
    #expect(layout.cellCount == 4)
    let cells: [AffineLayout.Cell] = (0..<4).map { layout.cell($0) }
    #expect(cells.map(\.rows) == [0..<1, 0..<1, 1..<2, 1..<2])
    #expect(cells.map(\.columns) == [0..<3, 3..<5, 0..<3, 3..<5])
    let huge = try AffineLayout(rows: 1, columns: .max, granularity: .group(.max))
    #expect(huge.cellCount == 1)
    #expect(huge.cell(0).columns == 0..<Int.max)
  }

  @Test(arguments: [
    ("tensor", QuantizationGranularity.tensor), ("channel", .channel), ("group:64", .group(64)),
  ])
  func granularitiesHaveNames(name: String, granularity: QuantizationGranularity) {
    #expect(QuantizationGranularity(name) == granularity)
    #expect("\(granularity)" == name)
  }

  @Test(arguments: ["", "group", "group:", "group:0", "group:-1", "group:+4", "group:04", "Tensor"])
  func unknownGranularityNamesAreRefused(name: String) {
    #expect(QuantizationGranularity(name) == nil)
  }
}
