import CKernels

extension ForwardContext {
  /// Floats of scratch memory that `attend` needs.
  static func attentionScratchCount(tokens: Int, headChannels: Int) -> Int {
    max(tokens * tokens, ck_attention_scratch_count(tokens, tokens, headChannels))
  }

  /// Runs all heads of one window: `out = softmax(scale · q kᵀ + bias + mask) v`, where each head
  /// has channels of its own.
  ///
  /// With quantizers or an observer at the sites, q is scaled first, and q, k, v and the
  /// probabilities then visit their sites. This may change q, k and v.
  ///
  /// - Parameters:
  ///   - tokens: the number of rows of q, k, v and `out`; the rows of q, k and v are `stride`
  ///     floats apart.
  ///   - biases: `[heads, keys, queries]`; `mask`: `[keys, queries]`.
  ///   - scratch: `attentionScratchCount` floats.
  func attend(
    _ sites: AttentionSites, tokens: Int, heads: Int, headChannels: Int,
    q: UnsafeMutablePointer<Float>, k: UnsafeMutablePointer<Float>,
    v: UnsafeMutablePointer<Float>, stride: Int, biases: UnsafePointer<Float>,
    mask: UnsafePointer<Float>?, out: UnsafeMutablePointer<Float>, outStride: Int,
    scratch: UnsafeMutablePointer<Float>
  ) throws {
    let columns = heads * headChannels
    var scale = 1 / Float(headChannels).squareRoot()
    if isActive {
      for token in 0..<tokens {
        for channel in 0..<columns { q[token * stride + channel] *= scale }
      }
      scale = 1
      try visit(sites.query, q, rows: tokens, columns: columns, stride: stride)
      try visit(sites.key, k, rows: tokens, columns: columns, stride: stride)
      try visit(sites.value, v, rows: tokens, columns: columns, stride: stride)
    }
    let attention = WindowAttention(
      queries: tokens, keys: tokens, head: headChannels, scale: scale,
      quantizer: quantizer(at: sites.probabilities))
    let area = tokens * tokens
    for head in 0..<heads {
      let first = head * headChannels
      if observer != nil {
        probabilities(
          tokens: tokens, channels: headChannels, q: q + first, k: k + first, stride: stride,
          bias: biases + head * area, mask: mask, to: scratch)
        try visit(sites.probabilities, scratch, rows: tokens, columns: tokens, stride: tokens)
      }
      attention.apply(
        q: q + first, stride: stride, k: k + first, stride: stride, v: v + first, stride: stride,
        transposedBias: biases + head * area, transposedMask: mask, out: out + first,
        stride: outStride, scratch: scratch)
    }
  }

  /// Computes the probabilities for an observer: the kernel does not expose its own.
  private func probabilities(
    tokens: Int, channels: Int, q: UnsafePointer<Float>, k: UnsafePointer<Float>, stride: Int,
    bias: UnsafePointer<Float>, mask: UnsafePointer<Float>?, to scores: UnsafeMutablePointer<Float>
  ) {
    // So many rows written side by side stay in the first cache.
    let blockSize = 16
    for start in Swift.stride(from: 0, to: tokens, by: blockSize) {
      for key in 0..<tokens {
        for query in start..<min(start + blockSize, tokens) {
          let place = key &* tokens &+ query
          scores[query &* tokens &+ key] = bias[place] + (mask?[place] ?? 0)
        }
      }
    }
    var keys: [Float] = []
    keys.reserveCapacity(tokens * channels)
    for key in 0..<tokens {
      keys += UnsafeBufferPointer(start: k + key * stride, count: channels)
    }
    Linear(weight: keys, bias: nil, outputs: tokens, inputs: channels).apply(
      rows: tokens, q, stride: stride, to: scores, stride: tokens,
      then: .add(scores, stride: tokens))
    ck_softmax(scores, tokens, tokens)
  }
}
