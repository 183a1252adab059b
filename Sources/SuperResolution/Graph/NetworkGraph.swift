/// A network as a graph of the field's operators on feature maps.
///
/// A network is described once, from the names and shapes of its tensors alone; whatever runs it,
/// learns with it or writes it elsewhere reads this value. No operator is a whole layer: what is
/// best computed together is for the reader to find.
struct NetworkGraph: Sendable {
  /// The result of a node: features of `channels` channels, at a size that follows from the image's.
  struct Value: Hashable, Sendable {
    /// The index of the node.
    let node: Int
    let channels: Int
  }

  struct Node: Sendable {
    let operation: GraphOperation
    /// The results that it takes, all of nodes before it.
    let inputs: [Value]
    /// The channels of its own result.
    let channels: Int
  }

  private(set) var nodes: [Node] = []
  /// The result of the whole network.
  var output: Value?
  /// The results of the residual groups, which learning compares.
  var groups: [Value] = []
  /// The sites at which activations may be quantized, in the order of the forward pass.
  var sites = SiteList()

  /// The nodes that take each node's result, those that lie beyond the last one for the output and for
  /// groups.
  var consumers: [[Int]] {
    var consumers = [[Int]](repeating: [], count: nodes.count)
    for (index, node) in nodes.enumerated() {
      for input in node.inputs { consumers[input.node].append(index) }
    }
    if let output { consumers[output.node].append(nodes.count) }
    for group in groups { consumers[group.node].append(nodes.count) }
    return consumers
  }

  /// Which results have but one pixel, whatever the size of the image.
  var singlePixels: [Bool] {
    var isPixel = [Bool](repeating: false, count: nodes.count)
    for (index, node) in nodes.enumerated() {
      switch node.operation {
      case .average: isPixel[index] = true
      case .constant(let parameter):
        isPixel[index] = parameter.shape.dropLast().allSatisfy { $0 == 1 }
      default:
        isPixel[index] = !node.inputs.isEmpty && node.inputs.allSatisfy { isPixel[$0.node] }
      }
    }
    return isPixel
  }

  mutating func add(
    _ operation: GraphOperation, _ inputs: [Value], channels: Int
  ) -> Value {
    nodes.append(Node(operation: operation, inputs: inputs, channels: channels))
    return Value(node: nodes.count - 1, channels: channels)
  }

  /// Gives a node another operator with a result of the same shape.
  mutating func replace(_ node: Int, _ operation: GraphOperation) {
    nodes[node] = Node(
      operation: operation, inputs: nodes[node].inputs, channels: nodes[node].channels)
  }
}

/// An operator of a network. Features are `[height, width, channels]`.
enum GraphOperation: Sendable {
  /// The image, in the network's range.
  case input
  /// A parameter, `[pixels, channels]`, whatever the image.
  case constant(GraphParameter)
  /// The relative positions in a window: how far down and to the right, from the smallest on,
  /// `[2·height − 1, 2·width − 1, 2]`.
  case offsets(height: Int, width: Int)
  /// A convolution, whose channels are divided into groups that have inputs and outputs of their
  /// own. The shape is that of one group. The input may be quantized, pixel by pixel, where there is
  /// one group and a weight of its own.
  case convolution(
    ConvolutionShape, groups: Int, weight: GraphParameter, bias: GraphParameter?, site: Int?)
  /// A linear layer on the channels of each pixel, whose input may be quantized.
  case linear(weight: GraphParameter, bias: GraphParameter?, site: Int)
  /// Attention among the pixels of each window: softmax(q kᵀ / √n + bias + mask) v for every head of n
  /// channels. The first input has the queries, keys and values, one after another, and the second the
  /// bias of every relative position, one pixel each in the order of `offsets`, `[positions, heads]`.
  case windowAttention(WindowAttentionShape, sites: AttentionSites)
  /// What attention needs to compare cosines: the queries and keys of every head, of queries, keys and
  /// values as in `windowAttention`, with a norm of 1, and queries times eˢ, at most 100, and √n.
  case normalizeHeads(scales: GraphParameter)
  /// Attention between channels within windows, of queries, keys and values as in `windowAttention`.
  /// Without a temperature, the average products of queries and keys mix the values as they are.
  case channelAttention(
    ChannelAttentionDivision, heads: Int, temperature: GraphParameter?, sites: AttentionSites?)
  /// Attention without softmax within windows, whose values are the keys. The inputs are one query per
  /// pixel, one key per cell and the biases of relative positions.
  case correlation(CorrelationShape)
  /// Pixels at other places.
  case move(PixelMove)
  /// Attention from windows to larger ones around them, of queries, keys and values as in
  /// `windowAttention`.
  case overlapAttention(OverlapAttentionShape, positions: GraphParameter)
  case function(ElementFunction)
  /// max(x, 0) + slope · min(x, 0), with one slope per channel.
  case parametricReLU(GraphParameter)
  /// x · factor.
  case scale(Float)
  /// x + offset, with one offset per channel.
  case addChannels(GraphParameter)
  /// x + position, with one value per pixel and channel, for images of one size.
  case addPositions(GraphParameter)
  /// The sum of two results. Either may have one pixel, which counts for all of the other, or one
  /// channel, which counts for all.
  case add
  /// The product of two results, as in `add`.
  case multiply
  /// The channels of all inputs, one input after another.
  case concatenate
  /// Some of the channels.
  case channels(Range<Int>)
  /// Every channel so many times, next to one another.
  case repeatChannels(Int)
  /// PyTorch's `PixelShuffle`: channel `(c·r + i)·r + j` becomes row `i`, column `j` of channel `c`.
  case pixelShuffle(Int)
  /// The inverse of `pixelShuffle`.
  case pixelUnshuffle(Int)
  /// Each square of `r` × `r` pixels becomes one, with the channels of one pixel after those of another,
  /// row by row.
  case mergePixels(Int)
  /// Bilinear interpolation to the size of the second input, with the centres of corner pixels half a
  /// pixel from the edge (`align_corners=False`).
  case bilinear
  /// Bicubic interpolation to so many times the size, as in `bilinear`.
  case bicubic(PixelRatio)
  /// Dynamic upsampling: each pixel of the result is interpolated from the first input at its place
  /// in it plus an offset, which groups of channels share. The second input has the offsets, `[2,
  /// groups, factor, factor]`: to the right, then down.
  case sample(factor: Int, groups: Int)
  /// The average over the image of each channel: one pixel.
  case average
  /// The largest value of each channel under a square that moves by `step` pixels.
  case largest(side: Int, step: Int)
  /// The largest value of each channel in each cell of a grid with a `divisor`-th as many rows and
  /// columns, at least one (adaptive max pooling). Neighbouring cells share pixels where the grid does
  /// not divide the image.
  case largestInGrid(divisor: Int)
  /// Layer normalization over the channels of each pixel.
  case normalizePixels(scale: GraphParameter, offset: GraphParameter, epsilon: Float)
  /// Batch normalization with the statistics of training, `(x − mean) / √(variance + ε) · scale +
  /// offset` for every channel.
  case normalizeChannels(BatchNormalization)
  /// Group normalization: over all pixels and the channels of each group.
  case normalizeGroups(Int, scale: GraphParameter, offset: GraphParameter, epsilon: Float)
}

/// The windows of an attention and its heads.
struct WindowAttentionShape: Hashable, Sendable {
  var heads: Int
  var height: Int
  var width: Int
  /// The windows' cyclic shift, down and to the right.
  var shiftDown: Int
  var shiftRight: Int
  /// Images are extended by zeros to multiples of this.
  var multiple: Int

  func grid(height: Int, width: Int) -> WindowGrid {
    WindowGrid(
      height: height, width: width, window: (self.height, self.width),
      shift: (shiftDown, shiftRight), multiple: multiple)
  }
}

extension GraphOperation {
  /// Whether the operator makes more pixels.
  var isUpscaling: Bool {
    switch self {
    case .pixelShuffle, .move(.nearest): true
    default: false
    }
  }

  /// Whether a few rows of the result depend on a few rows of its only input.
  var isMadeInBands: Bool {
    if case .convolution(let shape, let groups, _, _, _) = self {
      return shape.step == 1 && groups == 1
    }
    return isUpscaling
  }

  /// Whether it is a 3×3 convolution with one filter per channel that keeps the image's size.
  var isSimpleDepthwise: Bool {
    guard case .convolution(let shape, let groups, _, _, _) = self else { return false }
    return groups > 1 && shape.inputs == 1 && shape.outputs == 1 && shape.isSimple
  }

  /// Whether what computes the operator can add another result to its own.
  var addsResidual: Bool {
    switch self {
    case .convolution(let shape, let groups, _, _, _):
      groups == 1 || shape.inputs > 1 || shape.outputs > 1
    case .linear: true
    default: false
    }
  }

  /// Multiplies the result by `factor` through the parameters, and returns whether that was possible.
  mutating func absorb(_ factor: Float) -> Bool {
    guard case .convolution(let shape, let groups, let weight, let bias, let site) = self else {
      return false
    }
    self = .convolution(
      shape, groups: groups, weight: weight.scaled(by: factor), bias: bias?.scaled(by: factor),
      site: site)
    return true
  }
}

/// The parameters of a batch normalization, one entry per channel, and ε.
struct BatchNormalization: Sendable {
  let scale: GraphParameter
  let offset: GraphParameter
  let mean: GraphParameter
  let variance: GraphParameter
  let epsilon: Float
}

/// A function of single elements.
enum ElementFunction: Hashable, Sendable {
  case relu
  /// max(x, slope · x), for a slope from 0 to 1.
  case leakyReLU(slope: Float)
  /// The exact GELU, x · Φ(x).
  case gelu
  /// 1 / (1 + e⁻ˣ).
  case sigmoid
  /// x / (1 + e⁻ˣ).
  case silu
  /// x · tanh(ln(1 + eˣ)).
  case mish
  case tanh
  /// x − ½ of a sigmoid's result and the like.
  case offset(Float)
}

/// A parameter of an operator: one tensor of the checkpoint, or what several amount to.
struct GraphParameter: Sendable {
  /// Returns the values that the given tensors amount to, in the order of `names`.
  typealias Derivation = @Sendable (_ tensors: [[Float]]) -> [Float]

  let shape: [Int]
  /// The tensors, and the shape of each.
  let tensors: [(name: String, shape: [Int])]
  /// `nil` where the parameter is the only tensor.
  let derivation: Derivation?

  /// A tensor of the checkpoint, whose own shape may differ from the parameter's by axes of length 1.
  init(_ name: String, shape: [Int], inFile fileShape: [Int]? = nil) {
    self.shape = shape
    tensors = [(name, fileShape ?? shape)]
    derivation = nil
  }

  /// What several tensors amount to.
  init(
    shape: [Int], of tensors: [(name: String, shape: [Int])],
    derivation: @escaping Derivation
  ) {
    self.shape = shape
    self.tensors = tensors
    self.derivation = derivation
  }

  func scaled(by factor: Float) -> GraphParameter {
    GraphParameter(shape: shape, of: tensors) { [derivation] tensors in
      (derivation?(tensors) ?? tensors[0]).map { $0 * factor }
    }
  }

  /// Reads the values.
  ///
  /// - Throws: `WeightMismatch`, `ModelError` as `WeightReader.values` does.
  func values(_ weights: inout WeightReader) throws -> [Float] {
    var read: [[Float]] = []
    for tensor in tensors { read.append(try weights.values(tensor.name, tensor.shape)) }
    let values = derivation?(read) ?? read[0]
    weights.valueCount += values.count
    return values
  }
}
