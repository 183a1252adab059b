/// How PyTorch names element types: storage classes for the old ones, dtypes for all.
enum PyTorchTypes {
  /// Types with a storage class of their own; their numbers of elements are stored.
  private static let storageClasses: [ElementType: String] = [
    .float64: "DoubleStorage", .float32: "FloatStorage", .float16: "HalfStorage",
    .bfloat16: "BFloat16Storage", .int64: "LongStorage", .int32: "IntStorage",
    .int16: "ShortStorage", .int8: "CharStorage", .uint8: "ByteStorage", .bool: "BoolStorage",
    .complex64: "ComplexFloatStorage", .complex128: "ComplexDoubleStorage",
  ]

  private static let elementTypes = Dictionary(
    uniqueKeysWithValues: storageClasses.map { ($0.value, $0.key) })

  /// The storage class in the module `torch`, or `nil` for types that came after them.
  static func storageClass(of elementType: ElementType) -> String? {
    storageClasses[elementType]
  }

  /// The element type of a storage class such as `torch.FloatStorage` or its twin in `torch.cuda`.
  static func elementType(ofStorageClass name: String) -> ElementType? {
    for module in ["torch.cuda.", "torch."] where name.hasPrefix(module) {
      return elementTypes[String(name.dropFirst(module.count))]
    }
    return nil
  }

  /// The type of the integers in a quantized storage class such as `torch.QInt8Storage`.
  static func quantizedElementType(ofStorageClass name: String) -> ElementType? {
    switch name {
    case "torch.QInt8Storage": .int8
    case "torch.QUInt8Storage": .uint8
    case "torch.QInt32Storage": .int32
    default: nil
    }
  }

  /// The name in the module `torch`, or `nil` for the 6-bit types, which PyTorch has not.
  static func dtype(of elementType: ElementType) -> String? {
    switch elementType {
    case .float4E2M1: "float4_e2m1fn_x2"
    case .float6E2M3, .float6E3M2: nil
    default: elementType.rawValue
    }
  }

  /// The element type of a dtype such as `torch.float8_e5m2`.
  static func elementType(ofDtype name: String) -> ElementType? {
    guard name.hasPrefix("torch.") else { return nil }
    let dtype = name.dropFirst("torch.".count)
    return ElementType.allCases.first { self.dtype(of: $0).map { $0 == dtype } ?? false }
  }
}
