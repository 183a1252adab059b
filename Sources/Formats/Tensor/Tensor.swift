import Storage

/// An element type, a shape, and bytes that are loaded only on request.
///
/// The value returned by `bytes()` is always contiguous, row-major and little-endian, whatever the
/// layout in the file.
///
/// ```swift
/// let tensor = try Tensor(
///   elementType: .bfloat16, shape: [2, 1], bytes: SharedBytes([0x80, 0x3F, 0x00, 0xC0]))
/// print(try tensor.floatValues())  // [1.0, -2.0]
/// ```
public struct Tensor: Sendable {
  /// The type of every element.
  public let elementType: ElementType
  /// The lengths of the axes; elements are in row-major order.
  public let shape: Shape
  /// The bytes of the contiguous elements.
  public let byteCount: Int
  /// The layout of the elements in a storage that other tensors may share; `nil` for computed
  /// tensors.
  package let view: StorageView?
  /// The file's own name of an element type that cannot be read; `nil` for readable tensors.
  ///
  /// Such a tensor is listed so that nothing is hidden; reading its bytes is an error.
  public private(set) var unreadableType: String?
  /// The reason why the elements cannot be read, as a lower-case sentence; `nil` for readable
  /// tensors.
  public private(set) var unreadableReason: String?
  /// Returns the tensor with elements of a type that the file does not name.
  private(set) var interpretation: (@Sendable (ElementType) throws -> Tensor)?
  /// Reads the bytes that stand for the elements in the file; set only for unreadable tensors.
  var storedBytes: (@Sendable () throws -> SharedBytes)?
  /// Reads the codes from which the elements are dequantized; `nil` for tensors that are not stored
  /// as codes.
  package var quantized: (@Sendable () throws -> QuantizedTensor)?
  private let load: @Sendable () throws -> SharedBytes

  /// Creates a tensor whose elements `load` returns in contiguous row-major little-endian order.
  ///
  /// - Throws: `ModelError` when the byte count overflows or the elements do not fill whole bytes.
  public init(
    elementType: ElementType, shape: Shape, load: @escaping @Sendable () throws -> SharedBytes
  ) throws {
    self.elementType = elementType
    self.shape = shape
    self.byteCount = try Self.byteCount(elementType, shape)
    self.view = nil
    self.load = load
  }

  /// Creates a tensor that is listed but cannot be read.
  ///
  /// - Parameters:
  ///   - unreadableType: the file's own name of its element type.
  ///   - elementType: the type that reading would give, or the closest one.
  ///   - path: the file, for the error.
  ///   - name: the tensor, for the error.
  package init(
    unreadableType: String, as elementType: ElementType, shape: Shape, path: String, name: String
  ) throws {
    try self.init(elementType: elementType, shape: shape) {
      throw ModelError.unsupported(
        "elements of type \(unreadableType) cannot be read", path: path, tensor: name)
    }
    self.unreadableType = unreadableType
    unreadableReason = "elements of type \(unreadableType) cannot be read"
  }

  /// Creates a tensor of raw bytes whose element type the file does not name.
  ///
  /// - Parameters:
  ///   - descriptor: the file's description of the type.
  ///   - elementType: a type of raw bytes of the same width.
  ///   - path: the file, for the error.
  ///   - interpretation: returns the tensor as one of a given type of the same width.
  init(
    untyped descriptor: String, as elementType: ElementType, shape: Shape, path: String?,
    interpretation: @escaping @Sendable (ElementType) throws -> Tensor
  ) throws {
    let reason = "NumPy did not keep the type of its raw bytes ('\(descriptor)')"
    try self.init(elementType: elementType, shape: shape) {
      throw ModelError.unsupported(reason, path: path).offering(.rawElementType)
    }
    unreadableType = descriptor
    unreadableReason = reason
    self.interpretation = interpretation
  }

  /// Returns the tensor with the first of `types` that has the width of its raw bytes; the tensor
  /// itself if its type is known or none of them fits.
  package func interpreted(asOneOf types: [ElementType]) throws -> Tensor {
    guard let interpretation, let type = types.first(where: { $0.bitWidth == elementType.bitWidth })
    else { return self }
    return try interpretation(type)
  }

  /// Creates a tensor whose contiguous bytes are in memory.
  ///
  /// - Throws: `ModelError` when the byte count is not the one that the shape needs.
  public init(elementType: ElementType, shape: Shape, bytes: SharedBytes) throws {
    try self.init(elementType: elementType, shape: shape) { bytes }
    guard bytes.count == byteCount else {
      throw ModelError(
        .truncated(
          expectedBytes: byteCount, foundBytes: bytes.count, purpose: "\(elementType) \(shape)"))
    }
  }

  /// Creates a tensor that is a view of a storage.
  package init(
    elementType: ElementType, shape: Shape, storage: TensorStorage, elementOffset: Int,
    strides: [Int]
  ) throws {
    let view = try StorageView(
      storage: storage, elementOffset: elementOffset, strides: strides, shape: shape,
      elementType: elementType)
    let width = elementType.byteWidth!  // checked by StorageView
    self.elementType = elementType
    self.shape = shape
    self.byteCount = try Self.byteCount(elementType, shape)
    self.view = view
    self.load = { try view.contiguousBytes(shape, elementWidth: width) }
  }

  /// Returns the contiguous row-major little-endian elements.
  ///
  /// - Throws: `ModelError` when the file cannot be read or its checksum does not match.
  public func bytes() throws -> SharedBytes {
    let bytes = try load()
    guard bytes.count == byteCount else {
      throw ModelError(
        .truncated(
          expectedBytes: byteCount, foundBytes: bytes.count, purpose: "\(elementType) \(shape)"))
    }
    return bytes
  }

  /// Returns the elements, or, if they cannot be read, the bytes that stand for them in the file.
  /// Two tensors of one type and shape are equal when these bytes are equal.
  ///
  /// - Throws: as `bytes()`.
  package func comparableBytes() throws -> SharedBytes { try storedBytes?() ?? bytes() }

  /// Returns the same bytes under another element type and shape of the same byte count.
  func reinterpreted(as elementType: ElementType, shape: Shape) throws -> Tensor {
    let needed = try Self.byteCount(elementType, shape)
    guard needed == byteCount else {
      throw ModelError(
        .truncated(
          expectedBytes: needed, foundBytes: byteCount, purpose: "\(elementType) \(shape)"))
    }
    return try Tensor(elementType: elementType, shape: shape, load: bytes)
  }

  private static func byteCount(_ elementType: ElementType, _ shape: Shape) throws -> Int {
    guard let count = elementType.byteCount(forElements: shape.elementCount) else {
      throw ModelError.mismatch(
        expected: "elements that fill whole bytes below 2^63", found: "\(elementType) \(shape)")
    }
    return count
  }
}

extension Tensor {
  /// Returns every element as a `Float`, rounded to nearest if the type is wider; Booleans are 0
  /// and 1.
  ///
  /// - Throws: `ModelError` for complex and uninterpreted element types, and on reading errors.
  public func floatValues() throws -> [Float] { try values(as: Float.self) }

  /// Returns every element as a `Double`; integers past 2^53 are rounded to nearest.
  ///
  /// - Throws: `ModelError` for complex and uninterpreted element types, and on reading errors.
  public func doubleValues() throws -> [Double] { try values(as: Double.self) }

  private func values<Value: BinaryFloatingPoint>(as type: Value.Type) throws -> [Value] {
    let bytes = try bytes()
    return try bytes.withUnsafeBytes { buffer in
      switch elementType {
      case .float32: map(buffer, Float.self) { Value($0) }
      case .float64: map(buffer, Double.self) { Value($0) }
      case .float16: map(buffer, Float16.self) { Value($0) }
      case .bfloat16: map(buffer, UInt16.self) { Value(Float(bitPattern: UInt32($0) << 16)) }
      case .bool: map(buffer, UInt8.self) { $0 == 0 ? 0 : 1 }
      case .uint8: map(buffer, UInt8.self) { Value($0) }
      case .uint16: map(buffer, UInt16.self) { Value($0) }
      case .uint32: map(buffer, UInt32.self) { Value($0) }
      case .uint64: map(buffer, UInt64.self) { Value($0) }
      case .int8: map(buffer, Int8.self) { Value($0) }
      case .int16: map(buffer, Int16.self) { Value($0) }
      case .int32: map(buffer, Int32.self) { Value($0) }
      case .int64: map(buffer, Int64.self) { Value($0) }
      case .float8E4M3FN, .float8E4M3FNUZ, .float8E5M2, .float8E5M2FNUZ, .float8E8M0FNU:
        mapCodes(buffer, bitWidth: 8)
      case .float4E2M1: mapCodes(buffer, bitWidth: 4)
      case .float6E2M3, .float6E3M2: mapCodes(buffer, bitWidth: 6)
      case .complex32, .complex64, .complex128, .bits8, .bits16, .bits1x8, .bits2x4, .bits4x2:
        throw ModelError.unsupported("\(elementType) elements are not real numbers")
      }
    }
  }

  private func map<Element: BitwiseCopyable, Value>(
    _ buffer: UnsafeRawBufferPointer, _ element: Element.Type, _ convert: (Element) -> Value
  ) -> [Value] {
    let width = MemoryLayout<Element>.size
    return [Value](unsafeUninitializedCapacity: shape.elementCount) { output, count in
      for index in 0..<shape.elementCount {
        output.initializeElement(
          at: index,
          to: convert(buffer.loadUnaligned(fromByteOffset: index * width, as: Element.self)))
      }
      count = shape.elementCount
    }
  }

  /// Decodes narrow floating-point codes through a table of all their values.
  private func mapCodes<Value: BinaryFloatingPoint>(
    _ buffer: UnsafeRawBufferPointer, bitWidth: Int
  ) -> [Value] {
    let format = NarrowFloat(elementType)!
    let table = (0..<(1 << bitWidth)).map { Value(format.decode($0)) }
    return (0..<shape.elementCount).map { index in
      let bit = index * bitWidth
      // A 6-bit element may straddle two bytes; the byte after the last one is never needed.
      var word = Int(buffer[bit / 8])
      if bit % 8 + bitWidth > 8 { word |= Int(buffer[bit / 8 + 1]) << 8 }
      return table[(word >> (bit % 8)) & ((1 << bitWidth) - 1)]
    }
  }
}

/// A floating-point format of at most 8 bits: its exponent and mantissa bit counts, and its special
/// codes. Sources: OCP 8-bit floating point (OFP8) 1.0, OCP microscaling (MX) 1.0, and the `fnuz`
/// variants of LLVM's APFloat.
struct NarrowFloat {
  private enum Specials { case none, ieee, nanOnlyAllOnes, nanIsNegativeZero }
  private let exponentBits: Int
  private let mantissaBits: Int
  private let bias: Int
  private let specials: Specials
  private let isExponentOnly: Bool

  /// Creates the format of an element type.
  ///
  /// - Returns: `nil` for element types that are wider or not floating point.
  init?(_ elementType: ElementType) {
    let parameters: (exponent: Int, mantissa: Int, bias: Int, specials: Specials)
    switch elementType {
    case .float8E4M3FN: parameters = (4, 3, 7, .nanOnlyAllOnes)
    case .float8E4M3FNUZ: parameters = (4, 3, 8, .nanIsNegativeZero)
    case .float8E5M2: parameters = (5, 2, 15, .ieee)
    case .float8E5M2FNUZ: parameters = (5, 2, 16, .nanIsNegativeZero)
    case .float4E2M1: parameters = (2, 1, 1, .none)
    case .float6E2M3: parameters = (2, 3, 1, .none)
    case .float6E3M2: parameters = (3, 2, 3, .none)
    case .float8E8M0FNU: parameters = (8, 0, 127, .none)
    default: return nil
    }
    (exponentBits, mantissaBits, bias, specials) = parameters
    isExponentOnly = elementType == .float8E8M0FNU
  }

  /// The format of `float8_e4m3fn`.
  static let e4m3 = NarrowFloat(.float8E4M3FN)!

  /// Returns the exact value of `code`.
  func decode(_ code: Int) -> Double {
    if isExponentOnly { return code == 255 ? .nan : power(code - bias) }
    let mantissaCount = 1 << mantissaBits
    let mantissa = code & (mantissaCount - 1)
    let exponentMaximum = (1 << exponentBits) - 1
    let exponent = (code >> mantissaBits) & exponentMaximum
    let isNegative = code >> (exponentBits + mantissaBits) & 1 == 1
    let sign = isNegative ? -1.0 : 1.0
    switch specials {
    case .ieee where exponent == exponentMaximum:
      return mantissa == 0 ? sign * .infinity : .nan
    case .nanOnlyAllOnes where exponent == exponentMaximum && mantissa == mantissaCount - 1:
      return .nan
    case .nanIsNegativeZero where isNegative && exponent == 0 && mantissa == 0:
      return .nan
    default: break
    }
    let fraction = Double(mantissa) / Double(mantissaCount)
    return exponent == 0
      ? sign * fraction * power(1 - bias) : sign * (1 + fraction) * power(exponent - bias)
  }

  /// The least positive value with all bits of the mantissa.
  var leastNormalMagnitude: Double { power(1 - bias) }

  /// Returns the code of the value nearest to `value`, ties to even: an infinity, or else NaN, for
  /// values beyond the largest and for infinities, as PyTorch does.
  ///
  /// - Precondition: the format has 8 bits and a mantissa.
  func encode(_ value: Double) -> UInt8 {
    precondition(mantissaBits > 0 && exponentBits + mantissaBits == 7, "a format of 8 bits")
    let sign: UInt8 = value.sign == .minus ? 0x80 : 0
    let isUnsignedZero = specials == .nanIsNegativeZero
    let notANumber: UInt8 = isUnsignedZero ? 0x80 : sign | 0x7F
    guard !value.isNaN else { return notANumber }
    let largest =
      switch specials {
      case .ieee: 0x7B
      case .nanOnlyAllOnes: 0x7E
      default: 0x7F
      }
    let overflow = specials == .ieee ? sign | 0x7C : notANumber
    guard value.isFinite else { return overflow }
    guard value != 0 else { return isUnsignedZero ? 0 : sign }
    let least = 1 - bias
    let exponent = max(Int(value.exponent), least)
    guard exponent <= 1 << exponentBits else { return overflow }
    let quotient = (value.magnitude / power(exponent - mantissaBits)).rounded(.toNearestOrEven)
    // Rounding up to the next power of two increments the exponent, as it should.
    let code = (exponent - least) << mantissaBits + Int(quotient)
    guard code <= largest else { return overflow }
    return code == 0 && isUnsignedZero ? 0 : sign | UInt8(code)
  }

  private func power(_ exponent: Int) -> Double {
    Double(sign: .plus, exponent: exponent, significand: 1)
  }
}

/// The bytes that contain one or more tensors, loaded on request.
///
/// Identity matters: two tensors share memory in their file exactly when they refer to the same
/// storage object.
package final class TensorStorage: Sendable {
  /// The storage's length, known from the file's index.
  package let byteCount: Int
  private let load: @Sendable () throws -> SharedBytes

  /// Creates a storage.
  ///
  /// - Parameter load: returns exactly `byteCount` bytes on each call. Nothing is cached, so that
  ///   memory is bounded by what callers hold.
  package init(byteCount: Int, load: @escaping @Sendable () throws -> SharedBytes) {
    self.byteCount = byteCount
    self.load = load
  }

  /// Creates a storage whose bytes are already in memory.
  package convenience init(_ bytes: SharedBytes) {
    self.init(byteCount: bytes.count) { bytes }
  }

  /// Returns all bytes, read anew.
  package func bytes() throws -> SharedBytes {
    let bytes = try load()
    guard bytes.count == byteCount else {
      throw ModelError(
        .truncated(
          expectedBytes: byteCount, foundBytes: bytes.count, purpose: "a tensor's storage"))
    }
    return bytes
  }
}
