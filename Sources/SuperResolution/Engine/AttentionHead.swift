import CKernels

extension ForwardContext {
  /// Floats of scratch memory that `attend` needs.
  func attentionScratchCount(tokens: Int, headChannels: Int) -> Int {
    max(tokens * tokens, ck_attention_scratch_count(tokens, tokens, headChannels))
  }

  /// All heads of one window: `out = softmax(scale · q kᵀ + bias + mask) v`, each with its channels.
  ///
  /// With quantizers or an observer at the sites, q and k are scaled, and all three and the
  /// probabilities go past them; q, k and v are changed then.
  ///
  /// - Parameters:
  ///   - tokens: rows of q, k, v and `out`; q, k and v have `stride` floats from row to row.
  ///   - biases: `[heads, keys, queries]`; `mask`: `[keys, queries]`.
  ///   - scratch: as many floats as `attentionScratchCount` says.
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
        mix(
          scratch, tokens: tokens, channels: headChannels, v: v + first, stride: stride,
          to: out + first, outStride: outStride)
        continue
      }
      attention.apply(
        q: q + first, stride: stride, k: k + first, stride: stride, v: v + first, stride: stride,
        transposedBias: biases + head * area, transposedMask: mask, out: out + first,
        stride: outStride, scratch: scratch)
    }
  }

  /// The kernel's first half, for an observer, who sees what the kernel keeps to itself.
  private func probabilities(
    tokens: Int, channels: Int, q: UnsafePointer<Float>, k: UnsafePointer<Float>, stride: Int,
    bias: UnsafePointer<Float>, mask: UnsafePointer<Float>?, to scores: UnsafeMutablePointer<Float>
  ) {
    for query in 0..<tokens {
      for key in 0..<tokens {
        var sum: Float = 0
        for channel in 0..<channels {
          sum += q[query * stride + channel] * k[key * stride + channel]
        }
        let place = key * tokens + query
        scores[query * tokens + key] = sum + bias[place] + (mask?[place] ?? 0)
      }
    }
    ck_softmax(scores, tokens, tokens)
  }

  /// The kernel's second half.
  private func mix(
    _ probabilities: UnsafePointer<Float>, tokens: Int, channels: Int, v: UnsafePointer<Float>,
    stride: Int, to out: UnsafeMutablePointer<Float>, outStride: Int
  ) {
    for query in 0..<tokens {
      let target = out + query * outStride
      target.update(repeating: 0, count: channels)
      for key in 0..<tokens {
        let probability = probabilities[query * tokens + key]
        for channel in 0..<channels { target[channel] += probability * v[key * stride + channel] }
      }
    }
  }
}
