import CKernels

/// Attention within a window from codes, for all heads: quantize(softmax(q kᵀ + bias + mask)) v.
struct IntegerAttention: Sendable {
  private let native: ck_integer_attention
  let tokens: Int
  /// Elements of a token in all heads.
  let channels: Int
  /// The quantizers of queries, keys and values, as those of neighbouring outputs of a layer. Queries are
  /// divided by the square root of the elements of a head first.
  let parts: [ck_output_part]

  /// - Returns: `nil` where the kernels do not support the quantizers, see
  ///   `ck_integer_attention_takes`.
  init?(
    tokens: Int, heads: Int, headChannels: Int, query: ck_quantizer, key: ck_quantizer,
    value: ck_quantizer, probabilities: ck_quantizer
  ) {
    native = ck_integer_attention(
      tokens: tokens, heads: heads, head: headChannels, query: query, key: key, value: value,
      probabilities: probabilities)
    guard withUnsafePointer(to: native, { ck_integer_attention_takes($0) }) else { return nil }
    self.tokens = tokens
    let channels = heads * headChannels
    self.channels = channels
    parts = [(1 / Float(headChannels).squareRoot(), query), (1, key), (1, value)].map {
      ck_output_part(columns: channels, factor: $0.0, quantizer: $0.1)
    }
  }

  /// Floats of scratch memory that one call needs.
  var scratchCount: Int {
    withUnsafePointer(to: native) { ck_integer_attention_scratch_count($0) }
  }

  /// Returns biases or masks multiplied by log₂ e, as the kernel takes them; `nil` where one is too large or
  /// not a number.
  static func terms(_ values: [Float]) -> [Float]? {
    guard values.allSatisfy({ abs($0) <= 5e29 }) else { return nil }
    return values.map { $0 * 1.442695 }
  }

  /// Whether results can be coded by a quantizer, see `ck_integer_attention_codes`.
  static func codesResults(by quantizer: ck_quantizer) -> Bool {
    withUnsafePointer(to: quantizer) { ck_integer_attention_codes($0) }
  }

  /// Where results go.
  enum Target {
    case values(UnsafeMutablePointer<Float>, stride: Int)
    case codes(CodeRows, by: ck_quantizer)
  }

  /// - Parameters:
  ///   - codes: queries, keys and values side by side.
  ///   - biases: `[heads, keys, queries]`, and `mask`, `[keys, queries]`, both as `terms` returns them.
  ///   - scratch: `scratchCount` floats, used by this thread alone.
  func apply(
    _ codes: CodeRows, biases: UnsafePointer<Float>, mask: UnsafePointer<Float>?,
    to target: Target, scratch: UnsafeMutablePointer<Float>
  ) {
    let rows = codes.native
    func call(
      _ out: UnsafeMutablePointer<Float>?, _ stride: Int, _ quantizer: UnsafePointer<ck_quantizer>?,
      _ coded: UnsafePointer<ck_code_rows>?
    ) {
      withUnsafePointer(to: native) {
        ck_integer_attention_apply(
          $0, rows.codes, rows.codes + channels, rows.codes + 2 * channels, rows.stride, rows.marks,
          biases, mask, out, stride, quantizer, coded, scratch)
      }
    }
    switch target {
    case .values(let out, let stride): call(out, stride, nil, nil)
    case .codes(let coded, let quantizer):
      withUnsafePointer(to: quantizer) { quantizer in
        withUnsafePointer(to: coded.native) { call(nil, 0, quantizer, $0) }
      }
    }
  }
}
