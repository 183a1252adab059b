/// ONNX's `TensorProto.DataType`.
struct ONNXDataType: Sendable {
  /// ONNX's name; `type N` for a number that is not in the table.
  let name: String
  /// `nil` for types that have no counterpart here.
  let elementType: ElementType?

  init(number: Int) {
    (name, elementType) = Self.table[number] ?? ("type \(number)", nil)
  }

  private static let table: [Int: (String, ElementType?)] = [
    0: ("UNDEFINED", nil), 1: ("FLOAT", .float32), 2: ("UINT8", .uint8), 3: ("INT8", .int8),
    4: ("UINT16", .uint16), 5: ("INT16", .int16), 6: ("INT32", .int32), 7: ("INT64", .int64),
    8: ("STRING", nil), 9: ("BOOL", .bool), 10: ("FLOAT16", .float16), 11: ("DOUBLE", .float64),
    12: ("UINT32", .uint32), 13: ("UINT64", .uint64), 14: ("COMPLEX64", .complex64),
    15: ("COMPLEX128", .complex128), 16: ("BFLOAT16", .bfloat16),
    17: ("FLOAT8E4M3FN", .float8E4M3FN), 18: ("FLOAT8E4M3FNUZ", .float8E4M3FNUZ),
    19: ("FLOAT8E5M2", .float8E5M2), 20: ("FLOAT8E5M2FNUZ", .float8E5M2FNUZ),
    21: ("UINT4", nil), 22: ("INT4", nil), 23: ("FLOAT4E2M1", .float4E2M1),
    24: ("FLOAT8E8M0", .float8E8M0FNU), 25: ("UINT2", nil), 26: ("INT2", nil),
    27: ("FLOAT6E2M3", .float6E2M3), 28: ("FLOAT6E3M2", .float6E3M2),
  ]
}

extension ElementType {
  /// The field of `TensorProto` that holds elements of this type when `raw_data` does not, with how
  /// it is encoded there.
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

  /// Bytes of an element of fixed width; `nil` for varints.
  var fixedWidth: Int? {
    switch self {
    case .floats: 4
    case .doubles: 8
    case .int32, .int64, .uint64, .strings: nil
    }
  }
}
