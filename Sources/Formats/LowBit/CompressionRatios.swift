/// The compression ratios of a model's parameters, counted as in the papers and in full.
///
/// Before quantization, every parameter counts at its original bit width; afterwards, quantized
/// weights count at the width of their codes and the rest as before. Bounds, scales, buffers, and
/// the file's overhead are left out; the `file` ratio of `PackedSummary` includes them.
package struct CompressionRatios: Hashable, Sendable {
  /// The ratio without relative-position tables, as in 2DQuant and CondiQuant: 3.600 for
  /// SwinIR-light ×4 at 2 bits.
  package let paper: Double
  /// The ratio of all parameters: 3.301 for SwinIR-light ×4 at 2 bits.
  package let parameters: Double

  /// The properties of a tensor on which the ratios depend.
  package struct Item: Hashable, Sendable {
    package var role: TensorRole
    package var elementCount: Int
    /// The original bit width of an element.
    package var originalBitWidth: Int
    /// The bit width of an element after quantization, without bounds and scales.
    package var bitWidth: Int

    package init(role: TensorRole, elementCount: Int, originalBitWidth: Int, bitWidth: Int) {
      self.role = role
      self.elementCount = elementCount
      self.originalBitWidth = originalBitWidth
      self.bitWidth = bitWidth
    }
  }

  /// Computes the ratios, which are both 1 if there is nothing to count.
  ///
  /// - Parameter items: every tensor once, of any role; buffers are skipped.
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

/// The role of a tensor in a model, which decides how compression ratios count it.
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
  /// A running statistic, or a tensor that the architecture determines, such as an index or a mask.
  case buffer
}

/// The content and size of a packed file, from its header alone.
///
/// ```swift
/// let model = try PackedModel(parsing: InputFile(path: "model.condi"))
/// let summary = PackedSummary(model)
/// print(summary.bitsPerWeight, summary.ratios.parameters, summary.ratios.file ?? 0)
/// ```
public struct PackedSummary: Hashable, Sendable, Codable {
  /// The program and version that wrote the file.
  public let producer: String
  /// The length of the whole file.
  public let fileByteCount: Int
  /// The bytes of codes, quantizer parameters, and the records of all other tensors.
  public let payloadByteCount: Int
  /// `fileByteCount / payloadByteCount`: 1 would mean no header and no padding.
  public let fileToPayload: Double
  /// The bytes of all tensors before packing, each counted once per name.
  public let tensorByteCount: Int
  /// The number of tensors stored as low-bit codes; a shared tensor counts once.
  public let quantizedTensorCount: Int
  /// The number of elements of those tensors.
  public let quantizedElementCount: Int
  /// The bits of codes, bounds and scales per quantized weight; 0 if there is none.
  public let bitsPerWeight: Double
  /// The compression ratios, counted in four ways.
  public let ratios: Ratios

  /// Ratios of the original size to the packed size; each counts different parts.
  public struct Ratios: Hashable, Sendable, Codable {
    /// The ratio of parameters, without position tables and bounds, as in the papers.
    public let paper: Double
    /// The ratio of all parameters, without bounds.
    public let parameters: Double
    /// The ratio of the source file's bytes to this file's; `nil` if the source is not recorded.
    public let file: Double?
    /// The ratio of the bytes of all tensors, including buffers, to this file's.
    public let tensors: Double
  }
}
