extension NetworkGraph {
  /// The most elements of a result: far more than memory holds, and few enough to count with.
  private static let largestCount = 1 << 40

  /// Returns the size of every result for an image of `height` × `width` pixels; `nil` if that has too
  /// few or a result too many, or results that go together differ.
  func sizes(height: Int, width: Int) -> [(height: Int, width: Int)]? {
    let isPixel = singlePixels
    var sizes: [(height: Int, width: Int)] = []
    for node in nodes {
      if case .input = node.operation {
        sizes.append((height, width))
        continue
      }
      guard let size = node.operation.size(of: node.inputs.map { sizes[$0.node] }),
        max(size.height, size.width) <= 1 << 24,
        size.height * size.width <= Self.largestCount / node.channels
      else { return nil }
      switch node.operation {
      case .add, .multiply:
        guard node.inputs.allSatisfy({ isPixel[$0.node] || sizes[$0.node] == size }) else {
          return nil
        }
      case .concatenate:
        guard node.inputs.allSatisfy({ sizes[$0.node] == size }) else { return nil }
      default: break
      }
      sizes.append(size)
    }
    return sizes
  }
}

extension GraphOperation {
  /// Returns the size of the result; `nil` where an input has too few pixels.
  ///
  /// - Precondition: the operator is not the image itself.
  func size(of inputs: [(height: Int, width: Int)]) -> (height: Int, width: Int)? {
    // A constant has no input.
    let (height, width) = inputs.first ?? (0, 0)
    switch self {
    case .input: preconditionFailure("the size of the image is given")
    case .constant(let parameter): return (parameter.shape.dropLast().reduce(1, *), 1)
    case .offsets(let height, let width): return (2 * height - 1, 2 * width - 1)
    case .convolution(let shape, _, _, _, _):
      guard
        shape.mode != .reflect || shape.padding.height < height && shape.padding.width < width
      else { return nil }
      let size = shape.output(height: height, width: width)
      return size.height > 0 && size.width > 0 ? size : nil
    case .channelAttention(let division, _, _, _):
      return division.window(height: height, width: width) == nil ? nil : inputs[0]
    case .correlation(let shape):
      let sides = [(height, inputs[1].height), (width, inputs[1].width)]
      return sides.allSatisfy { $0 % shape.window == 0 && $1 * shape.cell == $0 }
        && inputs[2].height * inputs[2].width == shape.span * shape.span ? inputs[0] : nil
    case .move(let move):
      let other = inputs.dropFirst().first
      return move.side(of: height, other: other?.height).flatMap { height in
        move.side(of: width, other: other?.width).map { (height, $0) }
      }
    case .overlapAttention(let shape, _):
      return height % shape.window == 0 && width % shape.window == 0 ? inputs[0] : nil
    case .pixelShuffle(let factor), .sample(let factor, _):
      return (height * factor, width * factor)
    case .bicubic(let ratio):
      return ratio.side(of: height).flatMap { height in
        ratio.side(of: width).map { (height, $0) }
      }
    case .pixelUnshuffle(let factor), .mergePixels(let factor):
      return height % factor == 0 && width % factor == 0 ? (height / factor, width / factor) : nil
    case .bilinear: return inputs[1]
    case .largestInGrid(let divisor): return (max(1, height / divisor), max(1, width / divisor))
    case .average: return (1, 1)
    case .largest(let side, let step):
      guard height >= side, width >= side else { return nil }
      return ((height - side) / step + 1, (width - side) / step + 1)
    case .add, .multiply:
      // One of them may have but one pixel.
      return inputs.max { $0.height * $0.width < $1.height * $1.width }
    case .linear, .windowAttention, .normalizeHeads, .function, .parametricReLU, .scale,
      .addChannels, .addPositions, .concatenate, .channels, .repeatChannels, .normalizePixels,
      .normalizeChannels, .normalizeGroups:
      return inputs[0]
    }
  }
}
