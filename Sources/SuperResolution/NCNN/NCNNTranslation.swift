import Formats
import Storage

/// Turns ncnn's layers into operators of a graph.
///
/// Source of the layers and their parameters: ncnn's `operators.md`.
struct NCNNTranslation {
  private typealias Value = NetworkGraph.Value
  private typealias Layer = NCNNDescription.Layer

  /// What a layer makes.
  private enum Blob {
    case features(Value)
    /// Features around which the next convolution adds pixels.
    case padded(Value, (height: Int, width: Int), ConvolutionShape.Padding)
    /// Features whose channels come last.
    case rows(Value)
    /// One number for each channel.
    case constant(GraphParameter)
  }

  private var blobs: [String: Blob] = [:]
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
  func output() throws -> NetworkGraph.Value {
    let open = description.layers.flatMap(\.outputs).filter { !used.contains($0) }
    guard open.count == 1, case .features(let value)? = blobs[open[0]] else {
      throw ModelError.unsupported("the network has \(counted(open.count, "result")), not one")
    }
    return value
  }

  private func refusal(_ layer: NCNNDescription.Layer, _ detail: String = "") -> ModelError {
    ModelError.unsupported(
      "the ncnn layer '\(layer.name)' of the type \(layer.type)"
        + (detail.isEmpty ? "" : " with \(detail)") + " cannot be run")
  }

  // MARK: Blobs

  private func blob(_ layer: Layer, _ index: Int) throws -> Blob {
    guard layer.inputs.indices.contains(index), let blob = blobs[layer.inputs[index]] else {
      throw refusal(layer, "\(counted(layer.inputs.count, "input"))")
    }
    return blob
  }

  private func value(_ layer: Layer, _ index: Int = 0) throws -> Value {
    guard case .features(let value) = try blob(layer, index) else {
      throw refusal(layer, "the input '\(layer.inputs[index])'")
    }
    return value
  }

  private func values(_ layer: Layer) throws -> [Value] {
    try layer.inputs.indices.map { try value(layer, $0) }
  }

  /// - Throws: `ModelError` unless a parameter has its usual value.
  private func require(_ layer: Layer, _ key: Int, _ expected: Int = 0, _ what: String) throws {
    let found = try layer.integer(key, default: expected)
    guard found == expected else { throw refusal(layer, "\(what) \(found)") }
  }

  /// Returns two parameters, of which the second has the value of the first by default and must have it.
  private func both(
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
  mutating func translate(_ layer: NCNNDescription.Layer, _ build: inout NetworkBuilder) throws {
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

  private mutating func set(_ layer: NCNNDescription.Layer, _ value: NetworkGraph.Value) {
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

  // MARK: Convolutions

  private func activated(
    _ x: Value, _ layer: Layer, _ build: inout NetworkBuilder
  ) throws -> Value {
    let parameters = try layer.list(10)
    switch try layer.integer(9) {
    case 0: return x
    case 1: return build.apply(.relu, to: x)
    case 2: return build.apply(.leakyReLU(slope: parameters.first ?? 0), to: x)
    case 4: return build.apply(.sigmoid, to: x)
    case 5: return build.apply(.mish, to: x)
    case let kind: throw refusal(layer, "the activation \(kind)")
    }
  }

  /// The padding of a convolution, equal on opposite sides.
  private func padding(_ layer: Layer) throws -> (height: Int, width: Int) {
    let width = try both(layer, 4, 15, default: 0, "padding at the right of")
    let height = try layer.count(14, default: width)
    try require(layer, 16, height, "padding below of")
    try checkPadding(layer, max(height, width))
    return (height, width)
  }

  /// - Throws: `ModelError` for more pixels than kernels have.
  private func checkPadding(_ layer: Layer, _ count: Int) throws {
    guard count <= ConvolutionShape.mostTaps else {
      throw refusal(layer, "padding by \(counted(count, "pixel"))")
    }
  }

  private mutating func setConvolution(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    var padding = try padding(layer)
    let x: Value
    var mode = ConvolutionShape.Padding.zeros
    switch try blob(layer, 0) {
    case .features(let value): x = value
    case .padded(let value, let around, let kind):
      guard padding == (0, 0) else { throw refusal(layer, "padding after padding") }
      (x, padding, mode) = (value, around, kind)
    case .rows, .constant: throw refusal(layer, "the input '\(layer.inputs[0])'")
    }
    guard try layer.real(18) == 0 else { throw refusal(layer, "padding by another number than 0") }
    try require(layer, 19, 0, "weights of another layer,")
    let step = try both(layer, 3, 13, default: 1, "a vertical step of")
    let dilation = try both(layer, 2, 12, default: 1, "a vertical dilation of")
    guard step > 0, dilation > 0 else { throw refusal(layer, "a step of 0") }
    let groups = try layer.type == "Convolution" ? 1 : layer.count(7, default: 1)
    guard groups > 0 else { throw refusal(layer, "0 groups") }
    let made = try build.convolution(
      x, layer.name, step: step, dilation: dilation, padding: padding, mode: mode, groups: groups,
      hasBias: layer.count(5) > 0)
    set(layer, try activated(made, layer, &build))
  }

  /// A transposed convolution, as a convolution that makes the pixels of each step as channels.
  ///
  /// With a step of s, row s·m + i of the result is the sum over a of row m − a of the input times row i +
  /// s·a of the kernel.
  private mutating func setTransposed(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    let dimensions = try build.dimensions(of: "\(layer.name).weight", rank: 4)
    let (x, outputs, kernel) = (try value(layer), dimensions[0], dimensions[2])
    let step = try both(layer, 3, 13, default: 1, "a vertical step of")
    let padding = try padding(layer)
    try require(layer, 2, 1, "a dilation of")
    for key in 18...21 { try require(layer, key, 0, "a size of the result of") }
    guard dimensions[3] == kernel, padding.height == padding.width, (1...8).contains(step),
      kernel >= step
    else { throw refusal(layer, "a kernel of \(kernel) × \(dimensions[3])") }
    let taps = (kernel + step - 1) / step
    let shape = [outputs, x.channels, kernel, kernel]
    _ = try build.parameter("\(layer.name).weight", shape)
    let area = step * step
    let weight = GraphParameter(
      shape: [outputs * area, x.channels, taps, taps], of: [("\(layer.name).weight", shape)]
    ) { tensors in
      Self.transposed(tensors[0], outputs, x.channels, kernel: kernel, step: step)
    }
    var bias: GraphParameter?
    if try layer.count(5) > 0 {
      _ = try build.parameter("\(layer.name).bias", [outputs])
      bias = GraphParameter(shape: [outputs * area], of: [("\(layer.name).bias", [outputs])]) {
        tensors in tensors[0].flatMap { [Float](repeating: $0, count: area) }
      }
    }
    var made = build.convolution(x, weight, bias, padding: (taps - 1, taps - 1))
    if step > 1 { made = build.pixelShuffle(made, step) }
    let after = padding.height + taps * step - kernel
    if padding.height + after > 0 {
      made = build.move(made, .trim(before: padding.height, after: after))
    }
    set(layer, try activated(made, layer, &build))
  }

  /// Returns the weight `[outputs · step², inputs, taps, taps]` of the convolution.
  private static func transposed(
    _ weight: [Float], _ outputs: Int, _ inputs: Int, kernel: Int, step: Int
  ) -> [Float] {
    let taps = (kernel + step - 1) / step
    /// The kernel's row for a row of the result and a tap; `nil` where there is none.
    func row(_ place: Int, _ tap: Int) -> Int? {
      let row = place + step * (taps - 1 - tap)
      return row < kernel ? row : nil
    }
    var result: [Float] = []
    result.reserveCapacity(outputs * step * step * inputs * taps * taps)
    for output in 0..<outputs {
      for (down, right) in product(step, step) {
        for input in 0..<inputs {
          let start = (output * inputs + input) * kernel
          for (tapDown, tapRight) in product(taps, taps) {
            if let above = row(down, tapDown), let left = row(right, tapRight) {
              result.append(weight[(start + above) * kernel + left])
            } else {
              result.append(0)
            }
          }
        }
      }
    }
    return result
  }

  private static func product(_ rows: Int, _ columns: Int) -> [(Int, Int)] {
    (0..<rows).flatMap { row in (0..<columns).map { (row, $0) } }
  }

  private mutating func setPadding(_ layer: Layer) throws {
    let sides = try [0, 1, 2, 3].map { try layer.count($0) }
    let kinds: [ConvolutionShape.Padding] = [.zeros, .replicate, .reflect]
    let kind = try layer.count(4)
    guard kinds.indices.contains(kind), sides[0] == sides[1], sides[2] == sides[3],
      try layer.real(5) == 0, try layer.count(6) == 0
    else { throw refusal(layer, "pixels \(sides) of the kind \(kind)") }
    for key in [7, 8] { try require(layer, key, 0, "channels added:") }
    try checkPadding(layer, sides.max() ?? 0)
    blobs[layer.outputs[0]] = .padded(try value(layer), (sides[0], sides[2]), kinds[kind])
  }

  // MARK: Places

  private mutating func setOrder(_ layer: Layer) throws {
    switch (try layer.integer(0), try blob(layer, 0)) {
    case (3, .features(let x)): blobs[layer.outputs[0]] = .rows(x)
    case (4, .rows(let x)): blobs[layer.outputs[0]] = .features(x)
    case (let order, _): throw refusal(layer, "the order \(order)")
    }
  }

  private mutating func setSlices(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    try require(layer, 1, 0, "the axis")
    let (x, slices) = (try value(layer), try layer.list(0))
    guard slices.count == layer.outputs.count else {
      throw refusal(layer, counted(slices.count, "slice"))
    }
    var start = 0
    for (index, slice) in slices.enumerated() {
      // Of this length, the rest is divided equally.
      let rest = (x.channels - start) / (slices.count - index)
      let count = slice == -233 ? rest : Int(exactly: slice) ?? 0
      guard count > 0, start + count <= x.channels else {
        throw refusal(layer, "slices of \(slices)")
      }
      blobs[layer.outputs[index]] = .features(build.channels(start..<start + count, of: x))
      start += count
    }
  }

  private mutating func setCrop(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    let x = try value(layer)
    if layer.inputs.count == 2 {
      let first = try both(layer, 0, 1, default: 0, "a vertical offset of")
      try require(layer, 2, 0, "a channel offset of")
      set(layer, build.move(x, .crop(from: first), toSizeOf: try value(layer, 1)))
      return
    }
    let (starts, ends, axes) = (try layer.list(9), try layer.list(10), try layer.list(11))
    guard let start = starts.first.flatMap(Int.init(exactly:)),
      let end = ends.first.flatMap(Int.init(exactly:)), start >= 0,
      Set(starts).count == 1, Set(ends).count == 1, starts.count == ends.count
    else { throw refusal(layer, "starts \(starts) and ends \(ends)") }
    // From here on, an end is that of the axis.
    let whole = Int(Int32.max) / 2
    switch axes {
    case [0], [-3]:
      let last = end > whole ? x.channels : end < 0 ? x.channels + end : end
      guard start < last, last <= x.channels else {
        throw refusal(layer, "channels from \(start) to \(end)")
      }
      set(layer, build.channels(start..<last, of: x))
    case [1, 2], [2, 1], [-2, -1], [-1, -2]:
      guard end < 0 || end > whole else { throw refusal(layer, "the end \(end)") }
      set(layer, build.move(x, .trim(before: start, after: end < 0 ? -end : 0)))
    default: throw refusal(layer, "the axes \(axes)")
    }
  }

  private mutating func setResized(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    let (x, kind) = (try value(layer), try layer.integer(0))
    for key in [3, 4] { try require(layer, key, 0, "a size of") }
    guard try layer.count(6) == 0 || kind == 1 else { throw refusal(layer, "aligned corners") }
    if layer.inputs.count == 2 {
      let other = try value(layer, 1)
      switch kind {
      case 1: set(layer, build.nearest(x, toSizeOf: other))
      case 2: set(layer, build.bilinear(x, toSizeOf: other))
      default: throw refusal(layer, "the kind \(kind)")
      }
      return
    }
    let factor = try layer.real(1, default: 1)
    guard try layer.real(2, default: 1) == factor, let ratio = PixelRatio(factor) else {
      throw refusal(layer, "the factor \(factor)")
    }
    switch (kind, ratio.from) {
    case (1, 1): set(layer, build.nearest(x, ratio.to))
    case (2, 1): set(layer, build.bilinear(x, toSizeOf: build.nearest(x, ratio.to)))
    case (3, _): set(layer, build.add(.bicubic(ratio), [x], channels: x.channels))
    default: throw refusal(layer, "the kind \(kind) and the factor \(factor)")
    }
  }

  private mutating func setPooled(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    let (x, isAverage) = (try value(layer), try layer.count(0) == 1)
    if try layer.count(4) > 0 {
      guard isAverage else { throw refusal(layer, "the largest value of an image") }
      set(layer, build.average(x))
      return
    }
    for key in [3, 13, 14, 15] { try require(layer, key, 0, "padding of") }
    if try layer.count(7) > 0 { throw refusal(layer, "a size of the result") }
    let side = try both(layer, 1, 11, default: 0, "a height of")
    let step = try both(layer, 2, 12, default: 1, "a vertical step of")
    guard side > 0, step > 0 else { throw refusal(layer, "a side of \(side)") }
    // Otherwise an incomplete square at an edge counts as well.
    guard try layer.count(5) == 1 else {
      throw refusal(layer, "incomplete squares")
    }
    set(
      layer,
      isAverage
        ? build.average(x, side: side, step: step) : build.largest(x, side: side, step: step))
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
