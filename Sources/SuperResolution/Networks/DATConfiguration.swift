import Storage

/// The parameters in which the published DAT networks differ, inferred from the tensors of a
/// checkpoint.
struct DATConfiguration: Hashable {
  /// The sides of the windows for the first half of the channels; the second half swaps them.
  struct Split: Hashable {
    let height: Int
    let width: Int
  }

  let inputs: Int
  let channels: Int
  /// Blocks in each residual group.
  let depths: [Int]
  let hidden: Int
  let split: Split
  let shufflesDirectly: Bool

  /// The most tokens in a window, since an attention's memory grows with their square.
  static let largestWindow = 1024

  init(_ weights: WeightReader) throws {
    let first = try weights.dimensions(of: "conv_first.weight", rank: 4)
    (channels, inputs) = (first[0], first[1])
    let layers = weights.count("layers", probe: "blocks.0.norm1.weight")
    guard layers > 0 else {
      throw WeightMismatch(tensor: "layers.0.blocks.0.norm1.weight", problem: "is missing")
    }
    depths = (0..<layers).map { weights.count("layers.\($0).blocks", probe: "norm1.weight") }
    let expansion = "layers.0.blocks.0.ffn.fc1.weight"
    hidden = try weights.dimensions(of: expansion, rank: 2)[0]
    guard hidden % 2 == 0 else {
      throw WeightMismatch(tensor: expansion, problem: "has \(hidden) outputs, an odd number")
    }
    split = try Split(weights)
    shufflesDirectly = !weights.contains("conv_last.weight")
  }
}

extension DATConfiguration.Split {
  /// Reads the split from the list of relative positions in a window, since no weight's shape
  /// determines it.
  ///
  /// The list, `[(2·height − 1)·(2·width − 1), 2]`, starts with the smallest offsets, and columns
  /// vary fastest. It is accepted only if every entry matches.
  init(_ weights: WeightReader) throws {
    let name = "layers.0.blocks.0.attn.attns.0.rpe_biases"
    let count = try weights.dimensions(of: name, rank: 2)[0]
    guard let tensor = weights.archive.tensors[name], tensor.shape.dimensions[1] == 2 else {
      throw WeightMismatch(tensor: name, problem: "has no two columns")
    }
    let values = try locatingErrors(tensor: name) { try tensor.floatValues() }
    let limit = Float(DATConfiguration.largestWindow)
    guard let height = Self.side(values[2 * count - 2], limit),
      let width = Self.side(values[2 * count - 1], limit),
      height * width <= DATConfiguration.largestWindow,
      height % width == 0 || width % height == 0,
      values == WindowGrid.offsets(height: height, width: width)
    else {
      throw WeightMismatch(
        tensor: name,
        problem: "is not the list of relative positions in a window of up to "
          + "\(DATConfiguration.largestWindow) tokens, one side a multiple of the other")
    }
    self.init(height: height, width: width)
  }

  private static func side(_ largestOffset: Float, _ limit: Float) -> Int? {
    largestOffset >= 0 && largestOffset < limit ? Int(exactly: largestOffset + 1) : nil
  }
}
