import Storage

/// A `TensorProto` without its data, and the location of the data.
struct ONNXTensorDescription: Sendable {
  /// The location that the message gives for its data.
  enum Place: Hashable, Sendable {
    /// `raw_data`, in this range of the model's file.
    case raw(Range<Int>)
    /// In this field, which is looked up again when the tensor is loaded.
    case typed(ONNXTypedField)
    case external(ONNXExternalData)
    /// Nowhere, because the tensor has no elements.
    case none
  }

  /// The most axes; no real tensor has as many.
  static let rankLimit = 64

  /// The range of the message in the file.
  let range: Range<Int>
  let name: String
  let type: ONNXDataType
  let shape: Shape
  let place: Place

  /// Reads a message's fields.
  ///
  /// - Throws: `ModelError` for anything that ONNX does not allow, or data whose location is
  ///   ambiguous.
  init(reading file: InputFile, range: Range<Int>) throws {
    var header = ONNXTensorHeader()
    var reader = ONNXFieldReader(file: file)
    var raw: Range<Int>?
    var typed: Set<ONNXTypedField> = []
    var fields = ProtobufFields(in: file, range: range)
    while let field = try fields.next() {
      if field.number == 9 {
        guard raw == nil else {
          throw ModelError.malformed("raw_data occurs twice", offset: field.range.lowerBound)
        }
        raw = try field.requireDelimited("raw_data")
      } else if let data = ONNXTypedField(rawValue: field.number) {
        // An empty packed field holds no data.
        if field.delimitedRange?.isEmpty != true { typed.insert(data) }
      } else {
        try header.take(field, from: &reader)
      }
    }
    self.range = range
    name = header.name
    type = ONNXDataType(number: header.dataType)
    (shape, place) = try locatingErrors(tensor: header.name) {
      (try Self.shape(header.dims), try Self.place(header, raw: raw, typed: typed))
    }
  }

  /// The type's name if the tensor can only be listed.
  var unreadableType: String? { elements == nil ? type.name : nil }

  /// The form of the elements in the file and in memory; `nil` if they cannot be read.
  private var elements: ONNXElements? { ONNXElements(type, count: shape.elementCount) }

  /// Returns the described tensor.
  ///
  /// - Throws: `ModelError` when the data cannot have the length that the shape needs.
  func tensor(in data: ONNXTensorData) throws -> Tensor {
    guard let elements else {
      var tensor = try Tensor(
        unreadableType: type.name, as: .bits8, shape: shape, path: data.file.path, name: name)
      tensor.storedBytes = {
        try locatingErrors(path: data.file.path, tensor: name) { try data.storedBytes(of: self) }
      }
      return tensor
    }
    let tensor = try Tensor(elementType: elements.type, shape: shape) {
      try locatingErrors(path: data.file.path, tensor: name) {
        try elements.unpack(data.bytes(of: self, elements), count: shape.elementCount)
      }
    }
    try data.check(self, elements)
    return tensor
  }

  private static func shape(_ dims: [Int]) throws -> Shape {
    guard dims.count <= rankLimit else {
      throw ModelError(
        .limitExceeded(what: "the axes of a tensor", limit: rankLimit, found: "\(dims.count)"))
    }
    guard let shape = Shape(dims) else {
      throw ModelError.malformed(
        "the dimensions \(dims) are negative or have more than 2^63 elements")
    }
    return shape
  }

  private static func place(
    _ header: ONNXTensorHeader, raw: Range<Int>?, typed: Set<ONNXTypedField>
  ) throws -> Place {
    guard !header.hasSegment else {
      throw ModelError.unsupported("tensors in segments are not supported")
    }
    guard 0...1 ~= header.dataLocation else {
      throw ModelError.unsupported("the data location \(header.dataLocation) is unknown")
    }
    let isExternal = header.dataLocation == 1
    let count = typed.count + (raw == nil ? 0 : 1)
    if isExternal {
      guard count == 0 else {
        throw ModelError.malformed("the tensor has both external data and data in the file")
      }
      return .external(try ONNXExternalData(header.externalData))
    }
    guard count <= 1 else {
      let names = typed.map(\.name).sorted() + (raw == nil ? [] : ["raw_data"])
      throw ModelError.malformed(
        "the tensor has data in several fields: \(names.joined(separator: ", "))")
    }
    return raw.map { .raw($0) } ?? typed.first.map { .typed($0) } ?? .none
  }
}

/// ONNX's `TensorProto.DataType`.
struct ONNXDataType: Sendable {
  /// ONNX's name, or `type N` for a number that is not in the table.
  let name: String
  /// The type as which elements are read; `nil` if there is none.
  let elementType: ElementType?
  /// The width of integers that are narrower than a byte.
  let packedBitWidth: Int?

  init(number: Int) {
    (name, elementType) = Self.table[number] ?? ("type \(number)", nil)
    packedBitWidth = Self.packedBitWidths[number]
  }

  private static let table: [Int: (String, ElementType?)] = [
    0: ("UNDEFINED", nil), 1: ("FLOAT", .float32), 2: ("UINT8", .uint8), 3: ("INT8", .int8),
    4: ("UINT16", .uint16), 5: ("INT16", .int16), 6: ("INT32", .int32), 7: ("INT64", .int64),
    8: ("STRING", nil), 9: ("BOOL", .bool), 10: ("FLOAT16", .float16), 11: ("DOUBLE", .float64),
    12: ("UINT32", .uint32), 13: ("UINT64", .uint64), 14: ("COMPLEX64", .complex64),
    15: ("COMPLEX128", .complex128), 16: ("BFLOAT16", .bfloat16),
    17: ("FLOAT8E4M3FN", .float8E4M3FN), 18: ("FLOAT8E4M3FNUZ", .float8E4M3FNUZ),
    19: ("FLOAT8E5M2", .float8E5M2), 20: ("FLOAT8E5M2FNUZ", .float8E5M2FNUZ),
    21: ("UINT4", .uint8), 22: ("INT4", .int8), 23: ("FLOAT4E2M1", .float4E2M1),
    24: ("FLOAT8E8M0", .float8E8M0FNU), 25: ("UINT2", .uint8), 26: ("INT2", .int8),
    27: ("FLOAT6E2M3", .float6E2M3), 28: ("FLOAT6E3M2", .float6E3M2),
  ]
  private static let packedBitWidths = [21: 4, 22: 4, 25: 2, 26: 2]
}

/// The form of a tensor's elements in the file, and the one that they get in memory.
///
/// They keep their bits, except that integers narrower than a byte become bytes, and floating-point
/// numbers that end inside a byte become `float32`; both are packed, low bits first.
struct ONNXElements: Sendable {
  /// The type in memory.
  let type: ElementType
  /// The type by which the elements are encoded in the file, where bytes stand for packed integers.
  let storedType: ElementType
  /// The bytes in the file.
  let storedByteCount: Int
  /// The width of elements that are unpacked.
  private let packedBitWidth: Int?

  /// Creates the form of `count` elements.
  ///
  /// - Returns: `nil` if they cannot be read.
  init?(_ type: ONNXDataType, count: Int) {
    guard let elementType = type.elementType else { return nil }
    let isWhole = elementType.byteCount(forElements: count) != nil
    let isPacked = !isWhole && elementType.bitWidth < 8
    packedBitWidth = type.packedBitWidth ?? (isPacked ? elementType.bitWidth : nil)
    storedType = type.packedBitWidth == nil ? elementType : .uint8
    self.type = isPacked ? .float32 : elementType
    guard
      let byteCount = BitStream.byteCount(
        count: count, bitWidth: packedBitWidth ?? elementType.bitWidth)
    else { return nil }
    storedByteCount = byteCount
  }

  /// Returns the elements in memory.
  ///
  /// - Parameter stored: `storedByteCount` bytes.
  func unpack(_ stored: SharedBytes, count: Int) throws -> SharedBytes {
    guard let packedBitWidth else { return stored }
    let codes = try BitStream.unpackCodes(stored, count: count, bitWidth: packedBitWidth)
    switch type {
    case .int8:
      let unused = UInt8(8 - packedBitWidth)
      return SharedBytes(codes.map { UInt8(bitPattern: Int8(bitPattern: $0 << unused) >> unused) })
    case .float32:
      guard let format = NarrowFloat(storedType) else { return stored }
      let table = (0..<1 << packedBitWidth).map { Float(format.decode($0)) }
      return SharedBytes(elementsOf: codes.map { table[Int($0)] })
    default: return SharedBytes(codes)
    }
  }
}

extension ElementType {
  /// The field of `TensorProto` that holds elements of this type when `raw_data` does not; it also
  /// determines their encoding.
  var onnxTypedField: ONNXTypedField? {
    switch self {
    case .float32, .complex64: .floats
    case .float64, .complex128: .doubles
    case .int64: .int64
    case .uint32, .uint64: .uint64
    case .bool, .uint8, .int8, .uint16, .int16, .int32, .float16, .bfloat16, .float8E4M3FN,
      .float8E4M3FNUZ, .float8E5M2, .float8E5M2FNUZ, .float8E8M0FNU, .float4E2M1:
      .int32
    case .float6E2M3, .float6E3M2, .complex32, .bits8, .bits16, .bits1x8, .bits2x4, .bits4x2: nil
    }
  }
}

/// The fields of `TensorProto` that hold elements, by number.
enum ONNXTypedField: Int, CaseIterable {
  case floats = 4
  case int32 = 5
  case strings = 6
  case int64 = 7
  case doubles = 10
  case uint64 = 11

  var name: String {
    switch self {
    case .floats: "float_data"
    case .int32: "int32_data"
    case .strings: "string_data"
    case .int64: "int64_data"
    case .doubles: "double_data"
    case .uint64: "uint64_data"
    }
  }

  /// The bytes of an element of fixed width; `nil` for varints.
  var fixedWidth: Int? {
    switch self {
    case .floats: 4
    case .doubles: 8
    case .int32, .int64, .uint64, .strings: nil
    }
  }
}
