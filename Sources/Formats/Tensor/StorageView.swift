import Glibc
import Storage

/// The layout of a tensor's elements in a storage: an offset, and one stride per axis, in elements.
///
/// Strides may be zero (broadcast axes) and may describe any permutation; negative strides do not
/// occur in the supported formats.
package struct StorageView: Sendable {
  /// The underlying storage.
  package let storage: TensorStorage
  /// The position of the first element, in elements.
  package let elementOffset: Int
  /// The distance between neighbours along each axis, in elements.
  package let strides: [Int]

  /// The largest broadcast expansion accepted, in bytes: a few bytes that claim to be more than
  /// this are refused instead of allocated.
  package static let expansionLimit = 1 << 30

  /// Creates a view.
  ///
  /// - Throws: `ModelError` when an element would lie outside the storage, when a stride is
  ///   negative, or when zero strides expand the storage past `expansionLimit` bytes.
  package init(
    storage: TensorStorage, elementOffset: Int, strides: [Int], shape: Shape,
    elementType: ElementType
  ) throws {
    guard let width = elementType.byteWidth else {
      throw ModelError.unsupported("strided views of \(elementType) elements are not supported")
    }
    guard strides.count == shape.rank else {
      throw ModelError.mismatch(
        expected: "\(shape.rank) strides for \(shape)", found: "\(strides.count)")
    }
    guard elementOffset >= 0, strides.allSatisfy({ $0 >= 0 }) else {
      throw ModelError.mismatch(
        expected: "non-negative offset and strides", found: "offset \(elementOffset) \(strides)")
    }
    if shape.elementCount > 0 {
      var last = elementOffset
      for (dimension, stride) in zip(shape.dimensions, strides) {
        let (span, overflow) = (dimension - 1).multipliedReportingOverflow(by: stride)
        let (sum, overflow2) = last.addingReportingOverflow(span)
        guard !overflow, !overflow2 else {
          throw ModelError.malformed("strides \(strides) of \(shape) overflow")
        }
        last = sum
      }
      guard last < storage.byteCount / width else {
        throw ModelError.mismatch(
          expected: "elements inside a storage of \(storage.byteCount / width)",
          found: "offset \(elementOffset), strides \(strides), shape \(shape)")
      }
      let (byteCount, overflow) = shape.elementCount.multipliedReportingOverflow(by: width)
      guard !overflow, byteCount <= max(storage.byteCount, Self.expansionLimit) else {
        throw ModelError(
          .limitExceeded(
            what: "a view's expansion in bytes", limit: Self.expansionLimit,
            found: "\(shape) of \(elementType) over \(counted(storage.byteCount, "byte"))"))
      }
    }
    self.storage = storage
    self.elementOffset = elementOffset
    self.strides = strides
  }

  /// Whether the elements of `shape` are contiguous in row-major order.
  func isContiguous(_ shape: Shape) -> Bool {
    guard shape.elementCount > 1 else { return true }
    return zip(zip(shape.dimensions, strides), shape.rowMajorStrides).allSatisfy {
      $0.0 == 1 || $0.1 == $1
    }
  }

  /// Returns the elements of `shape` in row-major order; a slice of the storage if it is
  /// contiguous.
  func contiguousBytes(_ shape: Shape, elementWidth width: Int) throws -> SharedBytes {
    guard shape.elementCount > 0 else { return SharedBytes() }
    let bytes = try storage.bytes()
    if isContiguous(shape) {
      let start = elementOffset * width
      return bytes.slice(start..<start + shape.elementCount * width)
    }
    return SharedBytes(count: shape.elementCount * width) { output in
      bytes.withUnsafeBytes { input in
        gather(shape, elementWidth: width, from: input, into: output)
      }
    }
  }

  private func gather(
    _ shape: Shape, elementWidth width: Int, from input: UnsafeRawBufferPointer,
    into output: UnsafeMutableRawBufferPointer
  ) {
    // The bounds were checked in `init`: every offset below is at most the last element's.
    let innerCount = shape.dimensions[shape.rank - 1]
    let innerStride = strides[shape.rank - 1] * width
    var index = [Int](repeating: 0, count: shape.rank)
    var source = elementOffset * width
    var target = 0
    while true {
      if innerStride == width {
        memcpy(output.baseAddress! + target, input.baseAddress! + source, innerCount * width)
        target += innerCount * width
      } else {
        for position in 0..<innerCount {
          memcpy(
            output.baseAddress! + target, input.baseAddress! + source + position * innerStride,
            width)
          target += width
        }
      }
      // Advance the outer axes like an odometer.
      var axis = shape.rank - 2
      while axis >= 0 {
        index[axis] += 1
        source += strides[axis] * width
        if index[axis] < shape.dimensions[axis] { break }
        source -= shape.dimensions[axis] * strides[axis] * width
        index[axis] = 0
        axis -= 1
      }
      if axis < 0 { return }
    }
  }
}
