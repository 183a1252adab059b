/// The input of a convolution that may be quantized: pixel by pixel, before the image is extended, so
/// that the zeros around it are exact.
struct ConvolutionInput: Sendable {
  let site: Int
  let shape: ConvolutionShape
  /// The factor of the result that the weights in floating point contain.
  let factor: Float
  /// Whether a prepared pass quantizes the values as they are made.
  var isQuantizedBefore = false

  /// Whether the values must be quantized or shown to an observer.
  fileprivate func isVisited(_ context: ForwardContext) -> Bool {
    context.isVisited(site) && !(isQuantizedBefore && context.runsPrepared)
  }

  /// What multiplies codes.
  fileprivate enum Integers {
    case linear(IntegerLinear)
    case convolution(IntegerConvolution)
  }

  /// Whether the convolution is one of the integer layers.
  func multipliesCodes(_ layers: IntegerLayers) -> Bool { integers(layers) != nil }

  private func integers(_ layers: IntegerLayers) -> Integers? {
    if shape.isPixelwise { return layers.linear(at: site).map(Integers.linear) }
    return layers.convolution(at: site).map(Integers.convolution)
  }

  /// Returns what multiplies codes; `nil` where the convolution runs in floating point.
  fileprivate func integers(_ context: ForwardContext) -> Integers? {
    // An observer sees the values on their way into the layer, whether quantized or not.
    context.observer == nil ? integers(context.integerLayers) : nil
  }

  /// Floats of scratch memory for `multiply` with at most so many rows of `width` pixels, for which so
  /// many pixels of the input are needed.
  fileprivate func scratchCount(
    _ integers: Integers, rows: Int, width: Int, pixels: Int
  ) -> Int {
    let made = factor == 1 ? 0 : rows * width * shape.outputs
    guard case .convolution(let integer) = integers else { return made }
    return made + integer.scratchCount(pixels: pixels)
  }

  /// Makes some rows of the result from codes.
  fileprivate func multiply(
    _ integers: Integers, _ rows: Range<Int>, of y: GraphInference.View,
    _ x: GraphInference.View, residual: GraphInference.View?,
    scratch: UnsafeMutablePointer<Float>
  ) {
    let count = rows.count * y.width
    let first = rows.lowerBound * y.width
    func apply(
      to target: UnsafeMutablePointer<Float>, stride: Int, then epilogue: Epilogue = .none
    ) {
      switch integers {
      case .linear(let layer):
        var epilogue = epilogue
        if case .add(let other, let otherStride) = epilogue {
          epilogue = .add(other + first * otherStride, stride: otherStride)
        }
        layer.apply(
          rows: count, x.row(rows.lowerBound), stride: x.stride, to: target + first * stride,
          stride: stride, then: epilogue)
      case .convolution(let layer):
        layer.apply(
          shape, height: x.height, width: x.width, rows: rows, x.start, stride: x.stride,
          to: target, stride: stride, then: epilogue,
          scratch: scratch + (factor == 1 ? 0 : count * y.channels))
      }
    }
    guard factor != 1 else {
      return apply(
        to: y.start, stride: y.stride,
        then: residual.map { .add($0.start, stride: $0.stride) } ?? .none)
    }
    // Beside the result, in whose place the residual may be.
    apply(to: scratch - first * y.channels, stride: y.channels)
    for pixel in 0..<count {
      let target = y.start + (first + pixel) * y.stride
      let source = scratch + pixel * y.channels
      let other = residual.map { $0.start + (first + pixel) * $0.stride }
      for channel in 0..<y.channels {
        target[channel] = factor * source[channel] + (other?[channel] ?? 0)
      }
    }
  }

  /// Shows an observer some of the patches that lie in the image, at equal distances: enough of them
  /// to know how pixels beside one another go together.
  fileprivate func showPatches(of x: GraphInference.View, _ context: ForwardContext) throws {
    guard let observer = context.observer, context.isObserved(site), shape.kernel != (1, 1) else {
      return
    }
    let rows = inside(x.height, shape.kernel.height, shape.padding.height)
    let columns = inside(x.width, shape.kernel.width, shape.padding.width)
    guard !rows.isEmpty, !columns.isEmpty else { return }
    func places(_ range: Range<Int>, _ distance: Int) -> [Int] {
      Array(stride(from: range.lowerBound, to: range.upperBound, by: distance))
    }
    var distance = 1
    while places(rows, distance).count * places(columns, distance).count > Self.mostPatches {
      distance += 1
    }
    var values: [Float] = []
    for row in places(rows, distance) {
      for column in places(columns, distance) {
        for down in 0..<shape.kernel.height {
          for right in 0..<shape.kernel.width {
            let pixel = x.pixel(
              row * shape.step + down * shape.dilation - shape.padding.height,
              column * shape.step + right * shape.dilation - shape.padding.width)
            values += UnsafeBufferPointer(start: pixel, count: x.channels)
          }
        }
      }
    }
    try values.withUnsafeBufferPointer {
      try observer(site, $0, shape.kernel.height * shape.kernel.width * x.channels)
    }
  }

  /// The most patches of an image that an observer sees.
  private static let mostPatches = 512

  /// Returns the rows or columns of the result whose taps lie among `side` pixels.
  private func inside(_ side: Int, _ kernel: Int, _ padding: Int) -> Range<Int> {
    let last = side + padding - shape.dilation * (kernel - 1) - 1
    let first = (padding + shape.step - 1) / shape.step
    return last < 0 ? 0..<0 : first..<max(first, last / shape.step + 1)
  }

  /// The most rows of the input on which so many rows of the result depend, with those that
  /// Winograd's tiles add.
  fileprivate func mostRows(for count: Int, of height: Int) -> Int {
    let rows = (count + WinogradConvolution.tileHeight) * shape.step
    return min(
      height, rows + shape.dilation * (shape.kernel.height - 1) + 2 * shape.padding.height)
  }
}

extension GraphInference.Kernel {
  /// Floats of scratch memory for `make` with at most so many rows of `width` pixels.
  func scratchCount(
    rows: Int, width: Int, hasResidual: Bool, quantizing input: ConvolutionInput?,
    of size: (height: Int, width: Int), _ context: ForwardContext?
  ) -> Int {
    let own = scratchCount(rows: rows, width: width, hasResidual: hasResidual)
    guard let input, let context, input.isVisited(context) else { return own }
    let pixels = input.mostRows(for: rows, of: size.height) * size.width
    if let integers = input.integers(context) {
      return input.scratchCount(integers, rows: rows, width: width, pixels: pixels)
    }
    return own + pixels * input.shape.inputs
  }

  /// Returns the values of filters as `filterValues` does, unless codes are multiplied.
  func filterValues(
    quantizing input: ConvolutionInput?, _ context: ForwardContext
  ) throws -> ScratchPool.Loan? {
    input?.integers(context) == nil ? try filterValues(context) : nil
  }

  /// Makes some rows of the result as `make` does, from the quantized input where its site has a
  /// quantizer, and shows it to an observer.
  ///
  /// With an observer, all rows are made at once, so that it sees each pixel once.
  ///
  /// - Parameters:
  ///   - values: the result of `filterValues` for this input.
  ///   - scratch: as many floats as `scratchCount` says for these parameters.
  func make(
    _ rows: Range<Int>, of y: GraphInference.View, _ inputs: [GraphInference.View],
    residual: GraphInference.View?, quantizing input: ConvolutionInput?,
    values: ScratchPool.Loan?, scratch: UnsafeMutablePointer<Float>, _ context: ForwardContext
  ) throws {
    let x = inputs[0]
    guard let input, input.isVisited(context) else {
      return try make(
        rows, of: y, inputs, residual: residual, context, values: values, scratch: scratch)
    }
    if let integers = input.integers(context) {
      return input.multiply(integers, rows, of: y, x, residual: residual, scratch: scratch)
    }
    let needed = rowsNeeded(for: rows, of: x.height)
    // Others may need the input as it is.
    let copy =
      scratch + scratchCount(rows: rows.count, width: y.width, hasResidual: residual != nil)
    let pixels = needed.count * x.width
    for pixel in 0..<pixels {
      (copy + pixel * x.channels).update(
        from: x.row(needed.lowerBound) + pixel * x.stride, count: x.channels)
    }
    try context.visit(
      input.site, copy, rows: pixels, columns: x.channels, stride: x.channels)
    // Rows keep their numbers in the whole image.
    let quantized = GraphInference.View(
      height: x.height, width: x.width, channels: x.channels, stride: x.channels,
      start: copy - needed.lowerBound * x.width * x.channels)
    try input.showPatches(of: quantized, context)
    try make(
      rows, of: y, [quantized], residual: residual, context, values: values, scratch: scratch)
  }
}
