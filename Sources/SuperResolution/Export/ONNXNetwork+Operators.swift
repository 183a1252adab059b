import Formats
import Storage

extension ONNXNetwork {
  /// Translates the operator of a node whose inputs are translated.
  ///
  /// - Throws: `ModelError` when a tensor cannot be read, or ONNX has no such operator.
  mutating func translate(_ index: Int, _ node: NetworkGraph.Node) throws {
    let inputs = node.inputs.map(\.node)
    /// The first input, with its axes in an order.
    func first(_ order: Order, _ network: inout ONNXNetwork) -> String {
      network.value(inputs[0], order)
    }
    switch node.operation {
    case .input: preconditionFailure("the image is there")
    case .constant(let parameter):
      let rows = parameter.shape.reduce(1, *) / node.channels
      set(index, .channelsLast, try self.parameter(parameter, [1, rows, 1, node.channels]))
    case .offsets(let height, let width):
      let (rows, columns) = (2 * height - 1, 2 * width - 1)
      set(
        index, .channelsLast,
        floats(WindowGrid.offsets(height: height, width: width), [1, rows, columns, 2]))
    case .convolution(let shape, let groups, let weight, let bias, let site):
      let x = quantized(inputs[0], .channelsFirst, at: site)
      try setConvolution(index, x, shape, groups, weight, bias)
    case .linear(let weight, let bias, let site):
      let matrix = add(
        "Transpose", [try parameter(weight, weight.shape)], ["perm": .integers([1, 0])])
      var result = add("MatMul", [quantized(inputs[0], .channelsLast, at: site), matrix])
      if let bias { result = add("Add", [result, try parameter(bias, [node.channels])]) }
      set(index, .channelsLast, result)
    case .windowAttention(let shape, let sites): setWindowAttention(index, node, shape, sites)
    case .overlapAttention(let shape, let positions):
      try setOverlapAttention(index, node, shape, positions)
    case .channelAttention(let division, let heads, let temperature, let sites):
      try setChannelAttention(index, node, division, heads: heads, temperature, sites)
    case .correlation(let shape): setCorrelation(index, node, shape)
    case .normalizeHeads(let scales): try setNormalizedHeads(index, node, scales)
    case .move(let move): setMove(index, node, move)
    case .function(let function): setFunction(index, inputs[0], function)
    case .parametricReLU(let slopes):
      let count = slopes.shape[0]
      set(
        index, .channelsFirst,
        add(
          "PRelu",
          [first(.channelsFirst, &self), try parameter(slopes, count == 1 ? [1] : [count, 1, 1])]))
    case .scale(let factor):
      let order = order(inputs[0])
      set(index, order, add("Mul", [first(order, &self), floats([factor], [])]))
    case .addChannels(let offsets):
      set(
        index, .channelsLast,
        add("Add", [first(.channelsLast, &self), try parameter(offsets, [node.channels])]))
    case .addPositions(let positions):
      guard let size = sizes?[index] else { preconditionFailure("the size is known") }
      let table = try parameter(positions, [1, size.height, size.width, node.channels])
      set(index, .channelsLast, add("Add", [first(.channelsLast, &self), table]))
    case .add, .multiply:
      let order = order(inputs[0])
      let operation = if case .add = node.operation { "Add" } else { "Mul" }
      set(
        index, order, add(operation, [value(inputs[0], order), value(inputs[1], order)]))
    case .concatenate:
      let order = order(inputs[0])
      set(
        index, order,
        add(
          "Concat", inputs.map { value($0, order) }, ["axis": .integer(order.axis)]))
    case .channels(let range):
      let order = order(inputs[0])
      set(
        index, order,
        add(
          "Slice",
          [
            first(order, &self), integers([range.lowerBound]), integers([range.upperBound]),
            integers([order.axis]),
          ]))
    case .repeatChannels(let count):
      let order = order(inputs[0])
      set(
        index, order,
        add(
          "Gather", [first(order, &self), integers((0..<node.channels).map { $0 / count })],
          ["axis": .integer(order.axis)]))
    case .pixelShuffle(let factor):
      set(
        index, .channelsFirst,
        add(
          "DepthToSpace", [first(.channelsFirst, &self)],
          ["blocksize": .integer(factor), "mode": .text("CRD")]))
    case .mergePixels(let factor):
      set(
        index, .channelsFirst,
        add(
          "SpaceToDepth", [first(.channelsFirst, &self)], ["blocksize": .integer(factor)]))
    case .pixelUnshuffle(let factor):
      let merged = add(
        "SpaceToDepth", [first(.channelsFirst, &self)], ["blocksize": .integer(factor)])
      // There, the channels of one pixel follow those of another.
      let (area, channels) = (factor * factor, node.channels / (factor * factor))
      let order = (0..<node.channels).map { $0 % area * channels + $0 / area }
      set(
        index, .channelsFirst, add("Gather", [merged, integers(order)], ["axis": .integer(1)]))
    case .bilinear:
      set(
        index, .channelsFirst,
        resized(
          first(.channelsFirst, &self), toSizeOf: inputs[1],
          ["mode": .text("linear"), "coordinate_transformation_mode": .text("half_pixel")]))
    case .bicubic(let ratio):
      set(
        index, .channelsFirst,
        add(
          "Resize",
          [first(.channelsFirst, &self), "", floats([1, 1, ratio.factor, ratio.factor], [4])],
          [
            "mode": .text("cubic"), "cubic_coeff_a": .float(-0.75),
            "coordinate_transformation_mode": .text("half_pixel"),
          ]))
    case .sample(let factor, let groups): setSample(index, node, factor: factor, groups: groups)
    case .average:
      set(index, .channelsFirst, add("GlobalAveragePool", [first(.channelsFirst, &self)]))
    case .largest(let side, let step):
      set(
        index, .channelsFirst,
        add(
          "MaxPool", [first(.channelsFirst, &self)],
          ["kernel_shape": .integers([side, side]), "strides": .integers([step, step])]))
    case .largestInGrid: setLargestInGrid(index, node)
    case .normalizePixels(let scale, let offset, let epsilon):
      set(
        index, .channelsLast,
        add(
          "LayerNormalization",
          [
            first(.channelsLast, &self), try parameter(scale, [node.channels]),
            try parameter(offset, [node.channels]),
          ], ["axis": .integer(-1), "epsilon": .float(epsilon)]))
    case .normalizeChannels(let norm):
      var tensors = [first(.channelsFirst, &self)]
      for part in [norm.scale, norm.offset, norm.mean, norm.variance] {
        tensors.append(try parameter(part, [node.channels]))
      }
      set(
        index, .channelsFirst,
        add("BatchNormalization", tensors, ["epsilon": .float(norm.epsilon)]))
    case .normalizeGroups(let groups, let scale, let offset, let epsilon):
      let x = first(.channelsFirst, &self)
      let rows = add("Reshape", [x, integers([1, groups, -1])])
      let normalized = add(
        "InstanceNormalization",
        [
          rows, floats([Float](repeating: 1, count: groups), [groups]),
          floats([Float](repeating: 0, count: groups), [groups]),
        ], ["epsilon": .float(epsilon)])
      let image = add("Reshape", [normalized, add("Shape", [x])])
      let scaled = add("Mul", [image, try parameter(scale, [node.channels, 1, 1])])
      set(
        index, .channelsFirst,
        add("Add", [scaled, try parameter(offset, [node.channels, 1, 1])]))
    }
  }

  private mutating func setConvolution(
    _ index: Int, _ input: String, _ shape: ConvolutionShape, _ groups: Int,
    _ weight: GraphParameter, _ bias: GraphParameter?
  ) throws {
    var x = input
    var (down, right) = shape.padding
    if shape.mode != .zeros, down + right > 0 {
      x = add(
        "Pad", [x, integers([0, 0, down, right, 0, 0, down, right])],
        ["mode": .text(shape.mode == .reflect ? "reflect" : "edge")])
      (down, right) = (0, 0)
    }
    let kernel = [shape.kernel.height, shape.kernel.width]
    var tensors = [x, try parameter(weight, [shape.outputs * groups, shape.inputs] + kernel)]
    if let bias { tensors.append(try parameter(bias, [shape.outputs * groups])) }
    set(
      index, .channelsFirst,
      add(
        "Conv", tensors,
        [
          "kernel_shape": .integers(kernel), "strides": .integers([shape.step, shape.step]),
          "dilations": .integers([shape.dilation, shape.dilation]),
          "pads": .integers([down, right, down, right]), "group": .integer(groups),
        ]))
  }

  private mutating func setFunction(_ index: Int, _ input: Int, _ function: ElementFunction) {
    let order = order(input)
    let x = value(input, order)
    let result: String
    switch function {
    case .relu: result = add("Relu", [x])
    case .leakyReLU(let slope): result = add("LeakyRelu", [x], ["alpha": .float(slope)])
    case .gelu:
      // x · (1 + erf(x / √2)) / 2, which runtimes know as one operator.
      let error = add("Erf", [add("Div", [x, floats([Float(2).squareRoot()], [])])])
      let share = add("Mul", [x, add("Add", [error, floats([1], [])])])
      result = add("Mul", [share, floats([0.5], [])])
    case .sigmoid: result = add("Sigmoid", [x])
    case .silu: result = add("Mul", [x, add("Sigmoid", [x])])
    case .mish:
      requireOperatorSet(Self.operatorSetOfMish)
      result = add("Mish", [x])
    case .tanh: result = add("Tanh", [x])
    case .offset(let offset): result = add("Add", [x, floats([offset], [])])
    }
    set(index, order, result)
  }

  /// Resizes an image, channels first, to the size of another node's result.
  private mutating func resized(
    _ x: String, toSizeOf other: Int, _ attributes: [String: ONNXGraph.Attribute]
  ) -> String {
    let begin = add("Shape", [x], ["end": .integer(2)])
    let size = imageSize(other)
    return add(
      "Resize", [x, "", "", add("Concat", [begin, size], ["axis": .integer(0)])], attributes)
  }

  /// Returns the height and the width of another node's result.
  private mutating func imageSize(_ other: Int) -> String {
    if let size = sizes?[other] { return integers([size.height, size.width]) }
    return add("Shape", [value(other, .channelsFirst)], ["start": .integer(2)])
  }

  private mutating func setMove(_ index: Int, _ node: NetworkGraph.Node, _ move: PixelMove) {
    let input = node.inputs[0].node
    let nearest: [String: ONNXGraph.Attribute] = [
      "mode": .text("nearest"), "coordinate_transformation_mode": .text("asymmetric"),
      "nearest_mode": .text("floor"),
    ]
    if case .nearest(let factor) = move {
      let scales = floats([1, 1, Float(factor), Float(factor)], [4])
      set(
        index, .channelsFirst,
        add("Resize", [value(input, .channelsFirst), "", scales], nearest))
      return
    }
    if case .nearestTo = move {
      set(
        index, .channelsFirst,
        resized(value(input, .channelsFirst), toSizeOf: node.inputs[1].node, nearest))
      return
    }
    let order = order(input)
    let axes = order == .channelsFirst ? (2, 3) : (1, 2)
    /// Cuts a part out.
    func cut(_ first: Int, _ ends: String, _ network: inout ONNXNetwork) {
      network.set(
        index, order,
        network.add(
          "Slice",
          [
            network.value(input, order), network.integers([first, first]), ends,
            network.integers([axes.0, axes.1]),
          ]))
    }
    if case .trim(let before, let after) = move {
      // Beyond the end is as far as it.
      let end = after > 0 ? -after : Int(Int32.max)
      return cut(before, integers([end, end]), &self)
    }
    if case .crop(let first) = move {
      let size = imageSize(node.inputs[1].node)
      return cut(first, first > 0 ? add("Add", [size, integers([first])]) : size, &self)
    }
    guard let sizes else { preconditionFailure("the size is known") }
    let (from, to) = (sizes[input], sizes[index])
    func sources(_ count: Int, _ side: Int) -> [Int] {
      (0..<count).map { move.source($0, of: count, side: side) }
    }
    var x = value(input, order)
    x = add(
      "Gather", [x, integers(sources(to.height, from.height))], ["axis": .integer(axes.0)])
    x = add("Gather", [x, integers(sources(to.width, from.width))], ["axis": .integer(axes.1)])
    set(index, order, x)
  }

  private mutating func setSample(
    _ index: Int, _ node: NetworkGraph.Node, factor: Int, groups: Int
  ) {
    guard let sizes else { preconditionFailure("the size is known") }
    let (image, size) = (sizes[node.inputs[0].node], sizes[index])
    let offsets = add(
      "DepthToSpace", [value(node.inputs[1].node, .channelsFirst)],
      ["blocksize": .integer(factor), "mode": .text("CRD")])
    // To the right, then down; each group is an image of its own.
    let places = add(
      "Transpose", [add("Reshape", [offsets, integers([2, groups, size.height, size.width])])],
      ["perm": .integers([1, 2, 3, 0])])
    var (starts, factors) = ([Float](), [Float]())
    for row in 0..<size.height {
      for column in 0..<size.width {
        // ONNX counts from −1 at one edge of the image to 1 at the other.
        starts.append(2 * (Float(column / factor) + 0.5) / Float(image.width) - 1)
        starts.append(2 * (Float(row / factor) + 0.5) / Float(image.height) - 1)
      }
    }
    factors = [2 / Float(image.width), 2 / Float(image.height)]
    let grid = add(
      "Add",
      [
        add("Mul", [places, floats(factors, [2])]),
        floats(starts, [1, size.height, size.width, 2]),
      ])
    let parts = add(
      "Reshape",
      [
        value(node.inputs[0].node, .channelsFirst),
        integers([groups, node.channels / groups, image.height, image.width]),
      ])
    let sampled = add(
      "GridSample", [parts, grid],
      [
        // Its name since version 20.
        "mode": .text(operatorSet >= 20 ? "linear" : "bilinear"), "padding_mode": .text("border"),
        "align_corners": .integer(0),
      ])
    set(
      index, .channelsFirst,
      add("Reshape", [sampled, integers([1, node.channels, size.height, size.width])]))
  }

  private mutating func setLargestInGrid(_ index: Int, _ node: NetworkGraph.Node) {
    guard let sizes else { preconditionFailure("the size is known") }
    let (from, to) = (sizes[node.inputs[0].node], sizes[index])
    var x = value(node.inputs[0].node, .channelsFirst)
    // ONNX pools cells of one size: the last pixel of smaller ones comes several times.
    for (axis, side, count) in [(2, from.height, to.height), (3, from.width, to.width)] {
      let cells = (0..<count).map { GraphInference.Kernel.cell($0, of: count, over: side) }
      let length = cells.map(\.count).max() ?? 1
      let pixels = cells.flatMap { cell in
        (0..<length).map { min(cell.lowerBound + $0, cell.upperBound - 1) }
      }
      x = add("Gather", [x, integers(pixels)], ["axis": .integer(axis)])
      let kernel = axis == 2 ? [length, 1] : [1, length]
      x = add(
        "MaxPool", [x], ["kernel_shape": .integers(kernel), "strides": .integers(kernel)])
    }
    set(index, .channelsFirst, x)
  }
}
