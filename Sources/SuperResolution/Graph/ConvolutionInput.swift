/// The input of a convolution that may be quantized: pixel by pixel, before the image is extended, so
/// that the zeros around it are exact.
struct ConvolutionInput: Sendable {
  let site: Int
  let shape: ConvolutionShape
  /// Whether the values are quantized as they are made, unless an observer sees the pass.
  var isQuantizedBefore = false

  /// Whether the values must be quantized or shown to an observer.
  func isVisited(_ context: ForwardContext) -> Bool {
    context.isVisited(site) && !(isQuantizedBefore && context.observer == nil)
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
}

extension ConvolutionShape {
  /// The most rows of the input on which so many rows of the result depend, with those that
  /// Winograd's tiles add.
  func mostRows(for count: Int, of height: Int) -> Int {
    let rows = (count + WinogradConvolution.tileHeight) * step
    return min(height, rows + dilation * (kernel.height - 1) + 2 * padding.height)
  }
}

extension GraphInference.Kernel {
  /// Floats of scratch memory for `make` with at most so many rows of `width` pixels.
  func scratchCount(
    rows: Int, width: Int, hasResidual: Bool, quantizing input: ConvolutionInput?,
    of size: (height: Int, width: Int), _ context: ForwardContext?
  ) -> Int {
    let own = scratchCount(rows: rows, width: width, hasResidual: hasResidual, of: size)
    guard let input, let context, input.isVisited(context) else { return own }
    return own + input.shape.mostRows(for: rows, of: size.height) * size.width * input.shape.inputs
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
    let needed = rowsNeeded(for: rows, of: x.height)
    // Others may need the input as it is.
    let copy =
      scratch
      + scratchCount(
        rows: rows.count, width: y.width, hasResidual: residual != nil, of: (x.height, x.width))
    let pixels = needed.count * x.width
    try context.visit(
      input.site, copying: x.row(needed.lowerBound), rows: pixels, columns: x.channels,
      stride: x.stride, to: copy)
    // Rows keep their numbers in the whole image.
    let quantized = GraphInference.View(
      height: x.height, width: x.width, channels: x.channels, stride: x.channels,
      start: copy - needed.lowerBound * x.width * x.channels)
    try input.showPatches(of: quantized, context)
    try make(
      rows, of: y, [quantized], residual: residual, context, values: values, scratch: scratch)
  }
}
