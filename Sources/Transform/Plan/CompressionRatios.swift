/// How much smaller a model becomes, counted in the ways that are in use side by side.
///
/// SwinIR-light ×4 at 2 bits: 897,228 parameters without the tables, 691,200 of them quantized, are
/// 28,711,296 bits before and 7,975,296 after, so `paper` is 3.600.
public struct CompressionRatios: Hashable, Sendable, Codable {
  /// As 2DQuant and CondiQuant count: bits of the parameters before and after, without
  /// relative-position tables, quantizer parameters and buffers.
  public var paper: Double
  /// The same with every parameter counted, tables included.
  public var parameters: Double
  /// Bytes of the source file per byte of the packed file, once both are known.
  public var file: Double?
  /// Bytes of all tensors, buffers included, per byte of the packed file, once that is known.
  public var tensors: Double?

  public init(
    paper: Double, parameters: Double, file: Double? = nil, tensors: Double? = nil
  ) {
    self.paper = paper
    self.parameters = parameters
    self.file = file
    self.tensors = tensors
  }

  /// The ratios with those of the files filled in.
  public func measured(sourceByteCount: Int, tensorByteCount: Int, packedByteCount: Int)
    -> CompressionRatios
  {
    var ratios = self
    let packed = Double(packedByteCount)
    ratios.file = Double(sourceByteCount) / packed
    ratios.tensors = Double(tensorByteCount) / packed
    return ratios
  }
}
