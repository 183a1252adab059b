extension ElementType {
  /// The element types of safetensors in the order of the Rust core's `Dtype`, which is the order
  /// of alignment that writing sorts by.
  private static let safetensorsTypes: [(name: String, type: ElementType)] = [
    ("BOOL", .bool), ("F4", .float4E2M1), ("F6_E2M3", .float6E2M3), ("F6_E3M2", .float6E3M2),
    ("U8", .uint8), ("I8", .int8), ("F8_E5M2", .float8E5M2), ("F8_E4M3", .float8E4M3FN),
    ("F8_E8M0", .float8E8M0FNU), ("F8_E4M3FNUZ", .float8E4M3FNUZ),
    ("F8_E5M2FNUZ", .float8E5M2FNUZ), ("I16", .int16), ("U16", .uint16), ("F16", .float16),
    ("BF16", .bfloat16), ("I32", .int32), ("U32", .uint32), ("F32", .float32),
    ("C64", .complex64), ("F64", .float64), ("I64", .int64), ("U64", .uint64),
  ]

  /// - Parameter safetensorsName: as in a header's `dtype`, such as `BF16`.
  init?(safetensorsName: String) {
    guard let entry = Self.safetensorsTypes.first(where: { $0.name == safetensorsName }) else {
      return nil
    }
    self = entry.type
  }

  /// The name in a header's `dtype`; `nil` for types that safetensors has not.
  var safetensorsName: String? { safetensorsRank.map { Self.safetensorsTypes[$0].name } }

  /// The position in the Rust core's order.
  var safetensorsRank: Int? { Self.safetensorsTypes.firstIndex { $0.type == self } }
}
