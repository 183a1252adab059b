import Formats
import Storage

/// A network as a graph of ONNX's operators.
///
/// The input `image` is `[1, channels, height, width]` with samples from 0 to 1, and so is the output
/// `upscaled`, which is not clipped. Tensors of the checkpoint keep their names, in float32.
struct ONNXNetwork {
  /// The order of a value's axes.
  enum Order: Hashable {
    /// `[1, channels, height, width]`.
    case channelsFirst
    /// `[1, height, width, channels]`.
    case channelsLast

    var axis: Int { self == .channelsFirst ? 1 : 3 }
  }

  /// The version of the operators: the first with layer normalization.
  static let operatorSet = 17
  /// The version with which Mish came.
  static let operatorSetOfMish = 18
  /// The version in which all reductions take their axes as an input.
  private static let operatorSetOfReductions = 18

  let graph: NetworkGraph
  let traits: NetworkTraits
  /// The sizes of all results, for images of one size; `nil` for images of any size.
  let sizes: [(height: Int, width: Int)]?
  /// The quantizer of each site.
  let quantizers: [ActivationQuantizer?]
  var onnx = ONNXGraph()
  private(set) var operatorSet = Self.operatorSet
  private var weights: WeightReader
  /// The names of every node's result, by the order of its axes.
  private var values: [[Order: String]]
  /// Constants that are there already, by what they hold.
  private var constants: [Constant: String] = [:]
  /// The names of tensors in other shapes.
  private var reshaped: [Reshaped: String] = [:]
  private var valueCount = 0
  /// The bit widths of tensors that are codes.
  private(set) var bitWidths: [String: Int] = [:]
  /// The tensors of the checkpoint that are constants of their own, with their forms and bytes.
  private(set) var storedTensors: [String: StoredTensor] = [:]
  /// Those of which constants are made.
  private(set) var mergedTensors: Set<String> = []

  /// Translates a network.
  ///
  /// - Parameter size: that of images; `nil` for any.
  /// - Throws: `ModelError` when the network needs a size, or does not take this one, or a tensor cannot
  ///   be read.
  init(
    _ graph: NetworkGraph, _ traits: NetworkTraits, _ weights: WeightReader,
    size: (height: Int, width: Int)?
  ) throws {
    (self.graph, self.traits, self.weights) = (graph, traits, weights)
    let activations = weights.archive.activations
    quantizers = graph.sites.quantizers(among: activations)
    if !activations.isEmpty { operatorSet = Self.operatorSetOfReductions }
    for (name, tensor) in weights.archive.tensors {
      guard let quantized = try tensor.quantized?() else { continue }
      operatorSet = max(operatorSet, quantized.operatorSetInONNX)
      bitWidths[name] = quantized.bitWidth
    }
    values = Array(repeating: [:], count: graph.nodes.count)
    onnx.name = "network"
    if let size {
      let (height, width) = (traits.padded(size.height), traits.padded(size.width))
      guard let sizes = graph.sizes(height: height, width: width), traits.canPad(size.height),
        traits.canPad(size.width), graph.positionCount ?? height * width == height * width
      else {
        throw ModelError("the network does not take images of \(size.width)×\(size.height) pixels")
      }
      self.sizes = sizes
    } else {
      sizes = nil
      if let node = graph.nodes.first(where: { $0.operation.needsImageSize }) {
        throw ModelError(
          "\(node.operation.exportName) of this network depends on the size of images, which --size "
            + "gives")
      }
    }
    try translate(size)
  }

  // MARK: The image

  private mutating func translate(_ size: (height: Int, width: Int)?) throws {
    let (channels, scale) = (traits.range.mean.count, traits.scale)
    func dimensions(_ factor: Int, _ names: [String]) -> [ONNXGraph.Port.Dimension] {
      [.count(1), .count(channels)]
        + (size.map { [.count(factor * $0.height), .count(factor * $0.width)] }
          ?? names.map { .named($0) })
    }
    onnx.inputs = [
      .init(name: "image", type: .float, dimensions: dimensions(1, ["height", "width"]))
    ]
    var image = padded("image", size)
    let range = traits.range
    if range.mean.contains(where: { $0 != 0 }) {
      image = add("Sub", [image, floats(range.mean, [channels, 1, 1])])
    }
    if range.range != 1 { image = add("Mul", [image, floats([range.range], [])]) }
    for (index, node) in graph.nodes.enumerated() {
      if case .input = node.operation {
        values[index][.channelsFirst] = image
      } else {
        try translate(index, node)
      }
    }
    guard let output = graph.output else { preconditionFailure("a graph has an output") }
    var result = value(output.node, .channelsFirst)
    let outputRange = traits.outputRange ?? range
    if outputRange.range != 1 { result = add("Div", [result, floats([outputRange.range], [])]) }
    if outputRange.mean.contains(where: { $0 != 0 }) {
      result = add("Add", [result, floats(outputRange.mean, [channels, 1, 1])])
    }
    result = cropped(result, size)
    onnx.nodes.append(.init(operation: "Identity", inputs: [result], output: "upscaled"))
    onnx.outputs = [
      .init(
        name: "upscaled", type: .float,
        dimensions: dimensions(scale, ["upscaled_height", "upscaled_width"]))
    ]
  }

  /// Extends the image at its edges to what the network takes.
  private mutating func padded(_ image: String, _ size: (height: Int, width: Int)?) -> String {
    let (multiple, margin) = (traits.multiple, traits.margin)
    guard multiple > 1 || margin > 0 else { return image }
    let mode: [String: ONNXGraph.Attribute] =
      traits.padsWithZeros ? [:] : ["mode": .text("reflect")]
    guard let size else {
      // How many pixels lack to a multiple: −side modulo the multiple, which is not negative.
      let shape = add("Shape", [image], ["start": .integer(2)])
      var lacking = add("Mod", [add("Neg", [shape]), integers([multiple])])
      if margin > 0 { lacking = add("Add", [lacking, integers([margin])]) }
      let pads = add(
        "Concat", [integers([0, 0, margin, margin, 0, 0]), lacking], ["axis": .integer(0)])
      return add("Pad", [image, pads], mode)
    }
    let down = traits.padded(size.height) - size.height - margin
    let right = traits.padded(size.width) - size.width - margin
    guard down + right > 0 else { return image }
    return add("Pad", [image, integers([0, 0, margin, margin, 0, 0, down, right])], mode)
  }

  /// Takes away what was made of the padding.
  private mutating func cropped(_ result: String, _ size: (height: Int, width: Int)?) -> String {
    guard traits.multiple > 1 else { return result }
    let ends: String
    if let size {
      ends = integers([size.height * traits.scale, size.width * traits.scale])
    } else {
      let shape = add("Shape", ["image"], ["start": .integer(2)])
      ends = add("Mul", [shape, integers([traits.scale])])
    }
    return add("Slice", [result, integers([0, 0]), ends, integers([2, 3])])
  }

  // MARK: Values

  /// Adds a node, and returns the name of its result.
  mutating func add(
    _ operation: String, _ inputs: [String], _ attributes: [String: ONNXGraph.Attribute] = [:]
  ) -> String {
    valueCount += 1
    let name = "\(operation)_\(valueCount)"
    onnx.nodes.append(
      .init(operation: operation, inputs: inputs, output: name, attributes: attributes))
    return name
  }

  /// Gives a node of the network its result.
  mutating func set(_ node: Int, _ order: Order, _ name: String) { values[node][order] = name }

  /// Returns the result of a node with its axes in an order.
  mutating func value(_ node: Int, _ order: Order) -> String {
    if let found = values[node][order] { return found }
    let other: Order = order == .channelsFirst ? .channelsLast : .channelsFirst
    guard let source = values[node][other] else {
      preconditionFailure("a result is used after it is made")
    }
    let name = add(
      "Transpose", [source],
      ["perm": .integers(order == .channelsFirst ? [0, 3, 1, 2] : [0, 2, 3, 1])])
    values[node][order] = name
    return name
  }

  /// The order of axes in which a node's result was made.
  func order(_ node: Int) -> Order {
    values[node][.channelsFirst] == nil ? .channelsLast : .channelsFirst
  }

  /// The first version of ONNX Runtime with the operators.
  var runtimeVersion: String {
    switch operatorSet {
    case ...17: "1.13"
    case 18: "1.14"
    case ...21: "1.18"
    default: "1.25"
    }
  }

  mutating func requireOperatorSet(_ version: Int) { operatorSet = max(operatorSet, version) }

  // MARK: Constants

  private struct Constant: Hashable {
    let type: ONNXGraph.DataType
    let dimensions: [Int]
    let bytes: [UInt8]
  }

  private struct Reshaped: Hashable {
    let name: String
    let dimensions: [Int]
  }

  /// Returns the name of a constant, which is written once however often it is used.
  private mutating func constant<Element: BitwiseCopyable & Sendable>(
    _ type: ONNXGraph.DataType, _ dimensions: [Int], _ elements: [Element]
  ) -> String {
    let key = Constant(
      type: type, dimensions: dimensions, bytes: elements.withUnsafeBytes(Array.init))
    if let found = constants[key] { return found }
    let name = "constant_\(constants.count)"
    constants[key] = name
    onnx.initializers.append(.init(name, type, dimensions, elements))
    return name
  }

  mutating func floats(_ elements: [Float], _ dimensions: [Int]) -> String {
    constant(.float, dimensions, elements)
  }

  /// Returns one code.
  mutating func code(_ code: UInt8) -> String { constant(.uint8, [], [code]) }

  /// Returns integers in one dimension.
  mutating func integers(_ elements: [Int]) -> String {
    constant(.int64, [elements.count], elements.map(Int64.init))
  }

  /// Returns a parameter with the given dimensions, which have as many elements as its own.
  ///
  /// A tensor of the checkpoint keeps its name and its shape.
  ///
  /// - Throws: as `GraphParameter.values` does.
  mutating func parameter(_ parameter: GraphParameter, _ dimensions: [Int]) throws -> String {
    guard parameter.derivation == nil, let tensor = parameter.tensors.first else {
      mergedTensors.formUnion(parameter.tensors.map(\.name))
      return floats(try parameter.values(&weights), dimensions)
    }
    if storedTensors[tensor.name] == nil { try store(tensor.name, parameter) }
    let name = tensor.name
    guard dimensions != tensor.shape else { return name }
    let key = Reshaped(name: name, dimensions: dimensions)
    if let found = reshaped[key] { return found }
    let shaped = add("Reshape", [name, integers(dimensions)])
    reshaped[key] = shaped
    return shaped
  }

  /// Adds a tensor of the checkpoint: its elements, or what computes them from codes.
  private mutating func store(_ name: String, _ parameter: GraphParameter) throws {
    guard let load = weights.archive.tensors[name]?.quantized else {
      let shape = parameter.tensors[0].shape
      try weights.take(name, shape)
      let byteCount = 4 * shape.reduce(1, *)
      onnx.initializers.append(
        .init(name, .float, shape, byteCount: byteCount) { [weights] in
          var weights = weights
          return SharedBytes(elementsOf: try parameter.values(&weights))
        })
      storedTensors[name] = StoredTensor(
        form: ElementType.float32.rawValue, byteCount: byteCount)
      return
    }
    let tensor = try load()
    let (form, byteCount) = try locatingErrors(tensor: name) {
      try onnx.append(name, tensor, load: load)
    }
    storedTensors[name] = StoredTensor(form: form, byteCount: byteCount)
  }
}

extension GraphOperation {
  /// Whether the operator's translation depends on the size of the image.
  fileprivate var needsImageSize: Bool {
    switch self {
    case .windowAttention, .correlation, .overlapAttention, .largestInGrid, .sample, .addPositions:
      true
    case .channelAttention(let division, _, _, _): division != .count(1)
    case .move(.nearest), .move(.nearestTo), .move(.trim), .move(.crop): false
    case .move: true
    default: false
    }
  }

  /// What the operator is called in errors.
  fileprivate var exportName: String {
    switch self {
    case .windowAttention, .overlapAttention, .channelAttention, .correlation:
      "attention within windows"
    case .largestInGrid: "pooling to a grid"
    case .sample: "dynamic upsampling"
    case .addPositions: "the position embedding"
    default: "the order of pixels"
    }
  }
}
