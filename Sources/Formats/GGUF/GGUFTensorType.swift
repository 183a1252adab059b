/// The form in which a GGUF file stores a tensor's elements: ggml's `ggml_type`.
struct GGUFTensorType: Sendable {
  /// The interpretation of the stored bytes on reading.
  enum Content: Hashable, Sendable {
    /// Plain little-endian elements.
    case elements(ElementType)
    /// Quantized blocks that become `float32`.
    case blocks(GGUFBlocks)
    /// Bytes that are listed but cannot be read.
    case unreadable
  }

  /// ggml's name, or `type N` for a number that is not in the table.
  let name: String
  let content: Content
  /// The elements and bytes of one block, which never spans two rows; `nil` if unknown.
  let block: (elementCount: Int, byteCount: Int)?

  var isUnreadable: Bool { content == .unreadable }

  init(number: UInt32) {
    guard let known = Self.table[number] else {
      (name, content, block) = ("type \(number)", .unreadable, nil)
      return
    }
    self = known
  }

  private init(_ name: String, _ content: Content, _ elementCount: Int, _ byteCount: Int) {
    self.name = name
    self.content = content
    block = (elementCount, byteCount)
  }

  private init(_ blocks: GGUFBlocks) {
    self.init(blocks.name, .blocks(blocks), blocks.elementCount, blocks.byteCount)
  }

  /// Numbers, block lengths and byte counts of `ggml.h` and `ggml-common.h`.
  private static let table: [UInt32: GGUFTensorType] = {
    let others: [UInt32: GGUFTensorType] = [
      0: .init("F32", .elements(.float32), 1, 4),
      1: .init("F16", .elements(.float16), 1, 2),
      // Only intermediate results have these two types.
      9: .init("Q8_1", .unreadable, 32, 40),
      15: .init("Q8_K", .unreadable, 256, 292),
      24: .init("I8", .elements(.int8), 1, 1),
      25: .init("I16", .elements(.int16), 1, 2),
      26: .init("I32", .elements(.int32), 1, 4),
      27: .init("I64", .elements(.int64), 1, 8),
      28: .init("F64", .elements(.float64), 1, 8),
      30: .init("BF16", .elements(.bfloat16), 1, 2),
    ]
    let blocks = GGUFBlocks.allCases.map { ($0.number, GGUFTensorType($0)) }
    return others.merging(blocks) { plain, _ in plain }
  }()
}
