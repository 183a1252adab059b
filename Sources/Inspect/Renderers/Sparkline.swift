import Foundation

/// A falling spectrum in little room: heights of the logarithms between a floor and the largest value.
struct Sparkline {
  /// Heights from 0, at or below the floor, to 1, the largest value.
  let heights: [Double]

  /// Values more than so many decades below the largest all look like zero.
  private static let deepest = 8.0
  /// A flatter spectrum does not fill the height, or it would look like a steep one.
  private static let shallowest = 1.0

  /// - Parameter values: not negative, largest first.
  init(_ values: [Double]) {
    guard let largest = values.first, largest > 0, largest.isFinite else {
      heights = values.map { _ in 0 }
      return
    }
    let depths = values.map { $0 > 0 ? log10(largest) - log10($0) : .infinity }
    let range = depths.filter(\.isFinite).max() ?? 0
    let scale = min(Self.deepest, max(Self.shallowest, range))
    heights = depths.map { max(0, 1 - $0 / scale) }
  }

  /// Ten characters at most, `█▇▆▆▅▅▄▃▂▁`.
  var text: String {
    let blocks = Array("▁▂▃▄▅▆▇█")
    return sampled(10).map { String(blocks[Int(($0 * 7).rounded())]) }.joined()
  }

  /// An SVG polyline in a box of 120 by 28 units, filled below.
  var svg: String {
    let count = Double(max(1, heights.count - 1))
    let points = heights.enumerated().map { index, height in
      String(format: "%.1f,%.1f", Double(index) / count * 118 + 1, 26 - height * 24)
    }
    guard let first = points.first else { return "" }
    // A single value is a line, too.
    let line =
      points.count == 1
      ? "\(first) 119,\(first.split(separator: ",")[1])" : points.joined(separator: " ")
    return "<svg class=\"spark\" viewBox=\"0 0 120 28\" aria-hidden=\"true\">"
      + "<polygon points=\"1,27 \(line) 119,27\"/><polyline points=\"\(line)\"/></svg>"
  }

  private func sampled(_ count: Int) -> [Double] {
    guard heights.count > count else { return heights }
    return (0..<count).map { heights[$0 * (heights.count - 1) / (count - 1)] }
  }
}
