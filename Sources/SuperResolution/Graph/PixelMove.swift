/// An operator whose result has pixels of its input at other places, by rows and columns alike.
enum PixelMove: Hashable, Sendable {
  /// Row `i · n + y` of `count · n` becomes row `y · count + i`.
  case interleave(Int)
  /// The inverse of `interleave`.
  case deinterleave(Int)
  /// Each pixel becomes `r` × `r`.
  case nearest(Int)
  /// The nearest pixel above and to the left, at the size of the second input.
  case nearestTo
  /// The image is mirrored at its right and lower edges, again where one mirror image is not enough, up
  /// to multiples of a side.
  case mirror(multiple: Int)
  /// The part of the size of the second input that begins so many rows and columns from the upper left.
  case crop(from: Int)
  /// Without so many rows above and columns to the left, and below and to the right.
  case trim(before: Int, after: Int)
  /// Each pixel becomes `side` × `side`: itself and those to the right and below, or to the left and
  /// above. What lies beyond an edge is the pixel `side` places back.
  case neighbours(Int, isBefore: Bool)

  /// Returns the result's height or width; `nil` where the input has too few pixels, or a number that
  /// does not divide.
  ///
  /// - Parameter other: that of the second input.
  func side(of side: Int, other: Int?) -> Int? {
    switch self {
    case .interleave(let count), .deinterleave(let count):
      side % count == 0 ? side : nil
    case .nearest(let factor): side * factor
    case .nearestTo: other
    case .mirror(let multiple): (side + multiple - 1) / multiple * multiple
    case .crop(let first): other.flatMap { first + $0 <= side ? $0 : nil }
    case .trim(let before, let after): side > before + after ? side - before - after : nil
    case .neighbours(let count, _): side >= count ? side * count : nil
    }
  }

  /// Returns the row of the input, of `side`, from which row `place` of `count` comes.
  func source(_ place: Int, of count: Int, side: Int) -> Int {
    switch self {
    case .interleave(let parts): return place % parts * (count / parts) + place / parts
    case .deinterleave(let parts):
      let length = count / parts
      return place % length * parts + place / length
    case .nearest(let factor): return place / factor
    case .nearestTo:
      // In PyTorch's precision.
      return min(Int(Float(place) * (Float(side) / Float(count))), side - 1)
    case .mirror:
      guard side > 1 else { return 0 }
      let place = place % (2 * (side - 1))
      return place < side ? place : 2 * (side - 1) - place
    case .crop(let first): return first + place
    case .trim(let before, _): return before + place
    case .neighbours(let parts, let isBefore):
      let place = place / parts + place % parts - (isBefore ? parts - 1 : 0)
      return place < 0 ? place + parts : place < side ? place : place - parts
    }
  }
}

extension PixelMove {
  /// Makes some rows of the result.
  func make(_ rows: Range<Int>, of y: GraphInference.View, from x: GraphInference.View) {
    let columns = (0..<y.width).map { source($0, of: y.width, side: x.width) }
    for row in rows {
      let from = source(row, of: y.height, side: x.height)
      for (column, source) in columns.enumerated() {
        y.pixel(row, column).update(from: x.pixel(from, source), count: y.channels)
      }
    }
  }
}
