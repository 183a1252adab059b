extension GraphOperation {
  /// Applies an operator whose results depend on pixels at other places.
  ///
  /// - Parameters:
  ///   - size: the size of the image whose pixels are the rows of `x`.
  ///   - target: the size of the result.
  func resample(
    _ x: Variable, _ size: (height: Int, width: Int), to target: (height: Int, width: Int),
    _ tape: Tape
  ) -> Variable {
    typealias Kernel = GraphInference.Kernel
    func pixel(_ row: Int, _ column: Int) -> Int { row * size.width + column }
    /// Returns one element for each pixel of the result.
    func each<Element>(_ body: (_ row: Int, _ column: Int) -> Element) -> [Element] {
      (0..<target.height * target.width).map { body($0 / target.width, $0 % target.width) }
    }
    func pixels(_ rows: Range<Int>, _ columns: Range<Int>) -> [Int] {
      rows.flatMap { row in columns.map { pixel(row, $0) } }
    }
    switch self {
    case .bilinear:
      let down = LinearPlace.spread(from: size.height, to: target.height)
      let right = LinearPlace.spread(from: size.width, to: target.width)
      return tape.combineRows(
        x,
        each { row, column in
          let (vertical, horizontal) = (down[row], right[column])
          return [(vertical.first, 1 - vertical.share), (vertical.second, vertical.share)]
            .flatMap { row, weight in
              [
                (pixel(row, horizontal.first), weight * (1 - horizontal.share)),
                (pixel(row, horizontal.second), weight * horizontal.share),
              ]
            }
        })
    case .bicubic(let ratio):
      let kernel = CubicResizing(ratio)
      return tape.combineRows(
        x,
        each { row, column in
          kernel.weights(row, of: size.height).flatMap { row, vertical in
            kernel.weights(column, of: size.width).map { column, horizontal in
              (row: pixel(row, column), weight: vertical * horizontal)
            }
          }
        })
    case .move(let move):
      return tape.combineRows(
        x,
        each { row, column in
          let from = (
            move.source(row, of: target.height, side: size.height),
            move.source(column, of: target.width, side: size.width)
          )
          return [(row: pixel(from.0, from.1), weight: Float(1))]
        })
    case .largest(let side, let step):
      return tape.largest(
        x,
        each { pixels($0 * step..<$0 * step + side, $1 * step..<$1 * step + side) })
    case .largestInGrid:
      return tape.largest(
        x,
        each { row, column in
          pixels(
            Kernel.cell(row, of: target.height, over: size.height),
            Kernel.cell(column, of: target.width, over: size.width))
        })
    default: preconditionFailure("an operator that moves pixels")
    }
  }
}
