import CKernels

/// One head of attention among the tokens of a window: quantize(softmax(scale · q kᵀ + bias +
/// mask)) v.
struct WindowAttention: Sendable {
  let queries: Int
  let keys: Int
  /// Elements per token in one head.
  let head: Int
  /// Usually 1 / √head.
  let scale: Float
  /// The quantizer of the probabilities.
  var quantizer: ck_quantizer?

  init(queries: Int, keys: Int, head: Int, scale: Float, quantizer: ck_quantizer? = nil) {
    precondition(queries >= 0 && keys > 0 && head > 0)
    self.queries = queries
    self.keys = keys
    self.head = head
    self.scale = scale
    self.quantizer = quantizer
  }

  /// Floats of scratch memory that one call needs.
  var scratchCount: Int { ck_attention_scratch_count(queries, keys, head) }

  /// - Parameters:
  ///   - q: `[queries, head]`, tokens `qStride` apart; `k`, `v`: `[keys, head]`, with their own
  ///     strides.
  ///   - bias: **transposed**, `[keys, queries]`; `mask`: in the same order.
  ///   - out: `[queries, head]`, tokens `outStride` apart.
  ///   - scratch: `scratchCount` floats, used by this thread alone.
  func apply(
    q: UnsafePointer<Float>, stride qStride: Int, k: UnsafePointer<Float>, stride kStride: Int,
    v: UnsafePointer<Float>, stride vStride: Int, transposedBias bias: UnsafePointer<Float>?,
    transposedMask mask: UnsafePointer<Float>?, out: UnsafeMutablePointer<Float>,
    stride outStride: Int, scratch: UnsafeMutablePointer<Float>
  ) {
    func call(_ quantizer: UnsafePointer<ck_quantizer>?) {
      ck_attention_transposed(
        queries, keys, head, q, qStride, k, kStride, v, vStride, scale, bias, mask, quantizer, out,
        outStride, scratch)
    }
    if let quantizer { withUnsafePointer(to: quantizer) { call($0) } } else { call(nil) }
  }
}
