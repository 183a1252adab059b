extension ElementType {
  /// The types to which tensors can be cast.
  package static let castTargets: [ElementType] = [
    .float64, .float32, .float16, .bfloat16, .float8E4M3FN, .float8E4M3FNUZ, .float8E5M2,
    .float8E5M2FNUZ,
  ]

  /// Returns the type of a name as PyTorch, NumPy or safetensors spells it.
  ///
  /// - Returns: `nil` for other names, and for types to which tensors are not cast.
  package init?(castTarget name: String) {
    let type: ElementType? =
      switch name.lowercased() {
      case "f64", "double": .float64
      case "f32", "float", "fp32": .float32
      case "f16", "half", "fp16": .float16
      case "bf16": .bfloat16
      case "f8_e4m3", "f8_e4m3fn", "float8_e4m3", "e4m3": .float8E4M3FN
      case "f8_e5m2", "e5m2": .float8E5M2
      default: ElementType(rawValue: name.lowercased())
      }
    guard let type, Self.castTargets.contains(type) else { return nil }
    self = type
  }
}
