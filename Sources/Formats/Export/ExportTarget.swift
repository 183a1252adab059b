/// A runtime's own form of low-bit weights that a packed model can be written in.
public enum ExportTarget: String, Sendable, CaseIterable, Codable {
  /// Apple's MLX: a folder of `model.safetensors` and `config.json`.
  case mlx
  /// ONNX's `DequantizeLinear`, for ONNX Runtime and others.
  case onnx
  /// ONNX Runtime's `MatMulNBits`, which multiplies by low-bit weights as they are.
  case onnxMatMulNBits = "onnx-matmulnbits"
  /// The blocks of ggml and llama.cpp.
  case gguf
  /// Codes and parameters as plain tensors, for whatever reads safetensors.
  case safetensors
}

/// What an exporter may do to tensors that a target does not hold as they are.
public struct ExportOptions: Hashable, Sendable {
  /// Fill rows with code 0 up to the next multiple of the target's blocks.
  public var padsRows: Bool
  /// Write tensors that the target has no low-bit form for with all their bits.
  public var dequantizes: Bool

  /// Options; by default nothing is done to tensors that a target does not hold as they are.
  public init(padsRows: Bool = false, dequantizes: Bool = false) {
    self.padsRows = padsRows
    self.dequantizes = dequantizes
  }
}
