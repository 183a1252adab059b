/// How much smaller a model's parameters became, counted the way the papers do and in full.
///
/// Every parameter counts at its original width before; after, quantized weights count at their
/// code width and the rest as before. Bounds and scales, buffers, and the file's own overhead are
/// left out: that is what the `file` ratio of `PackedSummary` is for.
public struct CompressionRatios: Hashable, Sendable {
  /// Relative-position tables are not counted at all, as in 2DQuant and CondiQuant: SwinIR-light ×4
  /// has 3.600 at 2 bits.
  public let paper: Double
  /// Every parameter is counted: SwinIR-light ×4 has 3.301 at 2 bits.
  public let parameters: Double

  /// What the ratios need to know of a tensor.
  package struct Item: Hashable, Sendable {
    package var role: TensorRole
    package var elementCount: Int
    /// Bits of an element before.
    package var originalBitWidth: Int
    /// Bits of an element after, without bounds and scales.
    package var bitWidth: Int

    package init(role: TensorRole, elementCount: Int, originalBitWidth: Int, bitWidth: Int) {
      self.role = role
      self.elementCount = elementCount
      self.originalBitWidth = originalBitWidth
      self.bitWidth = bitWidth
    }
  }

  /// - Parameter items: every tensor once, whatever it is; buffers are passed over. Both ratios are
  ///   1 when there is nothing to count.
  package init(_ items: some Sequence<Item>) {
    var paper = (before: 0.0, after: 0.0)
    var all = (before: 0.0, after: 0.0)
    for item in items where item.role != .buffer {
      let count = Double(item.elementCount)
      let (before, after) = (
        count * Double(item.originalBitWidth), count * Double(item.bitWidth)
      )
      all = (all.before + before, all.after + after)
      guard item.role != .positionTable else { continue }
      paper = (paper.before + before, paper.after + after)
    }
    self.paper = paper.after > 0 ? paper.before / paper.after : 1
    self.parameters = all.after > 0 ? all.before / all.after : 1
  }
}

/// What a tensor is in a model, which decides how compression ratios count it.
///
/// ```swift
/// let entries = try PackedModel(parsing: InputFile(path: "model.condi")).header.entries
/// print(entries.filter { $0.role == .buffer }.map(\.name))
/// ```
public enum TensorRole: String, Sendable, CaseIterable, Codable {
  /// A floating-point matrix or convolution, quantized or not.
  case weight
  /// Any other learned tensor, such as a bias.
  case parameter
  /// A learned table of position biases, which the papers' ratio leaves out.
  case positionTable
  /// A tensor that follows from the architecture (index, mask) or a running statistic.
  case buffer
}

/// What a packed file holds and how small it is, from its header alone.
///
/// ```swift
/// let model = try PackedModel(parsing: InputFile(path: "model.condi"))
/// let summary = PackedSummary(model)
/// print(summary.bitsPerWeight, summary.ratios.parameters, summary.ratios.file ?? 0)
/// ```
public struct PackedSummary: Hashable, Sendable, Codable {
  /// Program and version that wrote the file.
  public let producer: String
  /// The length of the whole file.
  public let fileByteCount: Int
  /// Codes, quantizer parameters, and the records of all other tensors.
  public let payloadByteCount: Int
  /// `fileByteCount / payloadByteCount`: 1 would mean no header and no padding.
  public let fileToPayload: Double
  /// Bytes of all tensors before packing, each counted as often as it is named.
  public let tensorByteCount: Int
  /// Tensors stored as low-bit codes, shared ones once.
  public let quantizedTensorCount: Int
  /// Elements of those tensors.
  public let quantizedElementCount: Int
  /// Bits of codes, bounds and scales for each quantized weight; 0 when there is none.
  public let bitsPerWeight: Double
  /// How much smaller the model became, counted in four ways.
  public let ratios: Ratios

  /// Sizes before over sizes after; each counts something else.
  public struct Ratios: Hashable, Sendable, Codable {
    /// Parameters at their code width, without position tables and bounds, as the papers count.
    public let paper: Double
    /// The same with every parameter counted.
    public let parameters: Double
    /// The source file's bytes over this file's; `nil` when the source is not recorded.
    public let file: Double?
    /// The bytes of all tensors, buffers included, over this file's.
    public let tensors: Double
  }
}
