import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct CoreTensorTests {
  @Test(arguments: ElementType.allCases)
  func countsBytesWithoutOverflow(_ type: ElementType) {
    #expect(type.byteCount(forElements: 0) == 0)
    #expect(type.byteCount(forElements: 8) == type.bitWidth)
    #expect(type.byteCount(forElements: .max) == nil)
    #expect(type.byteWidth.map { $0 * 8 } == (type.bitWidth % 8 == 0 ? type.bitWidth : nil))
    #expect(ElementType(rawValue: type.description) == type)
    // Partial bytes are refused, not rounded up.
    #expect(type.byteCount(forElements: 1) == type.byteWidth)
  }

  @Test func elementTypesHaveAtMostOneKind() {
    for type in ElementType.allCases {
      let kinds = [type.isFloatingPoint, type.isInteger, type.isComplex].filter { $0 }
      #expect(kinds.count <= 1, "\(type)")
    }
    #expect(ElementType.complex64.byteSwapWidth == 4)
    #expect(ElementType.complex128.byteSwapWidth == 8)
    #expect(ElementType.bfloat16.byteSwapWidth == 2)
    #expect(ElementType.bool.byteSwapWidth == 1)
  }

  @Test(
    arguments: [
      ([], 1), ([0], 0), ([1], 1), ([3, 5, 7], 105), ([2, 0, 4], 0), ([.max], .max),
      ([.max, 0], 0),
    ] as [([Int], Int)])
  func countsElements(dimensions: [Int], count: Int) {
    #expect(Shape(dimensions)?.elementCount == count)
  }

  @Test(
    arguments: [
      [-1], [2, -3], [-2, -3], [.max, 2], [1 << 32, 1 << 31], [.max, 2, 0], [0, .max, 2],
    ] as [[Int]])
  func refusesNegativeAndOverflowingShapes(dimensions: [Int]) {
    #expect(Shape(dimensions) == nil)
  }

  @Test func derivesStridesAndMatrixFromShape() {
    #expect(Shape([3, 5, 7])?.rowMajorStrides == [35, 7, 1])
    #expect(Shape([2, 0, 4])?.rowMajorStrides == [4, 4, 1])
    #expect(Shape([])?.rowMajorStrides == [])
    let matrix = Shape([4, 3, 2, 2])?.matrix
    #expect(matrix?.rows == 4)
    #expect(matrix?.columns == 12)
    #expect(Shape([4])?.matrix == nil)
    #expect(Shape([4, 0])?.matrix == nil)
  }

  // MARK: Views

  /// Returns a storage of the bytes 0, 1, 2, ….
  private func storage(_ byteCount: Int) -> TensorStorage {
    TensorStorage(SharedBytes((0..<byteCount).map { UInt8(truncatingIfNeeded: $0) }))
  }

  private func view(
    _ shape: Shape, offset: Int, strides: [Int], of byteCount: Int = 12,
    type: ElementType = .uint8
  ) throws -> [UInt8] {
    try Tensor(
      elementType: type, shape: shape, storage: storage(byteCount), elementOffset: offset,
      strides: strides
    ).bytes().array
  }

  @Test func gathersStridedViews() throws {
    #expect(try view([3, 4], offset: 0, strides: [4, 1]) == Array(0..<12))
    #expect(
      try view([4, 3], offset: 0, strides: [1, 4]) == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11])
    #expect(try view([2, 2], offset: 5, strides: [4, 1]) == [5, 6, 9, 10])
    #expect(try view([3], offset: 1, strides: [5]) == [1, 6, 11])
    #expect(try view([], offset: 11, strides: []) == [11])
    #expect(try view([2, 3], offset: 7, strides: [0, 0]) == [7, 7, 7, 7, 7, 7])
    #expect(
      try view([2, 2, 3], offset: 0, strides: [1, 6, 2]) == [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11])
    #expect(
      try view([2, 2], offset: 1, strides: [1, 2], type: .int16) == [2, 3, 6, 7, 4, 5, 8, 9])
    // An axis of one element may have any stride, and an empty view any offset.
    #expect(try view([1, 3], offset: 0, strides: [999, 1]) == [0, 1, 2])
    #expect(try view([0, 3], offset: 999, strides: [999, 999]) == [])
  }

  @Test func contiguousViewsShareStorage() throws {
    let tensor = try Tensor(
      elementType: .uint8, shape: [2, 2], storage: storage(12), elementOffset: 4, strides: [2, 1])
    #expect(tensor.view?.isContiguous(tensor.shape) == true)
    #expect(tensor.byteCount == 4)
  }

  @Test(
    arguments: [
      ([3, 4], 1, [4, 1], "offset 1, strides [4, 1], shape [3, 4]"),
      ([2], 11, [1], "offset 11, strides [1], shape [2]"),
      ([1], 12, [1], "offset 12, strides [1], shape [1]"),
    ] as [([Int], Int, [Int], String)])
  func refusesViewsOutsideStorage(
    dimensions: [Int], offset: Int, strides: [Int], found: String
  ) throws {
    let shape = try #require(Shape(dimensions))
    #expect(
      throws: ModelError.mismatch(expected: "elements inside a storage of 12", found: found)
    ) {
      try view(shape, offset: offset, strides: strides)
    }
  }

  @Test func refusesInvalidStridesAndOffsets() throws {
    #expect(
      throws: ModelError.mismatch(
        expected: "non-negative offset and strides", found: "offset 0 [-1]")
    ) {
      try view([2], offset: 0, strides: [-1])
    }
    #expect(
      throws: ModelError.mismatch(
        expected: "non-negative offset and strides", found: "offset -1 [1]")
    ) {
      try view([2], offset: -1, strides: [1])
    }
    #expect(throws: ModelError.mismatch(expected: "2 strides for [2, 2]", found: "1")) {
      try view([2, 2], offset: 0, strides: [1])
    }
    #expect(throws: ModelError.malformed("strides [9223372036854775807] of [3] overflow")) {
      try view([3], offset: 0, strides: [.max])
    }
    let huge = 1 << 40
    #expect(
      throws: ModelError(
        .limitExceeded(
          what: "a view's expansion in bytes", limit: 1 << 30,
          found: "[\(huge)] of uint8 over 12 bytes"))
    ) {
      try view(try #require(Shape([huge])), offset: 0, strides: [0])
    }
    #expect(
      throws: ModelError.unsupported("strided views of float4_e2m1 elements are not supported")
    ) {
      try view([2], offset: 0, strides: [1], type: .float4E2M1)
    }
  }

  @Test func checksByteCountOfTensors() throws {
    let expected = ModelError(
      .truncated(expectedBytes: 8, foundBytes: 7, purpose: "float32 [2]"))
    let seven = SharedBytes([UInt8](repeating: 0, count: 7))
    #expect(throws: expected) {
      try Tensor(elementType: .float32, shape: [2], bytes: seven)
    }
    let lazy = try Tensor(elementType: .float32, shape: [2]) { seven }
    #expect(throws: expected) { try lazy.bytes() }
    #expect(
      throws: ModelError.mismatch(
        expected: "elements that fill whole bytes below 2^63", found: "float4_e2m1 [3]")
    ) {
      try Tensor(elementType: .float4E2M1, shape: [3]) { seven }
    }
    let words = try Tensor(
      elementType: .int16, shape: [2, 2], bytes: SharedBytes([1, 2, 3, 4, 5, 6, 7, 8]))
    #expect(
      try words.reinterpreted(as: .uint8, shape: [8]).bytes().array == [1, 2, 3, 4, 5, 6, 7, 8])
    #expect(
      throws: ModelError(
        .truncated(expectedBytes: 12, foundBytes: 8, purpose: "float32 [3]"))
    ) {
      try words.reinterpreted(as: .float32, shape: [3])
    }
  }
}
