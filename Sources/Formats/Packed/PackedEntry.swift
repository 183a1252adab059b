/// One tensor of a packed file as its header describes it.
public struct PackedEntry: Hashable, Sendable {
  /// The tensor's name in the source.
  public var name: String
  /// The type and shape of the tensor as a user sees it, before quantization.
  public var elementType: ElementType
  /// The shape of the logical tensor.
  public var shape: Shape
  /// Whether it is counted as a parameter.
  public var role: TensorRole
  /// How its bytes stand for elements.
  public var encoding: PackedEncoding
  /// The record's length once inflated, for records kept as a zlib stream; `nil` for others.
  public var inflatedByteCount: Int?
  /// Where the record lies in the file.
  public var offset: Int
  /// The record's length in the file.
  public var byteCount: Int
  /// CRC-32 of the record's bytes in the file.
  public var checksum: UInt32

  /// Records from this length on start at a multiple of `alignment`.
  static let alignmentThreshold = 4096
  static let alignment = 64

  /// Where a record of `byteCount` bytes goes when the bytes before it end at `end`.
  static func offset(after end: Int, byteCount: Int) -> Int {
    byteCount >= alignmentThreshold ? (end + alignment - 1) / alignment * alignment : end
  }
}

/// How a tensor's record is to be read.
public enum PackedEncoding: Hashable, Sendable {
  /// The elements as they are.
  case raw
  /// Low-bit codes with a scale and a lower bound for each cell.
  case affine(AffineEncoding)
  /// Indices into a table of at most 256 element values.
  case palette(distinctCount: Int)
  /// Integers as unsigned differences from the least one.
  case integer(base: Int, bitWidth: Int)

  /// Bits of one index into a table of `distinctCount` values; 0 for a constant tensor.
  static func paletteBitWidth(_ distinctCount: Int) -> Int {
    Int.bitWidth - (distinctCount - 1).leadingZeroBitCount
  }
}

/// What an affine record says besides its codes.
public struct AffineEncoding: Hashable, Sendable {
  /// Which elements share a lower bound and a scale.
  public var layout: AffineLayout
  /// Bits of one code, 1 to 8.
  public var bitWidth: Int
  /// How lower bounds and scales are stored.
  public var parameterType: QuantizationParameterType

  public init(layout: AffineLayout, bitWidth: Int, parameterType: QuantizationParameterType) {
    self.layout = layout
    self.bitWidth = bitWidth
    self.parameterType = parameterType
  }
}
