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
        self.scratch.withScratch(headChannels * tokens) { transposed in
          probabilities(
            tokens: tokens, channels: headChannels, q: q + first, k: k + first, stride: stride,
            bias: biases + head * area, mask: mask, transposed: transposed, to: scratch)
        }
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

  /// The first half of the kernel, for an observer: the kernel itself does not expose
  /// probabilities.
  ///
  /// - Parameter transposed: scratch memory for k.
  private func probabilities(
    tokens: Int, channels: Int, q: UnsafePointer<Float>, k: UnsafePointer<Float>, stride: Int,
    bias: UnsafePointer<Float>, mask: UnsafePointer<Float>?,
    transposed: UnsafeMutablePointer<Float>, to scores: UnsafeMutablePointer<Float>
  ) {
    for key in 0..<tokens {
      for channel in 0..<channels {
        transposed[channel &* tokens &+ key] = k[key &* stride &+ channel]
      }
    }
    for query in 0..<tokens {
      let row = scores + query * tokens
      row.update(repeating: 0, count: tokens)
      // The inner loop covers many keys at once; each sum runs over the channels in order.
      for channel in 0..<channels {
        let factor = q[query &* stride &+ channel]
        let column = transposed + channel &* tokens
        for key in 0..<tokens { row[key] += factor * column[key] }
      }
      for key in 0..<tokens {
        let place = key &* tokens &+ query
        row[key] = row[key] + bias[place] + (mask?[place] ?? 0)
      }
    }
    ck_softmax(scores, tokens, tokens)
  }

  /// The second half of the kernel.
  private func mix(
    _ probabilities: UnsafePointer<Float>, tokens: Int, channels: Int, v: UnsafePointer<Float>,
    stride: Int, to out: UnsafeMutablePointer<Float>, outStride: Int
  ) {
    for query in 0..<tokens {
      let (row, target) = (probabilities + query * tokens, out + query * outStride)
      target.update(repeating: 0, count: channels)
      for key in 0..<tokens {
        let (probability, values) = (row[key], v + key &* stride)
        for channel in 0..<channels { target[channel] += probability * values[channel] }
      }
    }
  }
}
