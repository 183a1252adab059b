import Formats
import Storage

/// Builds the graph of a network from the names and shapes of a checkpoint's tensors, and from values
/// only where these do not tell.
///
/// ```swift
/// var x = try build.convolution(build.image(channels: 3), "conv_first")
/// x = build.apply(.leakyReLU(slope: 0.2), to: x)
/// let output = build.pixelShuffle(try build.convolution(x, "conv_last"), 2)
/// ```
struct NetworkBuilder {
  typealias Value = NetworkGraph.Value

  private(set) var graph = NetworkGraph()
  /// The first result that did not fit another one, by the tensor that was taken last before it.
  private var mismatch: WeightMismatch?
  private var lastTensor = ""
  /// The tensors, of which those with a place in the graph are marked as taken.
  var weights: WeightReader

  init(_ weights: WeightReader) {
    self.weights = weights
  }

  /// Notes a result as that of the next residual group.
  mutating func endGroup(_ x: Value) { graph.groups.append(x) }

  /// Returns the graph that was built, with the result of the whole network.
  ///
  /// - Throws: `WeightMismatch` where results did not fit one another.
  func graph(to output: Value) throws -> NetworkGraph {
    if let mismatch { throw mismatch }
    var graph = graph
    graph.output = output
    return graph
  }

  /// Notes a mismatch unless `fits`.
  mutating func require(_ fits: Bool, _ problem: @autoclosure () -> String) {
    guard !fits, mismatch == nil else { return }
    mismatch = WeightMismatch(tensor: lastTensor, problem: problem())
  }

  // MARK: Tensors

  func contains(_ name: String) -> Bool { weights.contains(name) }

  /// The number of modules `prefix.0`, `prefix.1`, … that have the tensor `probe`.
  func count(_ prefix: String, probe: String) -> Int { weights.count(prefix, probe: probe) }

  /// - Throws: `WeightMismatch` when the tensor is missing or has another rank.
  func dimensions(of name: String, rank: Int) throws -> [Int] {
    try weights.dimensions(of: name, rank: rank)
  }

  /// Takes a tensor as a parameter.
  ///
  /// - Throws: `WeightMismatch` when it is missing or has another shape.
  mutating func parameter(_ name: String, _ shape: [Int]) throws -> GraphParameter {
    try weights.take(name, shape)
    lastTensor = name
    return GraphParameter(name, shape: shape)
  }

  /// Reads the few values of a tensor that say what names and shapes do not.
  ///
  /// - Throws: `WeightMismatch`, `ModelError` as `WeightReader.values` does.
  mutating func values(_ name: String, _ shape: [Int]) throws -> [Float] {
    try weights.values(name, shape)
  }

  /// The number of modules `block_1`, `block_2`, … that have the tensor `probe`.
  func blockCount(probe: String) -> Int {
    var count = 0
    while contains("block_\(count + 1).\(probe)") { count += 1 }
    return count
  }

  /// The factor of the pixel shuffle after the convolution `name`, which makes `outputs` channels.
  ///
  /// - Throws: `WeightMismatch` when the convolution has another number of outputs than a square
  ///   times so many.
  func squareFactor(of name: String, outputs: Int) throws -> Int {
    let count = try dimensions(of: "\(name).weight", rank: 4)[0]
    guard let factor = (1...8).first(where: { $0 * $0 * outputs == count }) else {
      throw WeightMismatch(
        tensor: "\(name).weight",
        problem: "has \(counted(count, "output")), expected \(outputs) times a square up to 64")
    }
    return factor
  }

  // MARK: Operators

  /// Applies an operator.
  mutating func add(_ operation: GraphOperation, _ inputs: [Value], channels: Int) -> Value {
    graph.add(operation, inputs, channels: channels)
  }

  /// Moves pixels to other places.
  ///
  /// - Parameter other: the result whose size a move takes, if it takes one.
  mutating func move(_ x: Value, _ move: PixelMove, toSizeOf other: Value? = nil) -> Value {
    graph.add(.move(move), [x] + (other.map { [$0] } ?? []), channels: x.channels)
  }

  mutating func image(channels: Int) -> Value { graph.add(.input, [], channels: channels) }

  /// Applies the convolution `name`, whose outputs and kernel are those of its weight.
  ///
  /// Its input has a site unless the channels are divided into groups: each product of such a
  /// convolution has few terms, so that its weights are kept and codes would save little.
  ///
  /// - Parameters:
  ///   - outputs, side: what the weight must have; `nil` for any.
  ///   - padding: the pixels added on each side; as many as keep the size, by default.
  /// - Throws: `WeightMismatch` when the weight or the bias does not fit.
  mutating func convolution(
    _ x: Value, _ name: String, outputs: Int? = nil, side: Int? = nil, step: Int = 1,
    dilation: Int = 1, padding: (height: Int, width: Int)? = nil,
    mode: ConvolutionShape.Padding = .zeros, groups: Int = 1, hasBias: Bool = true
  ) throws -> Value {
    let found = try dimensions(of: "\(name).weight", rank: 4)
    let outputs = outputs ?? found[0]
    let kernel = side.map { ($0, $0) } ?? (found[2], found[3])
    guard outputs % groups == 0, x.channels % groups == 0 else {
      throw WeightMismatch(
        tensor: "\(name).weight",
        problem: "has \(counted(found[0], "output")), which \(groups) groups do not divide")
    }
    guard found[2] * found[3] <= ConvolutionShape.mostTaps,
      padding != nil || found[2] % 2 == 1 && found[3] % 2 == 1
    else {
      throw WeightMismatch(
        tensor: "\(name).weight",
        problem: "has a kernel of \(found[2]) × \(found[3]), expected odd sides and at most "
          + "\(ConvolutionShape.mostTaps) taps")
    }
    let weight = try parameter(
      "\(name).weight", [outputs, x.channels / groups, kernel.0, kernel.1])
    let bias = hasBias ? try parameter("\(name).bias", [outputs]) : nil
    let site =
      groups == 1
      ? graph.sites.addInput(
        of: name, columnCount: x.channels, tapCount: kernel.0 * kernel.1) : nil
    return convolution(
      x, weight, bias, step: step, dilation: dilation,
      padding: padding, mode: mode, groups: groups, site: site)
  }

  /// Applies the linear layer `name`, whose input is not to be quantized, as a convolution of single
  /// pixels.
  mutating func matrix(_ x: Value, _ name: String, hasBias: Bool = false) throws -> Value {
    let outputs = try dimensions(of: "\(name).weight", rank: 2)[0]
    let shape = [outputs, x.channels]
    _ = try parameter("\(name).weight", shape)
    return convolution(
      x, GraphParameter("\(name).weight", shape: shape + [1, 1], inFile: shape),
      hasBias ? try parameter("\(name).bias", [outputs]) : nil)
  }

  /// Applies enhanced spatial attention (Liu et al. 2020, RFANet): a weight for each element, most of it
  /// from a small image.
  mutating func spatialAttention(_ x: Value, _ name: String) throws -> Value {
    let narrow = try convolution(x, "\(name).conv1", side: 1)
    var small = try convolution(narrow, "\(name).conv2", side: 3, step: 2, padding: (0, 0))
    small = try convolution(largest(small, side: 7, step: 3), "\(name).conv3", side: 3)
    let sum = add(
      bilinear(small, toSizeOf: x), try convolution(narrow, "\(name).conv_f", side: 1))
    let weights = try convolution(sum, "\(name).conv4", outputs: x.channels, side: 1)
    return multiply(x, apply(.sigmoid, to: weights))
  }

  /// Applies a convolution whose weight is `[outputs, inputs / groups, height, width]`.
  ///
  /// - Parameter site: the site of its input; `nil` where that cannot be quantized.
  mutating func convolution(
    _ x: Value, _ weight: GraphParameter, _ bias: GraphParameter?, step: Int = 1,
    dilation: Int = 1, padding: (height: Int, width: Int)? = nil,
    mode: ConvolutionShape.Padding = .zeros, groups: Int = 1, site: Int? = nil
  ) -> Value {
    let shape = ConvolutionShape(
      outputs: weight.shape[0] / groups, inputs: weight.shape[1],
      kernel: (weight.shape[2], weight.shape[3]), step: step, dilation: dilation,
      padding: padding, mode: mode)
    return graph.add(
      .convolution(shape, groups: groups, weight: weight, bias: bias, site: site), [x],
      channels: weight.shape[0])
  }

  /// Applies the linear layer `name`.
  ///
  /// - Parameter origin: the tensors that can rescale the input, if there are any.
  mutating func linear(
    _ x: Value, _ name: String, outputs: Int, from origin: ActivationSite.Origin? = nil,
    mayLackBias: Bool = false
  ) throws -> Value {
    let bias =
      mayLackBias && !contains("\(name).bias") ? nil : try parameter("\(name).bias", [outputs])
    return try linear(x, name, outputs: outputs, bias: bias, from: origin)
  }

  /// Applies the linear layer `name` with a bias that is made of other tensors, or without one.
  mutating func linear(
    _ x: Value, _ name: String, outputs: Int, bias: GraphParameter?,
    from origin: ActivationSite.Origin? = nil
  ) throws -> Value {
    let weight = try parameter("\(name).weight", [outputs, x.channels])
    let site = graph.sites.addInput(of: name, columnCount: x.channels, from: origin)
    return graph.add(
      .linear(weight: weight, bias: bias, site: site), [x], channels: outputs)
  }

  mutating func constant(_ parameter: GraphParameter, channels: Int) -> Value {
    graph.add(.constant(parameter), [], channels: channels)
  }

  /// Adds the sites of an attention, as `SiteList.addAttention` does.
  mutating func attentionSites(
    _ module: String, columnCount: Int, heads: Int, comparesChannels: Bool = false
  ) -> AttentionSites {
    graph.sites.addAttention(
      module, columnCount: columnCount, heads: heads, comparesChannels: comparesChannels)
  }

  mutating func interleave(_ x: Value, _ count: Int) -> Value {
    move(x, .interleave(count))
  }

  mutating func deinterleave(_ x: Value, _ count: Int) -> Value {
    move(x, .deinterleave(count))
  }

  mutating func addPositions(_ x: Value, _ positions: GraphParameter) -> Value {
    graph.add(.addPositions(positions), [x], channels: x.channels)
  }

  mutating func apply(_ function: ElementFunction, to x: Value) -> Value {
    graph.add(.function(function), [x], channels: x.channels)
  }

  /// Applies the PReLU `name`, which has a slope for each channel or one for all.
  mutating func parametricReLU(_ x: Value, _ name: String) throws -> Value {
    let count = try dimensions(of: "\(name).weight", rank: 1)[0]
    let slopes = try parameter("\(name).weight", [count == 1 ? 1 : x.channels])
    return graph.add(.parametricReLU(slopes), [x], channels: x.channels)
  }

  mutating func scale(_ x: Value, by factor: Float) -> Value {
    graph.add(.scale(factor), [x], channels: x.channels)
  }

  mutating func addChannels(_ x: Value, _ offsets: GraphParameter) -> Value {
    graph.add(.addChannels(offsets), [x], channels: x.channels)
  }

  mutating func add(_ a: Value, _ b: Value) -> Value {
    requireFit(a, b)
    return graph.add(.add, [a, b], channels: max(a.channels, b.channels))
  }

  /// Channels are as many, or one.
  private mutating func requireFit(_ a: Value, _ b: Value) {
    require(
      a.channels == b.channels || a.channels == 1 || b.channels == 1,
      "leads to \(a.channels) channels beside \(b.channels)")
  }

  mutating func multiply(_ a: Value, _ b: Value) -> Value {
    requireFit(a, b)
    return graph.add(.multiply, [a, b], channels: max(a.channels, b.channels))
  }

  mutating func concatenate(_ parts: Value...) -> Value { concatenate(parts) }

  mutating func concatenate(_ parts: [Value]) -> Value {
    graph.add(.concatenate, parts, channels: parts.reduce(0) { $0 + $1.channels })
  }

  mutating func channels(_ range: Range<Int>, of x: Value) -> Value {
    require(
      range.upperBound <= x.channels && !range.isEmpty,
      "takes channels \(range) of \(x.channels)")
    return graph.add(.channels(range), [x], channels: range.count)
  }

  mutating func repeatChannels(_ x: Value, _ count: Int) -> Value {
    graph.add(.repeatChannels(count), [x], channels: x.channels * count)
  }

  mutating func pixelShuffle(_ x: Value, _ factor: Int) -> Value {
    require(
      x.channels % (factor * factor) == 0,
      "leads to \(counted(x.channels, "channel")) for squares of \(factor) pixels")
    return graph.add(.pixelShuffle(factor), [x], channels: x.channels / (factor * factor))
  }

  mutating func pixelUnshuffle(_ x: Value, _ factor: Int) -> Value {
    graph.add(.pixelUnshuffle(factor), [x], channels: x.channels * factor * factor)
  }

  mutating func mergePixels(_ x: Value, _ factor: Int) -> Value {
    graph.add(.mergePixels(factor), [x], channels: x.channels * factor * factor)
  }

  mutating func nearest(_ x: Value, _ factor: Int) -> Value {
    move(x, .nearest(factor))
  }

  mutating func bilinear(_ x: Value, toSizeOf other: Value) -> Value {
    graph.add(.bilinear, [x, other], channels: x.channels)
  }

  mutating func sample(_ x: Value, at offsets: Value, factor: Int, groups: Int) -> Value {
    require(
      x.channels % groups == 0,
      "moves \(x.channels) channels, which \(groups) groups do not divide")
    return graph.add(.sample(factor: factor, groups: groups), [x, offsets], channels: x.channels)
  }

  /// Applies the dynamic upsampling `name`: DySample (Liu et al. 2023, "Learning to Upsample by
  /// Learning to Sample").
  ///
  /// - Parameter outputs: the channels of the convolution at its end; `nil` for an operator without it.
  mutating func dynamicSample(
    _ x: Value, _ name: String, factor: Int, groups: Int, outputs: Int?
  ) throws -> Value {
    let count = 2 * groups * factor * factor
    let scope = apply(
      .sigmoid,
      to: try convolution(x, "\(name).scope", outputs: count, side: 1, hasBias: false))
    var offsets = try convolution(x, "\(name).offset", outputs: count, side: 1)
    offsets = scale(multiply(offsets, scope), by: 0.5)
    offsets = addChannels(offsets, try parameter("\(name).init_pos", [1, count, 1, 1]))
    let made = sample(x, at: offsets, factor: factor, groups: groups)
    return try outputs.map { try convolution(made, "\(name).end_conv", outputs: $0, side: 1) }
      ?? made
  }

  /// Averages squares of `side` × `side` pixels that are `step` pixels apart.
  mutating func average(_ x: Value, side: Int, step: Int) -> Value {
    let (channels, area) = (x.channels, side * side)
    let weight = GraphParameter(shape: [channels, 1, side, side], of: []) { _ in
      [Float](repeating: 1 / Float(area), count: channels * area)
    }
    return convolution(x, weight, nil, step: step, padding: (0, 0), groups: channels)
  }

  mutating func average(_ x: Value) -> Value { graph.add(.average, [x], channels: x.channels) }

  mutating func largest(_ x: Value, side: Int, step: Int) -> Value {
    graph.add(.largest(side: side, step: step), [x], channels: x.channels)
  }

  mutating func largest(_ x: Value, inGridOf divisor: Int) -> Value {
    graph.add(.largestInGrid(divisor: divisor), [x], channels: x.channels)
  }

  mutating func nearest(_ x: Value, toSizeOf other: Value) -> Value {
    move(x, .nearestTo, toSizeOf: other)
  }

  /// Applies the layer normalization `name` to the channels of each pixel.
  mutating func normalizePixels(_ x: Value, _ name: String, epsilon: Float = 1e-5) throws -> Value {
    graph.add(
      .normalizePixels(
        scale: try parameter("\(name).weight", [x.channels]),
        offset: try parameter("\(name).bias", [x.channels]), epsilon: epsilon), [x],
      channels: x.channels)
  }

  /// Applies the batch normalization `name`.
  mutating func normalizeChannels(_ x: Value, _ name: String) throws -> Value {
    let shape = [x.channels]
    return graph.add(
      .normalizeChannels(
        BatchNormalization(
          scale: try parameter("\(name).weight", shape),
          offset: try parameter("\(name).bias", shape),
          mean: try parameter("\(name).running_mean", shape),
          variance: try parameter("\(name).running_var", shape), epsilon: 1e-5)), [x],
      channels: x.channels)
  }

  /// Applies the group normalization `name`.
  mutating func normalizeGroups(
    _ x: Value, _ name: String, groups: Int, epsilon: Float
  ) throws -> Value {
    require(
      x.channels % groups == 0,
      "is before \(groups) groups, which do not divide \(x.channels) channels")
    return graph.add(
      .normalizeGroups(
        groups, scale: try parameter("\(name).weight", [x.channels]),
        offset: try parameter("\(name).bias", [x.channels]), epsilon: epsilon), [x],
      channels: x.channels)
  }
}
