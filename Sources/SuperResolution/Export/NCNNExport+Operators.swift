import Formats
import Storage

/// The layers of a graph's operators.
extension NCNNExport {
  private func refusal(_ what: String) -> ModelError {
    ModelError.unsupported("\(what) of this network cannot be written for ncnn").offering(.onnx)
  }

  mutating func translate(_ index: Int, _ node: NetworkGraph.Node) throws {
    let inputs = node.inputs.map { blobs[$0.node] }
    switch node.operation {
    case .input: preconditionFailure("the image is there")
    case .constant(let parameter):
      guard parameter.shape.dropLast().allSatisfy({ $0 == 1 }) else { throw refusal("attention") }
      let count = node.channels
      blobs[index] = add(
        "MemoryData", layerName(parameter), [],
        [0: .integer(1), 1: .integer(1), 2: .integer(count)])
      append(parameter, count: count)
    case .convolution(let shape, let groups, let weight, let bias, let site):
      try setConvolution(index, inputs[0], shape, groups, weight, bias, site)
    case .linear(let weight, let bias, let site):
      let shape = ConvolutionShape(
        outputs: weight.shape[0], inputs: weight.shape[1], kernel: (1, 1))
      try setConvolution(index, inputs[0], shape, 1, weight, bias, site)
    case .function(let function): setFunction(index, node.inputs[0].node, function)
    case .parametricReLU(let slopes):
      blobs[index] = add("PReLU", layerName(slopes), inputs, [0: .integer(slopes.shape[0])])
      append(slopes, count: slopes.shape[0])
    case .scale(let factor):
      blobs[index] = add(
        "BinaryOp", nil, inputs, [0: .integer(2), 1: .integer(1), 2: .real(factor)])
    case .addChannels(let offsets):
      blobs[index] = add("Bias", layerName(offsets), inputs, [0: .integer(node.channels)])
      append(offsets, count: node.channels)
    case .add: blobs[index] = add("BinaryOp", nil, inputs, [0: .integer(0)])
    case .multiply: blobs[index] = add("BinaryOp", nil, inputs, [0: .integer(2)])
    case .concatenate: blobs[index] = add("Concat", nil, inputs)
    case .channels(let range):
      blobs[index] = add(
        "Crop", nil, inputs,
        [
          9: .integers([range.lowerBound]), 10: .integers([range.upperBound]), 11: .integers([0]),
        ])
    case .repeatChannels(let count):
      let (channels, total) = (node.channels / count, node.channels)
      blobs[index] = add(
        "ConvolutionDepthWise", nil, inputs,
        [0: .integer(total), 1: .integer(1), 6: .integer(total), 7: .integer(channels)])
      weights.append(
        .init(tagged: "ones", count: total, isHalf: false) {
          [Float](repeating: 1, count: total)
        })
    case .pixelShuffle(let factor):
      blobs[index] = add("PixelShuffle", nil, inputs, [0: .integer(factor)])
    case .pixelUnshuffle(let factor):
      blobs[index] = add("Reorg", nil, inputs, [0: .integer(factor)])
    case .bilinear: setResized(index, node, kind: 2)
    case .bicubic(let ratio):
      blobs[index] = add(
        "Interp", nil, inputs, [0: .integer(3), 1: .real(ratio.factor), 2: .real(ratio.factor)])
    case .move(let move): try setMove(index, node, move)
    case .average:
      blobs[index] = add("Pooling", nil, inputs, [0: .integer(1), 4: .integer(1)])
    case .largest(let side, let step):
      blobs[index] = add(
        "Pooling", nil, inputs, [1: .integer(side), 2: .integer(step), 5: .integer(1)])
    case .largestInGrid:
      guard let sizes else {
        throw ModelError(
          "pooling to a grid in this network depends on the size of images, which --size gives, in "
            + "whole cells")
      }
      blobs[index] = add(
        "Pooling", nil, inputs,
        [7: .integer(1), 8: .integer(sizes[index].width), 18: .integer(sizes[index].height)])
    case .normalizePixels(let scale, let offset, let epsilon):
      let rows = add("Permute", nil, inputs, [0: .integer(3)])
      let normalized = add(
        "LayerNorm", layerName(scale), [rows], [0: .integer(node.channels), 1: .real(epsilon)])
      for part in [scale, offset] { append(part, count: node.channels) }
      blobs[index] = add("Permute", nil, [normalized], [0: .integer(4)])
    case .normalizeChannels(let norm):
      blobs[index] = add(
        "BatchNorm", layerName(norm.scale), inputs,
        [0: .integer(node.channels), 1: .real(norm.epsilon)])
      for part in [norm.scale, norm.mean, norm.variance, norm.offset] {
        append(part, count: node.channels)
      }
    case .normalizeGroups(let groups, let scale, let offset, let epsilon):
      blobs[index] = add(
        "GroupNorm", layerName(scale), inputs,
        [0: .integer(groups), 1: .integer(node.channels), 2: .real(epsilon)])
      for part in [scale, offset] { append(part, count: node.channels) }
    case .windowAttention, .overlapAttention, .channelAttention, .correlation, .normalizeHeads,
      .offsets:
      throw refusal("attention")
    case .addPositions: throw refusal("the position embedding")
    case .sample: throw refusal("dynamic upsampling")
    case .mergePixels: throw refusal("merging pixels")
    }
  }

  private mutating func setConvolution(
    _ index: Int, _ input: String, _ shape: ConvolutionShape, _ groups: Int,
    _ weight: GraphParameter, _ bias: GraphParameter?, _ site: Int?
  ) throws {
    var x = input
    var (down, right) = shape.padding
    if shape.mode != .zeros, down + right > 0 {
      x = add(
        "Padding", nil, [x],
        [
          0: .integer(down), 1: .integer(down), 2: .integer(right), 3: .integer(right),
          4: .integer(shape.mode == .replicate ? 1 : 2),
        ])
      (down, right) = (0, 0)
    }
    let outputs = shape.outputs * groups
    if shape.isPixelwise, groups == 1, isPixel[graph.nodes[index].inputs[0].node] {
      layerOfNode[index] = description.layers.count
      blobs[index] = add(
        "InnerProduct", layerName(weight), [x],
        [
          0: .integer(outputs), 1: .integer(bias == nil ? 0 : 1),
          2: .integer(weight.shape.reduce(1, *)),
        ])
      try append(tagged: weight)
      if let bias { append(bias, count: outputs) }
      return
    }
    var parameters: Parameters = [
      0: .integer(outputs), 1: .integer(shape.kernel.width), 6: .integer(weight.shape.reduce(1, *)),
    ]
    func set(_ key: Int, _ value: Int, unless standard: Int) {
      if value != standard { parameters[key] = .integer(value) }
    }
    set(11, shape.kernel.height, unless: shape.kernel.width)
    set(2, shape.dilation, unless: 1)
    set(3, shape.step, unless: 1)
    set(4, right, unless: 0)
    set(14, down, unless: right)
    set(5, bias == nil ? 0 : 1, unless: 0)
    if groups > 1 { set(7, groups, unless: 1) }
    let bound = precision == .int8 && groups == 1 ? inputBound(site) : nil
    if bound != nil { parameters[8] = .integer(1) }
    layerOfNode[index] = description.layers.count
    blobs[index] = add(
      groups > 1 ? "ConvolutionDepthWise" : "Convolution", layerName(weight), [x], parameters)
    guard let bound else {
      try append(tagged: weight)
      if let bias { append(bias, count: outputs) }
      return
    }
    let scales = try append(codes: weight, outputs: outputs)
    if let bias { append(bias, count: outputs) }
    weights.append(.init("scales", count: outputs) { scales })
    weights.append(.init("scale", count: 1) { [127 / bound] })
    integerLayerCount += 1
    if let site { roundedSites.insert(site) }
  }

  /// The largest magnitude that the quantizer of an input keeps; `nil` where it follows the values, or
  /// there is none.
  private func inputBound(_ site: Int?) -> Float? {
    guard let site, let quantizer = quantizers[site], quantizer.scaling == .tensor else {
      return nil
    }
    let bound = max(abs(quantizer.lower), abs(quantizer.upper))
    return bound > 0 ? bound : nil
  }

  private mutating func setFunction(_ index: Int, _ input: Int, _ function: ElementFunction) {
    // A convolution applies some of them itself.
    if let layer = layerOfNode[input], consumers[input] == [index],
      let fused = Self.activation(function)
    {
      description.layers[layer].parameters.merge(fused) { $1 }
      blobs[index] = blobs[input]
      return
    }
    let x = [blobs[input]]
    blobs[index] =
      switch function {
      case .relu: add("ReLU", nil, x)
      case .leakyReLU(let slope): add("ReLU", nil, x, [0: .real(slope)])
      case .gelu: add("GELU", nil, x)
      case .sigmoid: add("Sigmoid", nil, x)
      case .silu: add("Swish", nil, x)
      case .mish: add("Mish", nil, x)
      case .tanh: add("TanH", nil, x)
      case .offset(let offset):
        add("BinaryOp", nil, x, [0: .integer(0), 1: .integer(1), 2: .real(offset)])
      }
  }

  /// The parameters with which a convolution applies a function; `nil` where it cannot.
  private static func activation(_ function: ElementFunction) -> Parameters? {
    switch function {
    case .relu: [9: .integer(1)]
    case .leakyReLU(let slope): [9: .integer(2), 10: .reals([slope])]
    case .sigmoid: [9: .integer(4)]
    case .mish: [9: .integer(5)]
    case .gelu, .silu, .tanh, .offset: nil
    }
  }

  /// Resizes to the size of the second input.
  private mutating func setResized(_ index: Int, _ node: NetworkGraph.Node, kind: Int) {
    blobs[index] = add(
      "Interp", nil, node.inputs.map { blobs[$0.node] }, [0: .integer(kind), 5: .integer(1)])
  }

  private mutating func setMove(
    _ index: Int, _ node: NetworkGraph.Node, _ move: PixelMove
  ) throws {
    let inputs = node.inputs.map { blobs[$0.node] }
    switch move {
    case .nearest(let factor):
      blobs[index] = add(
        "Interp", nil, inputs, [0: .integer(1), 1: .real(Float(factor)), 2: .real(Float(factor))])
    case .nearestTo: setResized(index, node, kind: 1)
    case .crop(let first):
      blobs[index] = add("Crop", nil, inputs, [0: .integer(first), 1: .integer(first)])
    case .trim(let before, let after):
      let end = after > 0 ? -after : Int(Int32.max)
      blobs[index] = add(
        "Crop", nil, inputs,
        [9: .integers([before, before]), 10: .integers([end, end]), 11: .integers([1, 2])])
    case .interleave, .deinterleave, .mirror, .neighbours: throw refusal("the order of pixels")
    }
  }
}
