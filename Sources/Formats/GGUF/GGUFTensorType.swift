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

  /// Numbers, block lengths and byte counts of `ggml.h` and `ggml-common.h`.
  private static let table: [UInt32: GGUFTensorType] = [
    0: .init("F32", .elements(.float32), 1, 4),
    1: .init("F16", .elements(.float16), 1, 2),
    2: .init("Q4_0", .blocks(.q4), 32, 18),
    3: .init("Q4_1", .blocks(.q4m), 32, 20),
    6: .init("Q5_0", .unreadable, 32, 22),
    7: .init("Q5_1", .blocks(.q5m), 32, 24),
    8: .init("Q8_0", .blocks(.q8), 32, 34),
    9: .init("Q8_1", .unreadable, 32, 40),
    10: .init("Q2_K", .blocks(.q2k), 256, 84),
    11: .init("Q3_K", .unreadable, 256, 110),
    12: .init("Q4_K", .blocks(.q4k), 256, 144),
    13: .init("Q5_K", .unreadable, 256, 176),
    14: .init("Q6_K", .unreadable, 256, 210),
    15: .init("Q8_K", .unreadable, 256, 292),
    16: .init("IQ2_XXS", .unreadable, 256, 66),
    17: .init("IQ2_XS", .unreadable, 256, 74),
    18: .init("IQ3_XXS", .unreadable, 256, 98),
    19: .init("IQ1_S", .unreadable, 256, 50),
    20: .init("IQ4_NL", .unreadable, 32, 18),
    21: .init("IQ3_S", .unreadable, 256, 110),
    22: .init("IQ2_S", .unreadable, 256, 82),
    23: .init("IQ4_XS", .unreadable, 256, 136),
    24: .init("I8", .elements(.int8), 1, 1),
    25: .init("I16", .elements(.int16), 1, 2),
    26: .init("I32", .elements(.int32), 1, 4),
    27: .init("I64", .elements(.int64), 1, 8),
    28: .init("F64", .elements(.float64), 1, 8),
    29: .init("IQ1_M", .unreadable, 256, 56),
    30: .init("BF16", .elements(.bfloat16), 1, 2),
    34: .init("TQ1_0", .unreadable, 256, 54),
    35: .init("TQ2_0", .blocks(.tq2), 256, 66),
    39: .init("MXFP4", .unreadable, 32, 17),
    40: .init("NVFP4", .unreadable, 64, 36),
    41: .init("Q1_0", .unreadable, 128, 18),
    42: .init("Q2_0", .blocks(.q2), 64, 18),
  ]
}
