import CKernels

/// A region of a graph, ready to run: its operators with their weights.
struct GraphRegionRunner: Sendable {
  private let region: GraphRegion
  /// The windows of the attention, and the channels of its queries; `nil` for a region of pixels.
  private let attention: (shape: WindowAttentionShape, channels: Int)?
  private let parts: [Part]
  /// What is codes where layers multiply codes.
  private let coded: CodedRegion?

  private enum Part: Sendable {
    case normalization(LayerNormalization)
    case linear(SiteLinear, site: Int?)
    case heads(HeadNormalization, channels: Int)
    case attention(AttentionSites)
    case function(ElementFunction, channels: Int)
    case add(channels: Int, added: Int)
    case multiply(channels: Int, factors: Int)
  }

  /// - Throws: `WeightMismatch`, `ModelError` as `WeightReader.values` does.
  init(
    _ region: GraphRegion, _ graph: NetworkGraph, _ weights: inout WeightReader,
    _ quantizers: [ck_quantizer?], _ layers: IntegerLayers
  ) throws {
    self.region = region
    attention = region.attention.map { node in
      guard case .windowAttention(let shape, _) = graph.nodes[node].operation else {
        preconditionFailure("a region of windows has an attention")
      }
      return (shape, graph.nodes[node].channels)
    }
    var parts: [Part] = []
    for operation in region.operations {
      let node = graph.nodes[operation.node]
      /// The channels of the second input, given those of the first.
      var second: Int { node.inputs.map(\.channels).min() ?? 1 }
      switch node.operation {
      case .normalizePixels(let scale, let offset, let epsilon):
        parts.append(
          .normalization(
            LayerNormalization(
              gamma: try scale.values(&weights), beta: try offset.values(&weights),
              epsilon: epsilon)))
      case .linear(let weight, let bias, let site):
        parts.append(
          .linear(try SiteLinear(weight, bias, site, &weights, layers), site: site))
      case .convolution(_, _, let weight, let bias, let site):
        parts.append(
          .linear(try SiteLinear(weight, bias, site, &weights, layers), site: site))
      case .normalizeHeads(let scales):
        let heads = HeadNormalization(
          scales: try scales.values(&weights), channels: node.channels / 3)
        parts.append(.heads(heads, channels: node.channels))
      case .windowAttention(_, let sites): parts.append(.attention(sites))
      case .function(let function): parts.append(.function(function, channels: node.channels))
      case .add: parts.append(.add(channels: node.channels, added: second))
      case .multiply: parts.append(.multiply(channels: node.channels, factors: second))
      default: preconditionFailure("\(node.operation) in a region")
      }
    }
    self.parts = parts
    coded =
      layers.isEmpty
      ? nil
      : CodedRegion(region, graph, quantizers, layers) { index in
        if case .normalization(let kernel) = parts[index] { kernel } else { nil }
      }
  }

  /// Floats of scratch memory that `run` gives each thread.
  func scratchCount(height: Int, width: Int) -> Int {
    guard let attention else { return Self.pixelsAtOnce * region.scratchCount }
    let tokens = attention.shape.grid(height: height, width: width).tokenCount
    let integers = coded?.attention.map {
      CodeRows.floatCount(rows: tokens, columns: 3 * $0.channels + 16) + $0.scratchCount
    }
    return tokens * region.scratchCount
      + max(
        integers ?? 0,
        ForwardContext.attentionScratchCount(
          tokens: tokens, headChannels: attention.channels / attention.shape.heads))
  }

  /// Computes the region's results.
  ///
  /// - Parameter table: the biases of an attention's relative positions, one per row.
  func run(
    _ inputs: [GraphInference.View], table: GraphInference.View?,
    to results: [GraphInference.View], _ context: ForwardContext
  ) throws {
    guard let attention, let table else { return try runPixels(inputs, to: results, context) }
    let y = results[0]
    let grid = attention.shape.grid(height: y.height, width: y.width)
    let heads = attention.shape.heads
    let (biases, masks, coded) = terms(
      biases: grid.positionBiases(table: table.values(), heads: heads), masks: grid.masks())
    let zeros = [Float](repeating: 0, count: attention.channels)
    let tokens = grid.tokenCount
    let features = tokens * region.scratchCount
    // A few hundred tokens are enough work for one task.
    try context.map(
      grid.windowCount, by: max(1, 256 / tokens),
      scratchCount: scratchCount(height: y.height, width: y.width)
    ) { windows, scratch in
      try masks.withUnsafeBufferPointer { masks in
        for window in windows {
          let piece = Piece(count: tokens, first: 0, scratch: scratch, inputs: [], results: [])
          for (index, (view, input)) in zip(inputs, region.inputs).enumerated()
          where !(coded?.readsInPlace(index) ?? false) {
            grid.gather(
              window, from: view.start, stride: view.stride, channels: view.channels,
              to: piece.rows(input.rows).start)
          }
          try run(
            piece, context, coded,
            attend: Attend(
              heads: heads, channels: attention.channels, biases: biases,
              mask: grid.mask(window, in: masks.baseAddress), scratch: scratch + features,
              grid: grid, window: window, inputs: inputs, zeros: zeros))
          let made = piece.rows(region.resultRows[0])
          grid.scatter(
            window, from: made.start, channels: y.channels, to: y.start, stride: y.stride)
        }
      }
    }
  }

  /// Returns the terms of an attention's scores as it takes them, and what is codes in the pass.
  private func terms(
    biases: [Float], masks: [Float]
  ) -> (biases: [Float], masks: [Float], coded: CodedRegion?) {
    guard let coded else { return (biases, masks, nil) }
    if coded.attention == nil { return (biases, masks, coded) }
    guard let scaled = IntegerAttention.terms(biases), let others = IntegerAttention.terms(masks)
    else { return (biases, masks, nil) }
    return (scaled, others, coded)
  }

  /// Pixels that are computed at once.
  private static let pixelsAtOnce = 256

  private func runPixels(
    _ inputs: [GraphInference.View], to results: [GraphInference.View], _ context: ForwardContext
  ) throws {
    let pixels = results[0].height * results[0].width
    try context.map(
      pixels, by: Self.pixelsAtOnce,
      scratchCount: scratchCount(height: results[0].height, width: results[0].width)
    ) { range, scratch in
      try run(
        Piece(
          count: range.count, first: range.lowerBound, scratch: scratch, inputs: inputs,
          results: results), context, coded, attend: nil)
    }
  }

  // MARK: Pieces

  /// The rows of a window or of some pixels.
  private struct Piece {
    let count: Int
    /// The number of the first pixel in the image.
    let first: Int
    let scratch: UnsafeMutablePointer<Float>
    let inputs: [GraphInference.View]
    let results: [GraphInference.View]

    func rows(_ rows: GraphRegion.Rows) -> (start: UnsafeMutablePointer<Float>, stride: Int) {
      switch rows.memory {
      case .scratch(let start, let stride):
        return (scratch + start * count + rows.firstChannel, stride)
      case .input(let index):
        let view = inputs[index]
        // The only pixel of a smaller result counts for all.
        let stride = view.isPixel ? 0 : view.stride
        return (view.start + first * stride + rows.firstChannel, stride)
      case .result(let index):
        let view = results[index]
        return (view.start + first * view.stride + rows.firstChannel, view.stride)
      }
    }

    /// Returns codes in the place of rows of values.
    func codes(_ rows: GraphRegion.Rows) -> CodeRows {
      guard case .scratch(let start, let channels) = rows.memory else {
        preconditionFailure("codes are in scratch memory")
      }
      return CodeRows(scratch + start * count, rows: count, columns: channels)
    }
  }

  /// What an attention needs besides rows.
  private struct Attend {
    let heads: Int
    let channels: Int
    let biases: [Float]
    let mask: UnsafePointer<Float>?
    let scratch: UnsafeMutablePointer<Float>
    let grid: WindowGrid
    let window: Int
    let inputs: [GraphInference.View]
    /// A pixel outside the image.
    let zeros: [Float]
  }

  /// Runs the operators on one piece.
  private func run(
    _ piece: Piece, _ context: ForwardContext, _ coded: CodedRegion?, attend: Attend?
  ) throws {
    for (index, (part, operation)) in zip(parts, region.operations).enumerated() {
      let (x, y) = (piece.rows(operation.source), piece.rows(operation.target))
      switch part {
      case .normalization(let kernel):
        if case .normalization(let kernel) = coded?.codings[index] {
          kernel.apply(
            rows: piece.count, x.start, stride: x.stride, to: piece.codes(operation.target))
          continue
        }
        kernel.apply(rows: piece.count, x.start, stride: x.stride, to: y.start, stride: y.stride)
      case .linear(let layer, let site):
        if let coded, case .codes(let layer) = layer, apply(layer, coded, index, piece) {
          continue
        }
        try apply(layer, site, operation, piece, context)
      case .attention(let sites):
        guard let attend else { preconditionFailure("an attention is in a region of windows") }
        if let coded, let attention = coded.attention {
          multiply(attention, coded, index, piece, attend)
          continue
        }
        try context.attend(
          sites, tokens: piece.count, heads: attend.heads,
          headChannels: attend.channels / attend.heads, q: x.start,
          k: piece.rows(operation.others[0]).start, v: piece.rows(operation.others[1]).start,
          stride: x.stride, biases: attend.biases, mask: attend.mask, out: y.start,
          outStride: y.stride, scratch: attend.scratch)
      case .heads(let heads, let channels):
        for row in 0..<piece.count {
          let target = y.start + row * y.stride
          if x.start != y.start {
            target.update(from: x.start + row * x.stride, count: channels)
          }
          heads.apply(target)
        }
      case .function(let function, let channels):
        forEachRow(piece, x, y, channels) { source, target, count in
          if source != target { target.update(from: source, count: count) }
          function.apply(target, count: count)
        }
      case .add(let channels, let added):
        combine(piece, operation, channels, added) { $0 + $1 }
      case .multiply(let channels, let factors):
        combine(piece, operation, channels, factors) { $0 * $1 }
      }
    }
  }

  /// Applies a layer that takes or makes codes; returns whether it is one.
  private func apply(
    _ layer: IntegerLinear, _ coded: CodedRegion, _ index: Int, _ piece: Piece
  ) -> Bool {
    let operation = region.operations[index]
    let takesCodes = coded.takesCodes[index]
    let (x, y) = (piece.rows(operation.source), piece.rows(operation.target))
    if case .layer(let coding) = coded.codings[index] {
      layer.code(
        rows: piece.count,
        takesCodes ? .codes(piece.codes(operation.source)) : .values(x.start, stride: x.stride),
        by: coding, to: piece.codes(operation.target))
      return true
    }
    guard takesCodes else { return false }
    let (epilogue, function) = epilogue(operation, piece)
    layer.apply(
      rows: piece.count, piece.codes(operation.source), to: y.start, stride: y.stride,
      then: epilogue)
    if let function {
      forEachRow(piece, y, y, layer.outputs) { _, target, count in
        function.apply(target, count: count)
      }
    }
    return true
  }

  /// Computes an attention from codes.
  private func multiply(
    _ attention: IntegerAttention, _ coded: CodedRegion, _ index: Int, _ piece: Piece,
    _ attend: Attend
  ) {
    let operation = region.operations[index]
    var scratch = attend.scratch
    var codes = piece.codes(operation.source)
    if !coded.takesCodes[index] {
      // The kernels may write 15 bytes after a row of values.
      let columns = 3 * attention.channels + 16
      codes = CodeRows(scratch, rows: piece.count, columns: columns)
      codes.clearMarks(rows: piece.count)
      scratch += CodeRows.floatCount(rows: piece.count, columns: columns)
      for number in 0..<3 {
        code(number, of: attention, operation, coded, to: codes, piece, attend)
      }
    }
    let y = piece.rows(operation.target)
    var target = IntegerAttention.Target.values(y.start, stride: y.stride)
    if case .attention(let quantizer) = coded.codings[index] {
      target = .codes(piece.codes(operation.target), by: quantizer)
    }
    attention.apply(
      codes, biases: attend.biases, mask: attend.mask, to: target, scratch: scratch)
  }

  /// Codes the queries, keys or values of a window.
  private func code(
    _ number: Int, of attention: IntegerAttention, _ operation: GraphRegion.Operation,
    _ coded: CodedRegion, to codes: CodeRows, _ piece: Piece, _ attend: Attend
  ) {
    let part = attention.parts[number]
    let first = number * attention.channels
    func code(_ x: UnsafePointer<Float>, stride: Int, rows: Range<Int>) {
      codes.code(
        x, stride: stride, rows: rows, columns: first..<first + attention.channels,
        by: part.quantizer, factor: part.factor)
    }
    guard let input = coded.codedInputs?[number] else {
      let x = piece.rows(([operation.source] + operation.others)[number])
      return code(x.start, stride: x.stride, rows: 0..<piece.count)
    }
    let view = attend.inputs[input.input]
    attend.grid.forEachRun(attend.window) { place, token, count in
      if let token {
        code(
          view.start + token * view.stride + input.firstChannel, stride: view.stride,
          rows: place..<place + count)
      } else {
        attend.zeros.withUnsafeBufferPointer { zeros in
          guard let zeros = zeros.baseAddress else { return }
          code(zeros, stride: 0, rows: place..<place + count)
        }
      }
    }
  }

  /// Returns what follows a layer in the same pass, and a function that does not.
  private func epilogue(
    _ operation: GraphRegion.Operation, _ piece: Piece
  ) -> (Epilogue, ElementFunction?) {
    switch operation.epilogue {
    case .none: return (.none, nil)
    case .add(let other):
      let other = piece.rows(other)
      return (.add(other.start, stride: other.stride), nil)
    case .function(let wanted):
      if case .none = wanted.epilogue { return (.none, wanted) }
      return (wanted.epilogue, nil)
    }
  }

  private func apply(
    _ layer: SiteLinear, _ site: Int?, _ operation: GraphRegion.Operation, _ piece: Piece,
    _ context: ForwardContext
  ) throws {
    let (x, y) = (piece.rows(operation.source), piece.rows(operation.target))
    let (epilogue, function) = epilogue(operation, piece)
    func apply(copyingTo copy: UnsafeMutablePointer<Float>?) throws {
      try context.apply(
        layer, at: site, rows: piece.count, x.start, stride: x.stride, copyingTo: copy,
        to: y.start, stride: y.stride, then: epilogue)
    }
    if case .values = layer, site != nil, context.isActive, operation.keepsSource {
      try context.scratch.withScratch(piece.count * layer.inputs) { try apply(copyingTo: $0) }
    } else {
      try apply(copyingTo: nil)
    }
    guard let function else { return }
    forEachRow(piece, y, y, layer.outputs) { _, target, count in
      function.apply(target, count: count)
    }
  }

  /// Calls `body` with all rows at once where nothing is between them.
  @inline(__always)
  private func forEachRow(
    _ piece: Piece, _ x: (start: UnsafeMutablePointer<Float>, stride: Int),
    _ y: (start: UnsafeMutablePointer<Float>, stride: Int), _ channels: Int,
    _ body: (
      _ source: UnsafeMutablePointer<Float>, _ target: UnsafeMutablePointer<Float>, _ count: Int
    ) -> Void
  ) {
    if x.stride == channels, y.stride == channels {
      return body(x.start, y.start, piece.count * channels)
    }
    for row in 0..<piece.count {
      body(x.start + row * x.stride, y.start + row * y.stride, channels)
    }
  }

  @inline(__always)
  private func combine(
    _ piece: Piece, _ operation: GraphRegion.Operation, _ channels: Int, _ others: Int,
    _ function: (Float, Float) -> Float
  ) {
    let (x, y) = (piece.rows(operation.source), piece.rows(operation.target))
    let other = piece.rows(operation.others[0])
    for row in 0..<piece.count {
      let (source, target) = (x.start + row * x.stride, y.start + row * y.stride)
      let values = other.start + row * other.stride
      if others == 1, channels > 1 {
        let value = values[0]
        for channel in 0..<channels { target[channel] = function(source[channel], value) }
      } else {
        for channel in 0..<channels { target[channel] = function(source[channel], values[channel]) }
      }
    }
  }
}

extension SiteLinear {
  /// Creates a linear layer or a convolution of single pixels; reads nothing where codes are multiplied.
  ///
  /// - Throws: `WeightMismatch`, `ModelError` as `WeightReader.values` does.
  init(
    _ weight: GraphParameter, _ bias: GraphParameter?, _ site: Int?,
    _ weights: inout WeightReader, _ layers: IntegerLayers
  ) throws {
    if let layer = site.flatMap(layers.linear) {
      self = .codes(layer)
      return
    }
    self = .values(
      Linear(
        weight: try weight.values(&weights), bias: try bias?.values(&weights),
        outputs: weight.shape[0], inputs: weight.shape[1]))
  }
}

extension ElementFunction {
  /// The kernels' name for the function; `none` where they have none.
  var epilogue: Epilogue {
    switch self {
    case .gelu: .gelu
    case .relu: .relu
    case .leakyReLU(slope: 0.01): .leakyReLU
    default: .none
    }
  }
}
