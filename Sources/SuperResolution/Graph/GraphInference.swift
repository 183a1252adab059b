import CKernels
import Storage

/// A network of a graph, ready to run: its plan, and its weights in the kernels' order.
struct GraphInference: Sendable {
  private let plan: GraphPlan
  /// What runs each step, one per step of the plan.
  private var runners: [Runner]

  /// A step with its weights.
  struct Runner: Sendable {
    let kernel: Kernel
    /// The operator of the kernel, if it is that of a node.
    private let operation: GraphOperation?
    /// The input of a convolution of values, if it may be quantized.
    fileprivate(set) var input: ConvolutionInput?
    /// What quantizes the result, unless an observer sees the pass.
    fileprivate(set) var resultQuantizer: ck_quantizer?
    /// The result that a convolution adds to its own.
    let residual: Int?
    /// The operators that follow, each with the other result that it takes.
    let following: [(operator: Following, other: Int?)]
    let channels: Int

    init(
      _ step: GraphPlan.Step, _ plan: GraphPlan, _ weights: inout WeightReader,
      _ quantizers: [ck_quantizer?], _ layers: IntegerLayers
    ) throws {
      let graph = plan.graph
      var following: [(operator: Following, other: Int?)] = []
      for link in step.following {
        following.append((try Following(link, graph, &weights), link.other))
      }
      var residual: Int?
      switch step.kernel {
      case .copy:
        kernel = .copy
        operation = nil
      case .region(let region):
        kernel = .region(try GraphRegionRunner(region, graph, &weights, quantizers, layers))
        operation = nil
      case .bands(let chain):
        var stages: [Runner] = []
        for step in chain {
          stages.append(try Runner(step, plan, &weights, quantizers, layers))
        }
        kernel = .bands(GraphBands(stages))
        operation = nil
      case .node(let node):
        var operation = graph.nodes[node].operation
        var scale: Float = 1
        if case .scale(let factor)? = following.first?.operator, operation.absorb(factor) {
          following.removeFirst()
          scale = factor
        }
        self.operation = operation
        if case .convolution(let shape, _, _, _, let site?) = operation {
          if let filters = IntegerFilters(shape, factor: scale, site: site, layers) {
            kernel = .integers(filters)
          } else {
            kernel = try Kernel(operation, &weights, layers)
            input = ConvolutionInput(site: site, shape: shape)
          }
        } else {
          kernel = try Kernel(operation, &weights, layers)
        }
        residual = plan.residual(of: step)
        if residual != nil { following.removeFirst() }
      }
      self.following = following
      self.residual = residual
      channels = graph.nodes[step.result].channels
    }
  }

  /// Loads the weights, and finds results that can be codes, or quantized as they are made.
  ///
  /// - Parameters:
  ///   - quantizers: one per site; empty when no site is quantized.
  ///   - layers: those that multiply codes, whose weights are not read.
  /// - Throws: `WeightMismatch`, `ModelError` as `WeightReader.values` does.
  init(
    _ graph: NetworkGraph, _ weights: inout WeightReader, _ quantizers: [ck_quantizer?],
    _ layers: IntegerLayers
  ) throws {
    plan = GraphPlan(graph.foldingNormalizations)
    var runners: [Runner] = []
    for step in plan.steps {
      runners.append(try Runner(step, plan, &weights, quantizers, layers))
    }
    self.runners = runners
    guard !quantizers.isEmpty else { return }
    let consumers = plan.graph.consumers
    for index in runners.indices {
      quantizeResult(of: index, consumers[plan.steps[index].result], quantizers)
    }
  }

  /// Lets a step quantize its result if nothing but convolutions of values takes it, all with one
  /// quantizer.
  private mutating func quantizeResult(
    of index: Int, _ consumers: [Int], _ quantizers: [ck_quantizer?]
  ) {
    switch runners[index].kernel {
    case .region, .bands: return
    default: break
    }
    // What is copied into a concatenation is a part of the result.
    guard plan.steps[index].target == nil else { return }
    let result = plan.steps[index].result
    let takers = runners.indices.filter { taker in
      guard case .node(let node) = plan.steps[taker].kernel else { return false }
      return consumers.contains(node) && runners[taker].input != nil
        && plan.graph.nodes[node].inputs.map(\.node) == [result]
    }
    let found = takers.compactMap { taker in
      runners[taker].input.flatMap { quantizers[$0.site] }
    }
    guard !consumers.isEmpty, takers.count == consumers.count, found.count == takers.count,
      found.allSatisfy({ $0.isEqual(to: found[0]) })
    else { return }
    runners[index].resultQuantizer = found[0]
    for taker in takers { runners[taker].input?.isQuantizedBefore = true }
  }

  /// Features in a part of a buffer's channels.
  struct View {
    let height: Int
    let width: Int
    let channels: Int
    /// The floats between pixels.
    let stride: Int
    let start: UnsafeMutablePointer<Float>

    func row(_ row: Int) -> UnsafeMutablePointer<Float> { start + row * width * stride }
    /// Whether there is but one pixel.
    var isPixel: Bool { height == 1 && width == 1 }
  }

  /// Returns the most bytes that the buffers of a pass, the scratch memory of its threads and the values
  /// of filters have at once; `nil` where an image of `height` × `width` pixels has too few of them.
  func peakByteCount(height: Int, width: Int, threads: Int) -> Int? {
    var layout = BufferLayout(plan, height: height, width: width)
    var (peak, scratchCount, filterValueCount) = (0, 0, 0)
    for (position, step) in plan.steps.enumerated() {
      let runner = runners[position]
      let inputs = plan.inputs(of: step).map { input in
        let region = layout.region(of: input)
        return (region.height, region.width)
      }
      guard let size = runner.size(of: inputs) else { return nil }
      for result in step.results {
        layout.place(result, of: step, at: position, height: size.height, width: size.width)
      }
      scratchCount = max(
        scratchCount, runner.scratchCount(from: inputs.first ?? size, to: size))
      filterValueCount = max(filterValueCount, runner.kernel.filterValueCount)
      peak = max(peak, layout.floatCount + threads * scratchCount + filterValueCount)
      layout.release(after: position)
    }
    return peak * MemoryLayout<Float>.stride
  }

  /// Returns the result for `pixels`, in the network's range.
  ///
  /// - Precondition: `peakByteCount` is not `nil` for the image.
  func run(_ pixels: FeatureMap, _ context: ForwardContext) throws -> FeatureMap {
    var memory = GraphMemory(plan, pixels)
    for (position, step) in plan.steps.enumerated() {
      let inputs = plan.inputs(of: step).map { memory.view($0) }
      guard let size = runners[position].size(of: inputs.map { ($0.height, $0.width) })
      else { preconditionFailure("the size of the image was checked") }
      let residual = runners[position].residual.map { memory.view($0) }
      let targets = step.results.map {
        memory.target($0, of: step, at: position, height: size.height, width: size.width)
      }
      if case .region(let region) = runners[position].kernel {
        try region.run(
          inputs, table: plan.table(of: step).map { memory.view($0) }, to: targets, context)
      } else {
        try runners[position].run(inputs, residual: residual, to: targets[0], context) {
          memory.view($0)
        }
      }
      if let observer = context.groupObserver {
        for (group, value) in plan.graph.groups.enumerated() where step.results.contains(value.node)
        {
          try observer(group, memory.map(value.node))
        }
      }
      memory.release(after: position)
      context.progress?(Double(position + 1) / Double(plan.steps.count + 1))
    }
    guard let output = plan.graph.output else { preconditionFailure("a graph has an output") }
    return memory.map(output.node)
  }
}

extension GraphInference.Runner {
  /// Returns the size of the result; `nil` where an input has too few pixels.
  func size(of inputs: [(height: Int, width: Int)]) -> (height: Int, width: Int)? {
    if case .bands(let chain) = kernel { return chain.size(of: inputs[0]) }
    // Copies and regions keep the size.
    guard let operation else { return inputs[0] }
    return operation.size(of: inputs)
  }

  /// Floats of scratch memory that each thread has while the step runs.
  fileprivate func scratchCount(
    from x: (height: Int, width: Int), to y: (height: Int, width: Int)
  ) -> Int {
    kernel.scratchCount(
      from: x, height: y.height, width: y.width, channels: channels, hasResidual: residual != nil)
  }

  /// - Parameter view: returns a result that was made before.
  fileprivate func run(
    _ inputs: [GraphInference.View], residual: GraphInference.View?,
    to y: GraphInference.View, _ context: ForwardContext,
    view: (Int) -> GraphInference.View
  ) throws {
    if case .bands(let chain) = kernel {
      return try chain.run(inputs[0], to: y, context, view: view)
    }
    let following = bound(view)
    try kernel.run(inputs, residual: residual, quantizing: input, to: y, context) { rows in
      for (following, other) in following { following.apply(rows: rows, of: y, other: other) }
      guard context.observer == nil, var quantizer = resultQuantizer else { return }
      ck_quantize(
        &quantizer, y.row(rows.lowerBound), rows.count * y.width, y.channels, y.stride)
    }
  }

  /// Returns the operators that follow with the results that they take.
  func bound(
    _ view: (Int) -> GraphInference.View
  ) -> [(operator: Following, other: GraphInference.View?)] {
    following.map { ($0.operator, $0.other.map(view)) }
  }
}

/// An operator on single elements, with its parameters.
enum Following: Sendable {
  /// x · factor + offset, with one factor and one offset per channel.
  case factors([Float], offsets: [Float])
  case function(ElementFunction)
  case slopes([Float])
  case heads(HeadNormalization)
  case scale(Float)
  case offsets([Float])
  /// One value per pixel and channel.
  case positions([Float])
  case add
  case multiply

  init(
    _ link: GraphPlan.Link, _ graph: NetworkGraph, _ weights: inout WeightReader
  ) throws {
    switch link {
    case .add: self = .add
    case .multiply: self = .multiply
    case .node(let index):
      let node = graph.nodes[index]
      switch node.operation {
      case .function(let function): self = .function(function)
      case .scale(let factor): self = .scale(factor)
      case .normalizeChannels(let norm):
        let (scale, offset) = (try norm.scale.values(&weights), try norm.offset.values(&weights))
        let (mean, variance) = (
          try norm.mean.values(&weights), try norm.variance.values(&weights)
        )
        let factors = scale.indices.map {
          scale[$0] / (variance[$0] + norm.epsilon).squareRoot()
        }
        self = .factors(
          factors, offsets: factors.indices.map { offset[$0] - mean[$0] * factors[$0] })
      case .normalizeHeads(let scales):
        self = .heads(
          HeadNormalization(
            scales: try scales.values(&weights), channels: node.channels / 3))
      case .addChannels(let offsets): self = .offsets(try offsets.values(&weights))
      case .addPositions(let positions): self = .positions(try positions.values(&weights))
      case .parametricReLU(let parameter):
        let slopes = try parameter.values(&weights)
        self = .slopes(
          slopes.count == node.channels
            ? slopes : [Float](repeating: slopes[0], count: node.channels))
      default: preconditionFailure("an operator on single elements")
      }
    }
  }

  /// Applies the operator in place to some rows of `view`.
  func apply(rows: Range<Int>, of view: GraphInference.View, other: GraphInference.View?) {
    switch self {
    case .function(let function):
      if view.stride == view.channels {
        return function.apply(
          view.row(rows.lowerBound), count: rows.count * view.width * view.channels)
      }
      forEachPixel(rows, of: view) { pixel, _ in function.apply(pixel, count: view.channels) }
    case .scale(let factor):
      forEachPixel(rows, of: view) { pixel, _ in
        for channel in 0..<view.channels { pixel[channel] *= factor }
      }
    case .heads(let heads): forEachPixel(rows, of: view) { pixel, _ in heads.apply(pixel) }
    case .factors(let factors, let offsets):
      forEachPixel(rows, of: view) { pixel, _ in
        for channel in 0..<view.channels {
          pixel[channel] = pixel[channel] * factors[channel] + offsets[channel]
        }
      }
    case .offsets(let offsets):
      offsets.withUnsafeBufferPointer { offsets in
        forEachPixel(rows, of: view) { pixel, _ in
          for channel in 0..<view.channels { pixel[channel] += offsets[channel] }
        }
      }
    case .positions(let positions):
      positions.withUnsafeBufferPointer { positions in
        forEachPixel(rows, of: view) { pixel, index in
          let first = index * view.channels
          for channel in 0..<view.channels { pixel[channel] += positions[first + channel] }
        }
      }
    case .slopes(let slopes):
      slopes.withUnsafeBufferPointer { slopes in
        forEachPixel(rows, of: view) { pixel, _ in
          for channel in 0..<view.channels {
            let value = pixel[channel]
            pixel[channel] = max(value, 0) + slopes[channel] * min(value, 0)
          }
        }
      }
    case .add:
      combine(rows, of: view, other) { pixel, value, count in
        for channel in 0..<count { pixel[channel] += value[channel] }
      } all: { pixel, value, count in
        for channel in 0..<count { pixel[channel] += value }
      }
    case .multiply:
      combine(rows, of: view, other) { pixel, value, count in
        for channel in 0..<count { pixel[channel] *= value[channel] }
      } all: { pixel, value, count in
        for channel in 0..<count { pixel[channel] *= value }
      }
    }
  }

  @inline(__always)
  private func forEachPixel(
    _ rows: Range<Int>, of view: GraphInference.View,
    _ body: (_ pixel: UnsafeMutablePointer<Float>, _ index: Int) -> Void
  ) {
    let pixels = rows.lowerBound * view.width..<rows.upperBound * view.width
    for index in pixels { body(view.start + index * view.stride, index) }
  }

  /// Combines every pixel with that of `other`: the pixel at the same place or the only one, with as
  /// many channels or one.
  @inline(__always)
  private func combine(
    _ rows: Range<Int>, of view: GraphInference.View, _ other: GraphInference.View?,
    each: (UnsafeMutablePointer<Float>, UnsafePointer<Float>, Int) -> Void,
    all: (UnsafeMutablePointer<Float>, Float, Int) -> Void
  ) {
    guard let other else { preconditionFailure("a sum or a product has two inputs") }
    let stride = other.isPixel ? 0 : other.stride
    forEachPixel(rows, of: view) { pixel, index in
      let value = other.start + index * stride
      if other.channels == 1, view.channels > 1 {
        all(pixel, value[0], view.channels)
      } else {
        each(pixel, value, view.channels)
      }
    }
  }
}

extension ElementFunction {
  /// Applies the function in place.
  func apply(_ x: UnsafeMutablePointer<Float>, count: Int) {
    switch self {
    case .relu: for index in 0..<count { x[index] = max(x[index], 0) }
    case .leakyReLU(let slope):
      for index in 0..<count { x[index] = max(x[index], slope * x[index]) }
    case .gelu: ck_gelu(x, count)
    case .sigmoid: ck_sigmoid(x, count)
    case .silu: ck_silu(x, count)
    case .mish: ck_mish(x, count)
    case .tanh:
      // tanh x = 2 / (1 + e⁻²ˣ) − 1.
      for index in 0..<count { x[index] *= 2 }
      ck_sigmoid(x, count)
      for index in 0..<count { x[index] = 2 * x[index] - 1 }
    case .offset(let offset): for index in 0..<count { x[index] += offset }
    }
  }
}
