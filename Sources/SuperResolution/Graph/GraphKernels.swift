import CKernels
import Storage

extension GraphInference {
  /// What computes the operator of a node, with its weights.
  enum Kernel: Sendable {
    case copy
    case region(GraphRegionRunner)
    case linear(SiteLinear, site: Int)
    case overlapAttention(OverlapAttentionShape, biases: [Float])
    case channelAttention(ChannelAttention)
    /// Values that do not depend on the image.
    case constant([Float], height: Int, width: Int)
    case correlation(CorrelationShape)
    case move(PixelMove)
    /// Several operators, one after another, in bands of rows.
    case bands(GraphBands)
    /// One convolution for each group of channels.
    case convolution([Convolution])
    case winograd(WinogradConvolution)
    case integers(IntegerFilters)
    case depthwise(DepthwiseConvolution)
    case filters(ChannelFilters)
    case repeatChannels(Int)
    case pixelShuffle(Int)
    case pixelUnshuffle(Int)
    case mergePixels(Int)
    case bilinear
    case bicubic(CubicResizing)
    case sample(factor: Int, groups: Int)
    case average
    case largest(side: Int, step: Int)
    case largestInGrid(divisor: Int)
    case normalizePixels(LayerNormalization)
    case normalizeGroups(GroupNormalization)
  }
}

extension GraphInference.View: @unchecked Sendable {
  // Unchecked because of the pointer: threads write disjoint rows.

  /// Returns all values, pixel after pixel.
  func values() -> [Float] {
    (0..<height * width).flatMap { pixel in
      UnsafeBufferPointer(start: start + pixel * stride, count: channels)
    }
  }

  func pixel(_ row: Int, _ column: Int) -> UnsafeMutablePointer<Float> {
    start + (row * width + column) * stride
  }
}

extension GraphInference.Kernel {
  /// - Throws: `WeightMismatch`, `ModelError` as `WeightReader.values` does.
  init(
    _ operation: GraphOperation, _ weights: inout WeightReader, _ layers: IntegerLayers
  ) throws {
    switch operation {
    case .convolution(let shape, let groups, let weight, let bias, _):
      let values = try weight.values(&weights)
      let offsets = try bias?.values(&weights)
      if groups == 1, WinogradConvolution.pays(for: shape) {
        self = .winograd(
          WinogradConvolution(
            weight: values, bias: offsets, outputs: shape.outputs, inputs: shape.inputs))
        return
      }
      if groups > 1, shape.inputs == 1, shape.outputs == 1, shape.isSimple {
        self = .depthwise(DepthwiseConvolution(weight: values, bias: offsets, channels: groups))
        return
      }
      if groups > 1, shape.inputs == 1, shape.outputs == 1 {
        self = .filters(
          ChannelFilters(weight: values, bias: offsets, channels: groups, shape: shape))
        return
      }
      let count = shape.outputs * shape.inputs * shape.kernel.height * shape.kernel.width
      self = .convolution(
        (0..<groups).map { group in
          Convolution(
            weight: Array(values[group * count..<(group + 1) * count]),
            bias: offsets.map { Array($0[group * shape.outputs..<(group + 1) * shape.outputs]) },
            shape: shape)
        })
    case .linear(let weight, let bias, let site):
      self = .linear(try SiteLinear(weight, bias, site, &weights, layers), site: site)
    case .channelAttention(let division, let heads, let temperature, let sites):
      self = .channelAttention(
        ChannelAttention(
          division: division, temperature: try temperature?.values(&weights), heads: heads,
          sites: sites))
    case .constant(let parameter):
      let values = try parameter.values(&weights)
      let channels = parameter.shape[parameter.shape.count - 1]
      self = .constant(values, height: values.count / channels, width: 1)
    case .offsets(let height, let width):
      self = .constant(
        WindowGrid.offsets(height: height, width: width), height: 2 * height - 1,
        width: 2 * width - 1)
    case .correlation(let shape): self = .correlation(shape)
    case .move(let move): self = .move(move)
    case .overlapAttention(let shape, let positions):
      self = .overlapAttention(shape, biases: shape.biases(table: try positions.values(&weights)))
    case .repeatChannels(let count): self = .repeatChannels(count)
    case .pixelShuffle(let factor): self = .pixelShuffle(factor)
    case .pixelUnshuffle(let factor): self = .pixelUnshuffle(factor)
    case .mergePixels(let factor): self = .mergePixels(factor)
    case .bilinear: self = .bilinear
    case .bicubic(let ratio): self = .bicubic(CubicResizing(ratio))
    case .sample(let factor, let groups): self = .sample(factor: factor, groups: groups)
    case .average: self = .average
    case .largest(let side, let step): self = .largest(side: side, step: step)
    case .largestInGrid(let divisor): self = .largestInGrid(divisor: divisor)
    case .normalizePixels(let scale, let offset, let epsilon):
      self = .normalizePixels(
        LayerNormalization(
          gamma: try scale.values(&weights), beta: try offset.values(&weights), epsilon: epsilon))
    case .normalizeGroups(let groups, let scale, let offset, let epsilon):
      self = .normalizeGroups(
        GroupNormalization(
          groups: groups, scale: try scale.values(&weights), offset: try offset.values(&weights),
          epsilon: epsilon))
    case .input, .function, .parametricReLU, .scale, .addChannels, .addPositions, .add, .multiply,
      .normalizeChannels, .normalizeHeads, .concatenate, .channels, .windowAttention:
      preconditionFailure("a plan has no step for \(operation)")
    }
  }

  /// Runs the operator, and `finish` on the rows of the result that a thread has just made.
  func run(
    _ inputs: [GraphInference.View], residual: GraphInference.View?,
    quantizing input: ConvolutionInput?, to y: GraphInference.View, _ context: ForwardContext,
    then finish: @Sendable (_ rows: Range<Int>) -> Void
  ) throws {
    if case .constant(let values, _, _) = self {
      for (pixel, first) in stride(from: 0, to: values.count, by: y.channels).enumerated() {
        for channel in 0..<y.channels {
          y.start[pixel * y.stride + channel] = values[first + channel]
        }
      }
      return finish(0..<y.height)
    }
    let x = inputs[0]
    /// Makes the result in bands of rows.
    func rows(_ body: @Sendable (_ row: Int) -> Void) throws {
      try context.map(y.height, by: y.rowsAtOnce, scratchCount: 0) { rows, _ in
        for row in rows { body(row) }
        finish(rows)
      }
    }
    switch self {
    case .channelAttention(let attention):
      try attention.run(x, to: y, context)
      finish(0..<y.height)
    case .overlapAttention(let shape, let biases):
      try shape.run(x, to: y, biases: biases, context)
      finish(0..<y.height)
    case .correlation(let shape):
      try shape.run(x, keys: inputs[1], table: inputs[2], to: y, context)
      finish(0..<y.height)
    case .average:
      let averages = try context.averages(x.height * x.width, count: x.channels) { pixels, sums in
        for pixel in pixels {
          let source = x.start + pixel * x.stride
          for channel in 0..<x.channels { sums[channel] += source[channel] }
        }
      }
      y.start.update(from: averages, count: averages.count)
      finish(0..<1)
    case .normalizeGroups(let norm):
      let (factors, additions) = try norm.factors(for: x, context)
      try rows { row in
        for column in 0..<y.width {
          let (source, target) = (x.pixel(row, column), y.pixel(row, column))
          for channel in 0..<y.channels {
            target[channel] = source[channel] * factors[channel] + additions[channel]
          }
        }
      }
    case .bilinear:
      let down = LinearPlace.spread(from: x.height, to: y.height)
      let right = LinearPlace.spread(from: x.width, to: y.width)
      try rows { row in
        for column in 0..<y.width {
          x.interpolate(
            down[row], right[column], channels: 0..<y.channels, to: y.pixel(row, column))
        }
      }
    case .bands, .region: preconditionFailure("several operators have a run of their own")
    default:
      let isObserved = input.map { context.isObserved($0.site) } ?? false
      let isVisited = input?.isVisited(context) ?? false
      let bandHeight =
        isObserved ? y.height : bandHeight(isVisited ? 2 * y.rowsAtOnce : y.rowsAtOnce)
      let values = try filterValues(context)
      try context.map(
        y.height, by: bandHeight,
        scratchCount: scratchCount(
          rows: bandHeight, width: y.width, hasResidual: residual != nil, quantizing: input,
          of: (x.height, x.width), context)
      ) { rows, scratch in
        try make(
          rows, of: y, inputs, residual: residual, quantizing: input, values: values,
          scratch: scratch, context)
        finish(rows)
      }
    }
  }

  /// Returns the rows of a band of about `count`; more where the input is coded, as neighbouring bands
  /// code the rows between them twice.
  func bandHeight(_ count: Int) -> Int {
    switch self {
    case .integers: return 2 * count
    case .winograd:
      let tile = WinogradConvolution.tileHeight
      return max(1, count / tile) * tile
    default: return count
    }
  }

  /// Floats of scratch memory for `make` with at most so many rows, from an input of the given size.
  func scratchCount(
    rows: Int, width: Int, hasResidual: Bool, of size: (height: Int, width: Int)
  ) -> Int {
    switch self {
    case .integers(let filters): filters.scratchCount(rows: rows, width: width, of: size)
    case .winograd(let convolution):
      convolution.scratchCount + (hasResidual ? rows * width * convolution.outputs : 0)
    case .linear(.values(let layer), _): rows * width * layer.inputs
    default: 0
    }
  }

  /// Returns the values of a convolution's filters, which a pass needs only while it computes that
  /// convolution; `nil` for other operators.
  func filterValues(_ context: ForwardContext) throws -> ScratchPool.Loan? {
    guard case .winograd(let convolution) = self else { return nil }
    let values = context.scratch.lend(convolution.valueCount)
    try context.map(convolution.panelCount, by: 1, scratchCount: 0) { panels, _ in
      convolution.evaluate(panels, to: values.start)
    }
    return values
  }

  /// The floats of `filterValues`, for every operator of a chain.
  var filterValueCount: Int {
    switch self {
    case .winograd(let convolution): convolution.valueCount
    case .bands(let chain): chain.filterValueCount
    default: 0
    }
  }

  /// Floats of scratch memory that `run` gives each thread.
  ///
  /// - Parameters:
  ///   - x: the size of the first input.
  ///   - height, width, channels: those of the result.
  func scratchCount(
    from x: (height: Int, width: Int), height: Int, width: Int, channels: Int, hasResidual: Bool
  ) -> Int {
    let rows = GraphInference.View.rowsAtOnce(width: width)
    switch self {
    case .region(let region): return region.scratchCount(height: height, width: width)
    case .channelAttention(let attention):
      return attention.scratchCount(height: height, width: width, channels: channels)
    case .overlapAttention(let shape, _): return shape.scratchCount(channels: channels)
    case .bands(let chain): return chain.scratchCount(height: x.height, width: x.width)
    default:
      return scratchCount(
        rows: bandHeight(rows), width: width, hasResidual: hasResidual, of: x)
    }
  }

  private func scratchCount(
    from x: GraphInference.View, to y: GraphInference.View, hasResidual: Bool
  ) -> Int {
    scratchCount(
      from: (x.height, x.width), height: y.height, width: y.width, channels: y.channels,
      hasResidual: hasResidual)
  }

  /// Makes some rows of the result of an operator for which each row depends on a few rows of the
  /// input.
  ///
  /// - Parameters:
  ///   - residual: what a convolution adds to its result, in whose place that may be.
  ///   - values: the result of `filterValues`.
  ///   - scratch: `scratchCount` floats.
  func make(
    _ rows: Range<Int>, of y: GraphInference.View, _ inputs: [GraphInference.View],
    residual: GraphInference.View?, _ context: ForwardContext, values: ScratchPool.Loan?,
    scratch: UnsafeMutablePointer<Float>
  ) throws {
    let x = inputs[0]
    switch self {
    case .winograd(let convolution):
      guard let values = values?.start else {
        preconditionFailure("the filters were evaluated")
      }
      guard let residual else {
        return convolution.apply(
          values: values, height: x.height, width: x.width, rows: rows, x.start, stride: x.stride,
          to: y.start,
          stride: y.stride, scratch: scratch)
      }
      // The kernel does not read what is where it writes.
      let channels = convolution.outputs
      let made = scratch + convolution.scratchCount
      convolution.apply(
        values: values, height: x.height, width: x.width, rows: rows, x.start, stride: x.stride,
        to: made - rows.lowerBound * y.width * channels, stride: channels, scratch: scratch)
      for pixel in 0..<rows.count * y.width {
        let place = rows.lowerBound * y.width + pixel
        let (target, other) = (
          y.start + place * y.stride, residual.start + place * residual.stride
        )
        let source = made + pixel * channels
        for channel in 0..<channels { target[channel] = source[channel] + other[channel] }
      }
    case .linear(let layer, let site):
      let count = rows.count * y.width
      let epilogue = residual.map {
        Epilogue.add(UnsafePointer($0.row(rows.lowerBound)), stride: $0.stride)
      }
      try context.apply(
        layer, at: site, rows: count, x.row(rows.lowerBound), stride: x.stride,
        copyingTo: scratch, to: y.row(rows.lowerBound), stride: y.stride,
        then: epilogue ?? .none)
    case .integers(let filters):
      filters.make(rows, of: y, x, residual: residual, scratch: scratch)
    case .copy:
      for row in rows {
        for column in 0..<y.width {
          y.pixel(row, column).update(from: x.pixel(row, column), count: x.channels)
        }
      }
    case .convolution(let parts):
      for (index, part) in parts.enumerated() {
        part.apply(
          height: x.height, width: x.width, rows: rows, x.start + index * part.shape.inputs,
          stride: x.stride, to: y.start + index * part.shape.outputs, stride: y.stride,
          then: residual.map {
            .add($0.start + index * part.shape.outputs, stride: $0.stride)
          } ?? .none)
      }
    case .depthwise(let kernel):
      kernel.apply(
        height: x.height, width: x.width, rows: rows, x.start, stride: x.stride, to: y.start,
        stride: y.stride)
    case .filters(let filters):
      filters.make(rows, of: y, from: x)
    case .repeatChannels(let count):
      for row in rows {
        for column in 0..<y.width {
          let (source, target) = (x.pixel(row, column), y.pixel(row, column))
          for channel in 0..<y.channels { target[channel] = source[channel / count] }
        }
      }
    case .pixelShuffle(let factor):
      for row in rows {
        let area = factor * factor
        for column in 0..<y.width {
          let source =
            x.pixel(row / factor, column / factor) + row % factor * factor + column % factor
          let target = y.pixel(row, column)
          for channel in 0..<y.channels { target[channel] = source[channel * area] }
        }
      }
    case .pixelUnshuffle(let factor):
      for row in rows {
        for column in 0..<y.width {
          let target = y.pixel(row, column)
          for i in 0..<factor {
            for j in 0..<factor {
              let source = x.pixel(row * factor + i, column * factor + j)
              for channel in 0..<x.channels {
                target[(channel * factor + i) * factor + j] = source[channel]
              }
            }
          }
        }
      }
    case .mergePixels(let factor):
      for row in rows {
        for column in 0..<y.width {
          let target = y.pixel(row, column)
          for part in 0..<factor * factor {
            (target + part * x.channels).update(
              from: x.pixel(row * factor + part / factor, column * factor + part % factor),
              count: x.channels)
          }
        }
      }
    case .move(let move): move.make(rows, of: y, from: x)
    case .bicubic(let kernel): kernel.make(rows, of: y, from: x)
    case .sample(let factor, let groups):
      let offsets = inputs[1]
      for row in rows {
        let size = y.channels / groups
        let component = groups * factor * factor
        for column in 0..<y.width {
          let (fromRow, fromColumn) = (row / factor, column / factor)
          let offset =
            offsets.pixel(fromRow, fromColumn) + row % factor * factor + column % factor
          let target = y.pixel(row, column)
          for group in 0..<groups {
            let place = offset + group * factor * factor
            x.interpolate(
              LinearPlace(Float(fromRow) + place[component], count: x.height),
              LinearPlace(Float(fromColumn) + place[0], count: x.width),
              channels: group * size..<(group + 1) * size, to: target)
          }
        }
      }
    case .largest(let side, let step):
      for row in rows {
        for column in 0..<y.width {
          x.largest(
            row * step..<row * step + side, column * step..<column * step + side,
            to: y.pixel(row, column))
        }
      }
    case .largestInGrid:
      for row in rows {
        for column in 0..<y.width {
          x.largest(
            Self.cell(row, of: y.height, over: x.height),
            Self.cell(column, of: y.width, over: x.width), to: y.pixel(row, column))
        }
      }
    case .normalizePixels(let kernel):
      kernel.apply(
        rows: rows.count * y.width, x.row(rows.lowerBound), stride: x.stride,
        to: y.row(rows.lowerBound), stride: y.stride)
    case .region, .bands, .constant, .overlapAttention, .channelAttention, .correlation, .bilinear,
      .average, .normalizeGroups:
      preconditionFailure("the operator is made as a whole")
    }
  }

  // MARK: Sizes

  /// Returns the rows of the input, of `height` rows, on which `rows` of the result depend.
  ///
  /// - Precondition: the operator is one of `GraphOperation.isMadeInBands`.
  func rowsNeeded(for rows: Range<Int>, of height: Int) -> Range<Int> {
    switch self {
    case .convolution(let parts): return parts[0].shape.rowsNeeded(for: rows, of: height)
    case .integers(let filters): return filters.shape.rowsNeeded(for: rows, of: height)
    case .winograd:
      // Whole tiles are computed, even of those that are partly outside the band.
      let tile = WinogradConvolution.tileHeight
      let last = rows.lowerBound + (rows.count + tile - 1) / tile * tile
      return max(0, rows.lowerBound - 1)..<min(height, last + 1)
    case .pixelShuffle(let factor), .move(.nearest(let factor)):
      return rows.lowerBound / factor..<(rows.upperBound + factor - 1) / factor
    case .linear: return rows
    default: preconditionFailure("the operator is not made in bands")
    }
  }

  // MARK: Parts of operators

  /// Returns the pixels that cell `index` of `count` has, of `side` pixels.
  static func cell(_ index: Int, of count: Int, over side: Int) -> Range<Int> {
    index * side / count..<((index + 1) * side + count - 1) / count
  }
}

extension ConvolutionShape {
  /// Returns the rows of an input of `height` rows that those of the result need.
  fileprivate func rowsNeeded(for rows: Range<Int>, of height: Int) -> Range<Int> {
    let first = rows.lowerBound * step - padding.height
    let last =
      (rows.upperBound - 1) * step + dilation * (kernel.height - 1) - padding.height
    // What is mirrored at the edge lies no farther inside than the padding outside.
    let inside = mode == .zeros ? 0 : padding.height
    return max(0, min(first, height - 1 - inside))..<min(height, max(last, inside) + 1)
  }
}

extension GraphInference.View {
  /// How many rows a thread makes at once: few enough to stay in its cache.
  var rowsAtOnce: Int { Self.rowsAtOnce(width: width) }

  fileprivate static func rowsAtOnce(width: Int) -> Int { max(1, 1024 / width) }
}
