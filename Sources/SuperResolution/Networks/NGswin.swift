import Storage

/// NGswin (Choi et al. 2023, "N-Gram in Swin Transformers for Efficient Lightweight Image
/// Super-Resolution"): attention within windows that know their neighbours, at three sizes of the image.
enum NGswin: NetworkDescription {
  static let name = "NGswin"
  static let landmarks = [".ngram_context.", "shallow_extract.", "encoder_layer1."]
  static let buffers: Set<String> = ["attn_mask", "relative_position_index"]

  /// The mean and the deviation of images, which differs between the published scales. They are not in
  /// the file.
  private static let mean: [Float] = [0.4485, 0.4375, 0.4045]
  private static let deviations: [Int: [Float]] = [
    2: [0.2397, 0.2290, 0.2389], 3: [0.2373, 0.2265, 0.2367], 4: [0.2352, 0.2244, 0.2349],
  ]

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    let name = "shallow_extract.conv1"
    let first = try build.dimensions(of: "\(name).weight", rank: 4)
    guard first[1] == 3, first[0] % 16 == 0 else {
      throw WeightMismatch(
        tensor: "\(name).weight",
        problem: "has \(counted(first[0], "output")) and \(counted(first[1], "input")), expected a "
          + "multiple of 16 and 3")
    }
    let last = "to_target.before_shuffle"
    let scale = try build.squareFactor(of: last, outputs: 3)
    guard let deviation = deviations[scale] else {
      throw WeightMismatch(
        tensor: "\(last).weight", problem: "is of scale ×\(scale), expected ×2, ×3 or ×4")
    }
    let window = try build.windowSide(
      of: "encoder_layer1.blocks.0.attn.relative_position_bias_table")
    let image = build.image(channels: 3)
    let weight = try build.parameter("\(name).weight", [first[0], 3, 3, 3])
    let shallow = build.convolution(
      image,
      GraphParameter(shape: weight.shape, of: weight.tensors) { read in
        read[0].indices.map { read[0][$0] / deviation[$0 / 9 % 3] }
      }, try build.parameter("\(name).bias", [first[0]]))

    // What an encoder takes are the results of all before it.
    var (input, results, blocks) = (shallow, [NetworkGraph.Value](), 0)
    for number in 1...3 {
      let name = "encoder_layer\(number)"
      var x = input
      if number > 1 {
        x = try build.linear(x, "\(name).across_cascade_proj", outputs: first[0])
      }
      let (result, sum) = try stage(x, name, window: window, &blocks, &build)
      results.append(result)
      guard number < 3 else { break }
      let merged = try build.linear(
        build.normalizePixels(build.mergePixels(sum, 2), "\(name).downsample.norm"),
        "\(name).downsample.reduction", outputs: first[0], bias: nil,
        from: .normalization("\(name).downsample.norm"))
      input = build.concatenate(build.largest(input, side: 2, step: 2), merged)
    }
    let joined = try bottleneck(shallow, results, &build)
    let (decoded, _) = try stage(
      build.add(joined, results[0]), "decoder_layer1", window: window, &blocks, &build)
    let x = build.add(try build.normalizePixels(decoded, "norm"), shallow)
    let shuffled = build.pixelShuffle(try build.convolution(x, last, side: 3), scale)
    return NetworkTraits(
      output: try original(shuffled, "to_target.to_origin", deviation, &build), scale: scale,
      // The program of the authors mirrors images, too, before the network itself would add black.
      range: PixelRange(mean: mean), multiple: 4 * window,
      configuration: "\(first[0]) channels, \(counted(blocks, "block")), windows of \(window)")
  }

  private static let context = "ngram_window_partition.ngram_context"

  /// Blocks whose inputs are each the sum of the input and the result of the one before.
  ///
  /// - Returns: the result of the last block, and the sum of that and its input.
  private static func stage(
    _ x: NetworkGraph.Value, _ name: String, window: Int, _ blocks: inout Int,
    _ build: inout NetworkBuilder
  ) throws -> (result: NetworkGraph.Value, sum: NetworkGraph.Value) {
    var (result, sum) = (x, x)
    let count = build.count("\(name).blocks", probe: "norm1.weight")
    guard count > 0 else {
      throw WeightMismatch(tensor: "\(name).blocks.0.norm1.weight", problem: "is missing")
    }
    for index in 0..<count {
      result = try block(
        sum, "\(name).blocks.\(index)", window: window, isShifted: index % 2 == 1, &build)
      if index < count - 1 || build.contains("\(name).downsample.norm.weight") {
        sum = build.add(result, sum)
      }
    }
    blocks += count
    return (result, sum)
  }

  /// Attention within windows, then a perceptron on each pixel. Each is normalized, then added to its
  /// input.
  private static func block(
    _ x: NetworkGraph.Value, _ name: String, window: Int, isShifted: Bool,
    _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let neighbours = try neighbours(of: x, "\(name).\(context)", window: window, &build)
    let shift = isShifted ? window / 2 : 0
    var made = try attention(
      "\(name).attn", side: window, shift: shift, &build
    ) { build in
      try build.linear(
        build.add(x, build.nearest(neighbours, window)), "\(name).attn.qkv",
        outputs: build.dimensions(of: "\(name).attn.qkv.weight", rank: 2)[0])
    }
    made = try build.linear(made, "\(name).attn.proj", outputs: x.channels)
    let sum = build.add(x, try build.normalizePixels(made, "\(name).norm1"))
    return build.add(
      sum, try build.normalizePixels(build.perceptron(sum, "\(name).ffn"), "\(name).norm2"))
  }

  /// What a window's neighbours say, one pixel per window: each window is made one pixel, and attention
  /// among it and those to the right and below is averaged, likewise to the left and above.
  private static func neighbours(
    of x: NetworkGraph.Value, _ name: String, window: Int, _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let half = x.channels / 2
    let module = "\(name).ngram_attn"
    let table = "\(module).relative_position_bias_table"
    let count = try build.windowSide(of: table)
    let windows = try build.convolution(
      x, "\(name).unigram_embed", outputs: half, side: window, step: window, padding: (0, 0),
      groups: half)
    let all = try build.linear(
      windows, "\(module).qkv",
      outputs: build.dimensions(of: "\(module).qkv.weight", rank: 2)[0])
    let sides = try [false, true].map { isBefore in
      let attended = try attention(module, side: count, shift: 0, &build) { build in
        build.move(all, .neighbours(count, isBefore: isBefore))
      }
      return build.average(
        try build.linear(attended, "\(module).proj", outputs: half), side: count, step: count)
    }
    return try build.convolution(
      build.concatenate(sides[0], sides[1]), "\(name).merge", outputs: x.channels, side: 1)
  }

  /// Attention by cosines.
  ///
  /// - Parameter all: returns queries, keys and values.
  private static func attention(
    _ module: String, side: Int, shift: Int, _ build: inout NetworkBuilder,
    of all: (inout NetworkBuilder) throws -> NetworkGraph.Value
  ) throws -> NetworkGraph.Value {
    let scales = "\(module).logit_scale"
    let heads = try build.dimensions(of: scales, rank: 3)[0]
    let normalized = try build.normalizeHeads(all(&build), scales, heads: heads)
    return try build.windowAttention(
      normalized, module,
      WindowAttentionShape(
        heads: heads, height: side, width: side, shiftDown: shift, shiftRight: shift,
        multiple: side), table: "\(module).relative_position_bias_table")
  }

  /// The results of all encoders, at the size of the image.
  private static func bottleneck(
    _ shallow: NetworkGraph.Value, _ results: [NetworkGraph.Value],
    _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    var pooled = shallow
    var parts: [NetworkGraph.Value] = []
    for (level, result) in results.enumerated() {
      if level > 0 { pooled = build.largest(pooled, side: 2, step: 2) }
      let sum = build.add(result, build.apply(.leakyReLU(slope: 0.01), to: pooled))
      parts.append(level == 0 ? sum : build.pixelShuffle(sum, 1 << level))
    }
    let all = build.concatenate(parts[0], parts[1], parts[2])
    let filtered = build.apply(
      .gelu,
      to: try build.convolution(
        all, "bottleneck.depthwise", outputs: all.channels, side: 3, groups: all.channels))
    return try build.normalizePixels(
      build.linear(filtered, "bottleneck.pointwise", outputs: shallow.channels),
      "bottleneck.norm")
  }

  /// A convolution whose results get the deviation of images; the mean is added with the range.
  private static func original(
    _ x: NetworkGraph.Value, _ name: String, _ deviation: [Float], _ build: inout NetworkBuilder
  ) throws -> NetworkGraph.Value {
    let weight = try build.parameter("\(name).weight", [3, 3, 3, 3])
    let bias = try build.parameter("\(name).bias", [3])
    return build.convolution(
      x,
      GraphParameter(shape: weight.shape, of: weight.tensors) { read in
        read[0].indices.map { read[0][$0] * deviation[$0 / 27] }
      },
      GraphParameter(shape: [3], of: bias.tensors) { read in
        zip(read[0], deviation).map { $0 * $1 }
      })
  }
}
