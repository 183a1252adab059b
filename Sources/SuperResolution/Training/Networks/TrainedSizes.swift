extension NetworkGraph {
  /// Returns the size of every result of a network that can learn, for an image of `height` × `width`
  /// pixels; `nil` if that has too few.
  func trainedSizes(height: Int, width: Int) -> [(height: Int, width: Int)]? {
    var sizes: [(height: Int, width: Int)] = []
    for node in nodes {
      let inputs = node.inputs.map { sizes[$0.node] }
      guard let size = node.operation.size(of: inputs, image: (height, width)) else { return nil }
      sizes.append(size)
    }
    return sizes
  }
}

extension GraphOperation {
  /// Returns the size of the result; `nil` where an input has too few pixels.
  fileprivate func size(
    of inputs: [(height: Int, width: Int)], image: (height: Int, width: Int)
  ) -> (height: Int, width: Int)? {
    let (height, width) = inputs.first ?? image
    switch self {
    case .constant(let parameter): return (parameter.shape.dropLast().reduce(1, *), 1)
    case .offsets(let height, let width): return (2 * height - 1, 2 * width - 1)
    case .convolution(let shape, _, _, _, _):
      guard
        shape.mode != .reflect || shape.padding.height < height && shape.padding.width < width
      else { return nil }
      let size = shape.output(height: height, width: width)
      return size.height > 0 && size.width > 0 ? size : nil
    case .move(let move):
      let other = inputs.dropFirst().first
      return move.side(of: height, other: other?.height).flatMap { height in
        move.side(of: width, other: other?.width).map { (height, $0) }
      }
    case .pixelShuffle(let factor): return (height * factor, width * factor)
    case .pixelUnshuffle(let factor):
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
    default: return (height, width)
    }
  }
}
