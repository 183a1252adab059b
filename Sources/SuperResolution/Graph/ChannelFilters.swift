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
    let (height, width) = shape.kernel
    func places(_ place: Int, _ count: Int, _ padding: Int, of side: Int) -> [Int?] {
      (0..<count).map {
        shape.mode.pixel(place * shape.step + $0 * shape.dilation - padding, of: side)
      }
    }
    let columns = (0..<y.width).map { places($0, width, shape.padding.width, of: x.width) }
    weight.withUnsafeBufferPointer { weight in
      bias.withUnsafeBufferPointer { bias in
        guard let weight = weight.baseAddress, let bias = bias.baseAddress else { return }
        var taps: [(source: UnsafeMutablePointer<Float>, weight: UnsafePointer<Float>)] = []
        taps.reserveCapacity(height * width)
        for row in rows {
          let fromRows = places(row, height, shape.padding.height, of: x.height)
          for (column, fromColumns) in columns.enumerated() {
            taps.removeAll(keepingCapacity: true)
            for (down, fromRow) in fromRows.enumerated() {
              guard let fromRow else { continue }
              for (right, fromColumn) in fromColumns.enumerated() {
                guard let fromColumn else { continue }
                taps.append(
                  (x.pixel(fromRow, fromColumn), weight + (down * width + right) * y.channels))
              }
            }
            add(taps, bias, to: y.pixel(row, column), channels: y.channels)
          }
        }
      }
    }
  }

  /// Writes the bias and the products of all taps, with the sums of several channels in registers.
  private func add(
    _ taps: [(source: UnsafeMutablePointer<Float>, weight: UnsafePointer<Float>)],
    _ bias: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, channels: Int
  ) {
    typealias Vector = SIMD16<Float>
    func load(_ pointer: UnsafePointer<Float>) -> Vector {
      UnsafeRawPointer(pointer).loadUnaligned(as: Vector.self)
    }
    let whole = channels - channels % Vector.scalarCount
    for channel in stride(from: 0, to: whole, by: Vector.scalarCount) {
      var sum = load(bias + channel)
      for tap in taps { sum += load(tap.source + channel) * load(tap.weight + channel) }
      UnsafeMutableRawPointer(y + channel).storeBytes(of: sum, as: Vector.self)
    }
    for channel in whole..<channels {
      y[channel] = taps.reduce(bias[channel]) { $0 + $1.source[channel] * $1.weight[channel] }
    }
  }
}
