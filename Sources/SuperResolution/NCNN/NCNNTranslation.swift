import Formats
import Storage

/// Turns ncnn's layers into operators of a graph.
///
/// Source of the layers and their parameters: ncnn's `operators.md`.
struct NCNNTranslation {
  typealias Value = NetworkGraph.Value
  typealias Layer = NCNNDescription.Layer

  /// What a layer makes.
  enum Blob {
    case features(Value)
    /// Features around which the next convolution adds pixels.
    case padded(Value, (height: Int, width: Int), ConvolutionShape.Padding)
    /// Features whose channels come last.
    case rows(Value)
    /// One number for each channel.
    case constant(GraphParameter)
  }

  var blobs: [String: Blob] = [:]
  /// The blobs that a layer takes.
  private var used: Set<String> = []
  private let description: NCNNDescription
  /// The channels of images.
  let channelCount: Int

  init(_ description: NCNNDescription, _ build: inout NetworkBuilder) throws {
    self.description = description
    let inputs = description.layers.filter { $0.type == "Input" }
    guard inputs.count == 1 else {
      throw ModelError.unsupported("the network has \(counted(inputs.count, "input")), not one")
    }
    channelCount = try Self.channelCount(description, inputs[0], build)
  }

  /// Returns the channels of the image: those of the input, or of the first convolution.
  private static func channelCount(
    _ description: NCNNDescription, _ input: Layer, _ build: NetworkBuilder
  ) throws -> Int {
    let given = try input.count(2)
    if given > 0 { return given }
    var area = 1
    for layer in description.layers {
      if layer.type == "Reorg" { area *= try layer.count(0) * layer.count(0) }
      if layer.type == "Convolution" {
        let inputs = try build.dimensions(of: "\(layer.name).weight", rank: 4)[1]
        return area > 0 ? inputs / area : 0
      }
    }
    throw ModelError.unsupported("no convolution tells how many channels images have")
  }

  /// Returns the only result that no layer takes.
  func output() throws -> Value {
    let open = description.layers.flatMap(\.outputs).filter { !used.contains($0) }
    guard open.count == 1, case .features(let value)? = blobs[open[0]] else {
      throw ModelError.unsupported("the network has \(counted(open.count, "result")), not one")
    }
    return value
  }

  func refusal(_ layer: Layer, _ detail: String = "") -> ModelError {
    ModelError.unsupported(
      "the ncnn layer '\(layer.name)' of the type \(layer.type)"
        + (detail.isEmpty ? "" : " with \(detail)") + " cannot be run")
  }

  // MARK: Blobs

  func blob(_ layer: Layer, _ index: Int) throws -> Blob {
    guard layer.inputs.indices.contains(index), let blob = blobs[layer.inputs[index]] else {
      throw refusal(layer, "\(counted(layer.inputs.count, "input"))")
    }
    return blob
  }

  func value(_ layer: Layer, _ index: Int = 0) throws -> Value {
    guard case .features(let value) = try blob(layer, index) else {
      throw refusal(layer, "the input '\(layer.inputs[index])'")
    }
    return value
  }

  func values(_ layer: Layer) throws -> [Value] {
    try layer.inputs.indices.map { try value(layer, $0) }
  }

  /// - Throws: `ModelError` unless a parameter has its usual value.
  func require(_ layer: Layer, _ key: Int, _ expected: Int = 0, _ what: String) throws {
    let found = try layer.integer(key, default: expected)
    guard found == expected else { throw refusal(layer, "\(what) \(found)") }
  }

  /// Returns two parameters, of which the second has the value of the first by default and must have it.
  func both(
    _ layer: Layer, _ first: Int, _ second: Int, default standard: Int, _ what: String
  ) throws -> Int {
    let value = try layer.count(first, default: standard)
    try require(layer, second, value, what)
    return value
  }

  // MARK: Layers

  /// Adds the operators of a layer, all of whose inputs are there.
  ///
  /// - Throws: `ModelError` for what has no operator here, `WeightMismatch` for weights that do not
  ///   fit.
  mutating func translate(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    used.formUnion(layer.inputs)
    let isSource = ["Input", "MemoryData"].contains(layer.type)
    guard !layer.outputs.isEmpty, layer.inputs.isEmpty == isSource else {
      throw refusal(layer, "\(counted(layer.inputs.count, "input"))")
    }
    try add(layer, &build)
    for case .features(let value)? in layer.outputs.map({ blobs[$0] })
    where value.channels > Self.mostChannels {
      throw refusal(layer, "\(value.channels) channels")
    }
  }

  /// The most channels of a result: of more, even a single pixel is no image's features.
  private static let mostChannels = 1 << 20

  private mutating func add(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    switch layer.type {
    case "Input": set(layer, build.image(channels: channelCount))
    case "Split", "Noop", "Dropout":
      let blob = try blob(layer, 0)
      for name in layer.outputs { blobs[name] = blob }
    case "MemoryData":
      let shape = try [2, 11, 1, 0].map { try layer.count($0) }.filter { $0 > 0 }
      guard shape.dropFirst().allSatisfy({ $0 == 1 }), let count = shape.first else {
        throw refusal(layer, "the shape \(shape)")
      }
      _ = try build.parameter("\(layer.name).data", shape)
      blobs[layer.outputs[0]] = .constant(
        GraphParameter("\(layer.name).data", shape: [count], inFile: shape))
    case "Convolution", "ConvolutionDepthWise": try setConvolution(layer, &build)
    case "Deconvolution": try setTransposed(layer, &build)
    case "InnerProduct":
      let x = try build.matrix(value(layer), layer.name, hasBias: layer.count(1) > 0)
      set(layer, try activated(x, layer, &build))
    case "Padding": try setPadding(layer)
    case "Permute": try setOrder(layer)
    case "Slice": try setSlices(layer, &build)
    case "Crop": try setCrop(layer, &build)
    case "BinaryOp": try setBinary(layer, &build)
    default: try setOthers(layer, &build)
    }
  }

  mutating func set(_ layer: Layer, _ value: Value) {
    for name in layer.outputs { blobs[name] = .features(value) }
  }

  private mutating func setOthers(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    switch layer.type {
    case "PReLU": set(layer, try build.parametricReLU(value(layer), layer.name))
    case "ReLU":
      let slope = try layer.real(0)
      set(layer, build.apply(slope == 0 ? .relu : .leakyReLU(slope: slope), to: try value(layer)))
    case "GELU":
      try require(layer, 0, 0, "the approximation")
      set(layer, build.apply(.gelu, to: try value(layer)))
    case "Sigmoid": set(layer, build.apply(.sigmoid, to: try value(layer)))
    case "Swish": set(layer, build.apply(.silu, to: try value(layer)))
    case "Mish": set(layer, build.apply(.mish, to: try value(layer)))
    case "TanH": set(layer, build.apply(.tanh, to: try value(layer)))
    case "Concat":
      try require(layer, 0, 0, "the axis")
      set(layer, build.concatenate(try values(layer)))
    case "Bias":
      let x = try value(layer)
      set(layer, build.addChannels(x, try build.parameter("\(layer.name).bias", [x.channels])))
    case "Eltwise": try setSum(layer, &build)
    case "Scale": try setScale(layer, &build)
    case "BatchNorm":
      let (x, name) = (try value(layer), layer.name)
      func part(_ suffix: String) throws -> GraphParameter {
        try build.parameter("\(name).\(suffix)", [x.channels])
      }
      let norm = BatchNormalization(
        scale: try part("weight"), offset: try part("bias"), mean: try part("running_mean"),
        variance: try part("running_var"), epsilon: try layer.real(1))
      set(layer, build.add(.normalizeChannels(norm), [x], channels: x.channels))
    case "GroupNorm":
      try require(layer, 3, 1, "the kind")
      let groups = try layer.count(0, default: 1)
      guard groups > 0 else { throw refusal(layer, "0 groups") }
      set(
        layer,
        try build.normalizeGroups(
          value(layer), layer.name, groups: groups, epsilon: layer.real(2, default: 0.001)))
    case "LayerNorm":
      guard case .rows(let x) = try blob(layer, 0), try layer.count(0) == x.channels else {
        throw refusal(layer, "an order of axes in which pixels are not rows")
      }
      try require(layer, 2, 1, "the kind")
      blobs[layer.outputs[0]] = .rows(
        try build.normalizePixels(x, layer.name, epsilon: layer.real(1, default: 0.001)))
    case "PixelShuffle":
      try require(layer, 1, 0, "the order")
      set(layer, build.pixelShuffle(try value(layer), try factor(layer)))
    case "Reorg":
      try require(layer, 1, 0, "the order")
      set(layer, build.pixelUnshuffle(try value(layer), try factor(layer)))
    case "Interp": try setResized(layer, &build)
    case "Pooling": try setPooled(layer, &build)
    case "UnaryOp":
      try require(layer, 0, 1, "the function")
      set(layer, build.scale(try value(layer), by: -1))
    default: throw refusal(layer)
    }
  }

  private func factor(_ layer: Layer) throws -> Int {
    let factor = try layer.count(0, default: 1)
    guard (1...16).contains(factor) else { throw refusal(layer, "the factor \(factor)") }
    return factor
  }

  // MARK: Arithmetic

  /// Multiplies by a number for each channel.
  private func scaled(
    _ x: Value, by factors: GraphParameter, _ build: inout NetworkBuilder
  ) -> Value {
    build.multiply(x, build.constant(factors, channels: factors.shape[0]))
  }

  private mutating func setScale(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    let x = try value(layer)
    if try layer.integer(0) == -233 {
      set(layer, build.multiply(x, try value(layer, 1)))
      return
    }
    let factors = try build.parameter("\(layer.name).weight", [x.channels])
    var made = scaled(x, by: factors, &build)
    if try layer.count(1) > 0 {
      made = build.addChannels(made, try build.parameter("\(layer.name).bias", [x.channels]))
    }
    set(layer, made)
  }

  private mutating func setSum(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    let (parts, factors) = (try values(layer), try layer.list(1))
    guard let first = parts.first, factors.isEmpty || factors.count == parts.count else {
      throw refusal(layer, counted(factors.count, "factor"))
    }
    switch try layer.integer(0) {
    case 0: set(layer, parts.dropFirst().reduce(first) { build.multiply($0, $1) })
    case 1:
      let terms = parts.enumerated().map { index, part in
        factors.isEmpty || factors[index] == 1 ? part : build.scale(part, by: factors[index])
      }
      set(layer, terms.dropFirst().reduce(terms[0]) { build.add($0, $1) })
    case let kind: throw refusal(layer, "the kind \(kind)")
    }
  }

  private mutating func setBinary(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    let kind = try layer.integer(0)
    if try layer.count(1) > 0 {
      let (x, number) = (try value(layer), try layer.real(2))
      switch kind {
      case 0: set(layer, build.apply(.offset(number), to: x))
      case 1: set(layer, build.apply(.offset(-number), to: x))
      case 2: set(layer, build.scale(x, by: number))
      case 3 where number != 0: set(layer, build.scale(x, by: 1 / number))
      case 7: set(layer, build.apply(.offset(number), to: build.scale(x, by: -1)))
      default: throw refusal(layer, "the operation \(kind)")
      }
      return
    }
    switch (kind, try blob(layer, 0), try blob(layer, 1)) {
    case (0, .features(let x), .features(let y)): set(layer, build.add(x, y))
    case (1, .features(let x), .features(let y)):
      set(layer, build.add(x, build.scale(y, by: -1)))
    case (7, .features(let x), .features(let y)):
      set(layer, build.add(build.scale(x, by: -1), y))
    case (2, .features(let x), .features(let y)): set(layer, build.multiply(x, y))
    case (0, .features(let x), .constant(let y)), (0, .constant(let y), .features(let x)):
      set(layer, build.addChannels(x, y))
    case (1, .features(let x), .constant(let y)):
      set(layer, build.addChannels(x, y.scaled(by: -1)))
    case (2, .features(let x), .constant(let y)), (2, .constant(let y), .features(let x)):
      set(layer, scaled(x, by: y, &build))
    default: throw refusal(layer, "the operation \(kind)")
    }
  }
}
