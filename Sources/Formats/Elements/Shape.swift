/// The dimensions of a tensor, outermost first, with a product that is known to fit in `Int`.
///
/// A scalar has no dimensions and one element; a dimension of zero gives an empty tensor.
///
/// ```swift
/// let shape: Shape = [64, 3, 3, 3]
/// print(shape.elementCount, shape.rowMajorStrides)  // 1728 [27, 9, 3, 1]
/// if let (rows, columns) = shape.matrix { print(rows, columns) }  // 64 27
/// ```
public struct Shape: Hashable, Sendable {
  /// The lengths of the axes, outermost first; none is negative.
  public let dimensions: [Int]
  /// The product of the dimensions; 1 for a scalar.
  public let elementCount: Int

  /// Creates a shape of `dimensions`, outermost first.
  ///
  /// - Returns: `nil` when a dimension is negative or the element count overflows.
  public init?(_ dimensions: [Int]) {
    // The product of the non-zero dimensions must fit even when a zero makes the tensor empty:
    // strides and byte counts of sub-arrays are computed from it.
    var product = 1
    for dimension in dimensions {
      guard dimension >= 0 else { return nil }
      guard dimension > 0 else { continue }
      let (next, overflow) = product.multipliedReportingOverflow(by: dimension)
      guard !overflow else { return nil }
      product = next
    }
    self.dimensions = dimensions
    self.elementCount = dimensions.contains(0) ? 0 : product
  }

  /// The shape without axes, which has one element.
  public static let scalar = Shape()

  private init() {
    dimensions = []
    elementCount = 1
  }

  /// The number of axes.
  public var rank: Int { dimensions.count }

  /// Element strides of the contiguous row-major layout.
  public var rowMajorStrides: [Int] {
    var strides = [Int](repeating: 1, count: rank)
    for axis in stride(from: rank - 2, through: 0, by: -1) {
      strides[axis] = strides[axis + 1] * max(1, dimensions[axis + 1])
    }
    return strides
  }

  /// The tensor seen as a weight matrix `[rows, columns]`: the first axis is the output, and all
  /// others are folded into the input, so a convolution `[out, in, kh, kw]` is `[out, in·kh·kw]`.
  ///
  /// - Returns: `nil` for scalars, vectors and empty tensors.
  public var matrix: (rows: Int, columns: Int)? {
    guard rank >= 2, elementCount > 0 else { return nil }
    return (dimensions[0], elementCount / dimensions[0])
  }
}

extension Shape: ExpressibleByArrayLiteral {
  /// Creates a shape from a literal; an invalid one is a programming mistake and traps.
  public init(arrayLiteral elements: Int...) {
    guard let shape = Shape(elements) else {
      preconditionFailure("invalid shape \(elements)")
    }
    self = shape
  }
}

extension Shape: CustomStringConvertible {
  public var description: String {
    "[\(dimensions.map(String.init).joined(separator: ", "))]"
  }
}
