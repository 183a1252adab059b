/// A convolution of any shape with one filter per channel.
struct ChannelFilters: Sendable {
  private let shape: ConvolutionShape
  /// `[taps, channels]`.
  private let weight: [Float]
  private let bias: [Float]

  /// - Parameters:
  ///   - weight: `[channels, taps]`.
  ///   - shape: that of one channel.
  init(weight: [Float], bias: [Float]?, channels: Int, shape: ConvolutionShape) {
    self.shape = shape
    let taps = shape.kernel.height * shape.kernel.width
    precondition(weight.count == taps * channels)
    self.weight = weight.indices.map { weight[$0 % channels * taps + $0 / channels] }
    self.bias = bias ?? [Float](repeating: 0, count: channels)
  }

  /// Makes some rows of the result.
  func make(_ rows: Range<Int>, of y: GraphInference.View, from x: GraphInference.View) {
    for row in rows {
      for column in 0..<y.width {
        let target = y.pixel(row, column)
        for channel in 0..<y.channels { target[channel] = bias[channel] }
        for tap in 0..<shape.kernel.height * shape.kernel.width {
          let (down, right) = (tap / shape.kernel.width, tap % shape.kernel.width)
          guard
            let fromRow = shape.mode.pixel(
              row * shape.step + down * shape.dilation - shape.padding.height, of: x.height),
            let fromColumn = shape.mode.pixel(
              column * shape.step + right * shape.dilation - shape.padding.width, of: x.width)
          else { continue }
          let source = x.pixel(fromRow, fromColumn)
          weight.withUnsafeBufferPointer { weight in
            for channel in 0..<y.channels {
              target[channel] += source[channel] * weight[tap * y.channels + channel]
            }
          }
        }
      }
    }
  }
}
