import CKernels

/// A convolution that multiplies codes of pixels.
struct IntegerFilters: Sendable {
  let shape: ConvolutionShape
  /// What the result is multiplied by.
  private let factor: Float
  private let layer: Layer

  private enum Layer: Sendable {
    case linear(IntegerLinear)
    case convolution(IntegerConvolution)
  }

  /// - Returns: `nil` where the layer of the site runs in floating point.
  init?(_ shape: ConvolutionShape, factor: Float, site: Int, _ layers: IntegerLayers) {
    (self.shape, self.factor) = (shape, factor)
    if shape.isPixelwise, let layer = layers.linear(at: site) {
      self.layer = .linear(layer)
    } else if let layer = layers.convolution(at: site) {
      self.layer = .convolution(layer)
    } else {
      return nil
    }
  }

  /// Floats of scratch memory for `make` with at most so many rows of `width` pixels, from an input of the
  /// given size.
  func scratchCount(rows: Int, width: Int, of size: (height: Int, width: Int)) -> Int {
    let made = factor == 1 ? 0 : rows * width * shape.outputs
    guard case .convolution(let layer) = layer else { return made }
    return made
      + layer.scratchCount(pixels: shape.mostRows(for: rows, of: size.height) * size.width)
  }

  /// Makes some rows of the result.
  func make(
    _ rows: Range<Int>, of y: GraphInference.View, _ x: GraphInference.View,
    residual: GraphInference.View?, scratch: UnsafeMutablePointer<Float>
  ) {
    let count = rows.count * y.width
    let first = rows.lowerBound * y.width
    func apply(
      to target: UnsafeMutablePointer<Float>, stride: Int, then epilogue: Epilogue = .none
    ) {
      switch layer {
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
}
