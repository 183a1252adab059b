import Foundation

extension HTMLRenderer {
  /// A figure as HTML with inline SVG.
  func figure(_ figure: ReportFigure) -> String {
    switch figure {
    case .lines(let title, let axis, let series): lines(title, axis, series)
    case .bars(let title, let rows): bars(title, rows)
    case .histograms(let title, let histograms): section(title, histograms)
    case .pictures(let pictures): section(pictures)
    }
  }

  private func bars(_ title: String, _ rows: [ReportFigure.Bar]) -> String {
    let largest = rows.map(\.value).filter(\.isFinite).max() ?? 0
    let items = rows.map { row in
      let share = largest > 0 && row.value.isFinite ? max(0, row.value / largest) * 100 : 0
      return "<tr><th scope=\"row\">\(dotted(row.label))</th><td><i style=\"width:"
        + String(format: "%.1f", share) + "%\"></i></td><td>\(escaped(row.text))</td></tr>"
    }
    return """
      <section><h2>\(escaped(title))</h2>
      <div class="scroll"><table class="bars">
      \(items.joined(separator: "\n"))
      </table></div></section>
      """
  }

  private func lines(_ title: String, _ axis: String, _ series: [ReportFigure.Series]) -> String {
    let plot = LinePlot(series)
    let legend = series.enumerated().map { index, series in
      "<span class=\"series\(index % LinePlot.colours)\">\(escaped(series.label))</span>"
    }
    let drawn = series.enumerated().map { index, series in
      let points = plot.places(of: series)
      let line = points.map { $0.text }.joined(separator: " ")
      let dots = zip(points, series.points).map { place, point in
        "<circle cx=\"\(place.x)\" cy=\"\(place.y)\" r=\"3\"><title>\(escaped(point.label)): "
          + "\(ReportNumber.real(point.value))</title></circle>"
      }
      return "<g class=\"series\(index % LinePlot.colours)\"><polyline points=\"\(line)\"/>"
        + dots.joined() + "</g>"
    }
    let grid = plot.decades.map { decade in
      let y = plot.y(decade: Double(decade))
      return "<line x1=\"56\" x2=\"\(LinePlot.width - 8)\" y1=\"\(y)\" y2=\"\(y)\"/>"
        + "<text x=\"48\" y=\"\(y)\" dy=\".32em\">10<tspan dy=\"-.5em\">\(decade)</tspan></text>"
    }
    return """
      <section><h2>\(escaped(title))</h2>
      <figure><p class="legend">\(legend.joined(separator: " "))</p>
      <div class="scroll"><svg class="plot" viewBox="0 0 \(LinePlot.width) \(LinePlot.height)" \
      role="img" aria-label="\(escaped(title))">
      <g class="grid">\(grid.joined())</g>
      \(drawn.joined(separator: "\n"))
      </svg></div>
      <figcaption>\(escaped(axis))</figcaption></figure></section>
      """
  }

  /// A name, which may break after its dots.
  private func dotted(_ name: String) -> String {
    escaped(name).replacing(".", with: ".<wbr>")
  }
}

/// Where the points of a logarithmic plot stand.
private struct LinePlot {
  static let width = 960
  static let height = 300
  /// Series beyond so many repeat the colours.
  static let colours = 4

  private let positions: ClosedRange<Int>
  /// The powers of ten that have a grid line.
  let decades: [Int]

  struct Place {
    let x: String
    let y: String
    var text: String { "\(x),\(y)" }
  }

  init(_ series: [ReportFigure.Series]) {
    let points = series.flatMap(\.points)
    let places = points.map(\.position)
    positions = (places.min() ?? 0)...(places.max() ?? 0)
    let logarithms = points.map(\.value).filter { $0 > 0 && $0.isFinite }.map(log10)
    let lower = Int((logarithms.min() ?? 0).rounded(.down))
    let upper = Int((logarithms.max() ?? 1).rounded(.up))
    decades = Array(lower...max(lower + 1, upper))
  }

  func places(of series: ReportFigure.Series) -> [Place] {
    series.points.map { point in
      let span = Double(max(1, positions.upperBound - positions.lowerBound))
      let share = Double(point.position - positions.lowerBound) / span
      let decade = point.value > 0 ? log10(point.value) : -.infinity
      return Place(
        x: String(format: "%.1f", 64 + share * Double(Self.width - 80)), y: y(decade: decade))
    }
  }

  /// Infinite values stand at the edges.
  func y(decade: Double) -> String {
    let (lower, upper) = (Double(decades[0]), Double(decades[decades.count - 1]))
    let share = (min(max(decade, lower), upper) - lower) / (upper - lower)
    return String(format: "%.1f", Double(Self.height) - 16 - share * Double(Self.height - 32))
  }
}
