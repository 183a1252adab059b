import Storage

/// The layouts of quantized checkpoints that can become packed files.
///
/// ```swift
/// for source in ImportSource.allCases {
///   let found = try? ModelImport.configuration(beside: "checkpoint", of: source)
///   print(source.rawValue, found?.path ?? "not found")
/// }
/// // mlx not found, gptq checkpoint/quantize_config.json, awq not found, …
/// ```
public enum ImportSource: String, Sendable, CaseIterable, Codable {
  /// MLX's affine mode: `weight`, `scales`, `biases`.
  case mlx
  /// GPTQ, as AutoGPTQ and GPTQModel write it: `qweight`, `qzeros`, `scales`, `g_idx`.
  case gptq
  /// AWQ, as AutoAWQ writes it: `qweight`, `qzeros`, `scales`.
  case awq
  /// Integers of compressed-tensors: `weight_packed`, `weight_scale`, `weight_shape`.
  case compressedTensors = "compressed-tensors"

  /// The program's name in sentences.
  var displayName: String {
    switch self {
    case .mlx: "MLX"
    case .gptq: "GPTQ"
    case .awq: "AWQ"
    case .compressedTensors: "compressed-tensors"
    }
  }

  /// The configurations that may lie beside a checkpoint, the first choice first.
  var configurationNames: [String] {
    switch self {
    case .gptq: ["quantize_config.json", "config.json"]
    case .awq: ["config.json", "quant_config.json"]
    case .mlx, .compressedTensors: ["config.json"]
    }
  }
}

/// A quantized matrix of a checkpoint, and the tensors that make it up.
struct ImportedMatrix: Sendable {
  /// The name in the packed file.
  let name: String
  /// The names of the tensors that make it up.
  let parts: Set<String>
  /// The type of the elements that the checkpoint's reader computes.
  let elementType: ElementType
  let shape: Shape
  let spec: AffineSpec
  let form: String
  /// A remark on what was detected or assumed, if anything.
  var remark: String?
  /// Loads the codes with their parameters, and the values that the checkpoint's reader computes.
  let load: @Sendable () throws -> Loaded
  /// Loads only the values, even of codes that a packed file could not hold.
  let values: @Sendable () throws -> [Float]

  struct Loaded: Sendable {
    let tensor: QuantizedTensor
    /// The values computed in Float32, with each operation rounded, then rounded to `elementType`.
    let values: [Float]
  }
}

extension ElementType {
  /// Returns a Float32 rounded to this type, to nearest, ties to even.
  ///
  /// - Precondition: the type is float16, bfloat16 or float32.
  func rounded(_ value: Float) -> Float {
    switch self {
    case .float16: Float(Float16(value))
    case .bfloat16 where value.isFinite:
      Float(bitPattern: UInt32(QuantizedTensor.bfloat16Bits(value)) << 16)
    default: value
    }
  }
}

extension SharedBytes {
  /// Rounds `values` to float64, float16, bfloat16 or else float32: to nearest, ties to even.
  package init(_ values: [Float], roundedTo elementType: ElementType) {
    switch elementType {
    case .float64: self.init(elementsOf: values.map(Double.init))
    case .float16: self.init(elementsOf: values.map { Float16($0) })
    case .bfloat16:
      self.init(
        elementsOf: values.map {
          $0.isNaN
            ? UInt16(truncatingIfNeeded: $0.bitPattern >> 16) : QuantizedTensor.bfloat16Bits($0)
        })
    default: self.init(elementsOf: values)
    }
  }
}

extension TensorArchive {
  /// Returns the tensor `name`, which must have one of the types and the rank.
  func require(_ name: String, _ types: Set<ElementType>, rank: Int) throws -> Tensor {
    guard let tensor = tensors[name] else {
      throw ModelError.mismatch(expected: "a tensor of this name", found: "none", tensor: name)
    }
    guard types.contains(tensor.elementType), tensor.shape.rank == rank else {
      let names = types.map(\.rawValue).sorted().joined(separator: " or ")
      throw ModelError.mismatch(
        expected: "\(names) with \(rank) axes", found: "\(tensor.elementType) \(tensor.shape)",
        tensor: name)
    }
    return tensor
  }
}
