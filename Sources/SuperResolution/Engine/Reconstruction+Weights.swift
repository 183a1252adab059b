import Storage

extension Reconstruction {
  /// Creates one convolution and a pixel shuffle (`pixelshuffledirect`).
  ///
  /// - Parameter outputs: channels of images, which the weight's shape alone does not determine.
  init(direct weights: inout WeightReader, channels: Int, outputs: Int) throws {
    let name = "upsample.0"
    let count = try weights.dimensions(of: "\(name).weight", rank: 4)[0]
    guard let scale = (1...8).first(where: { $0 * $0 * outputs == count }) else {
      throw WeightMismatch(
        tensor: "\(name).weight",
        problem: "has \(counted(count, "output")), expected \(outputs) times a square up to 64")
    }
    let convolution = try ConvolutionLayer(&weights, name, outputs: count, inputs: channels)
    self.init([.convolution(convolution, .none), .pixelShuffle(scale)], outputs: outputs)
  }

  /// Creates a convolution, then one with a pixel shuffle for every factor of 2 or for a factor of
  /// 3, and a last convolution (`pixelshuffle`).
  init(shuffling weights: inout WeightReader, channels: Int) throws {
    let (first, width) = try Self.before(&weights, channels: channels)
    var steps = [first]
    var stage = 0
    while weights.contains("upsample.\(2 * stage).weight") {
      let name = "upsample.\(2 * stage)"
      let count = try weights.dimensions(of: "\(name).weight", rank: 4)[0]
      guard stage < 3, count == 4 * width || count == 9 * width else {
        throw WeightMismatch(
          tensor: "\(name).weight",
          problem:
            "has \(counted(count, "output")), expected \(4 * width) or \(9 * width) in up to 3 stages"
        )
      }
      let convolution = try ConvolutionLayer(&weights, name, outputs: count, inputs: width)
      steps += [.convolution(convolution, .none), .pixelShuffle(count == 4 * width ? 2 : 3)]
      stage += 1
    }
    try self.init(ending: steps, &weights, width: width)
  }

  private init(ending steps: [Step], _ weights: inout WeightReader, width: Int) throws {
    let outputs = try weights.dimensions(of: "conv_last.weight", rank: 4)[0]
    let last = try ConvolutionLayer(&weights, "conv_last", outputs: outputs, inputs: width)
    self.init(steps + [.convolution(last, .none)], outputs: outputs)
  }

  /// Reads the convolution from the body's channels to those of the upscaling stages.
  private static func before(
    _ weights: inout WeightReader, channels: Int
  ) throws -> (step: Step, width: Int) {
    let name = "conv_before_upsample.0"
    let width = try weights.dimensions(of: "\(name).weight", rank: 4)[0]
    let convolution = try ConvolutionLayer(&weights, name, outputs: width, inputs: channels)
    return (.convolution(convolution, .leakySlope1), width)
  }
}
