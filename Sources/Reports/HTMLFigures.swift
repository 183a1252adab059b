import FoundationEssentials
import Glibc

extension HTMLRenderer {
  /// Returns a figure as HTML with inline SVG.
  func figure(_ figure: ReportFigure) -> String {
    switch figure {
    case .lines(let title, let axis, let series): lines(title, axis, series)
    case .bars(let title, let rows): bars(title, rows)
    case .histograms(let title, let histograms): section(title, histograms)
    case .heatMap(let map): section(map)
    case .images(let images): section(images)
    }
  }

  private func bars(_ title: String, _ rows: [ReportFigure.Bar]) -> String {
    let largest = rows.map(\.value).filter(\.isFinite).max() ?? 0
    let items = rows.map { row in
      let share = largest > 0 && row.value.isFinite ? max(0, row.value / largest) * 100 : 0
      return "<tr><th scope=\"row\">\(dotted(row.label))</th><td><i style=\"width:"
        + String(printf: "%.1f", share) + "%\"></i></td><td>\(row.text.escapingMarkup)</td></tr>"
    }
    return """
      <section><h2>\(title.escapingMarkup)</h2>
      <div class="scroll"><table class="bars">
      \(items.joined(separator: "\n"))
      </table></div></section>
      """
  }

  private func lines(_ title: String, _ axis: String, _ series: [ReportFigure.Series]) -> String {
    let plot = LinePlot(series)
    let legend = series.enumerated().map { index, series in
      "<span class=\"series\(index % LinePlot.colours)\">\(series.label.escapingMarkup)</span>"
    }
    let drawn = series.enumerated().map { index, series in
      let points = plot.places(of: series)
      let line = points.map { $0.text }.joined(separator: " ")
      let named = LinePlot.named(series.points)
      let dots = zip(points, series.points).enumerated().filter { named.contains($0.offset) }.map {
        let (place, point) = $0.element
        return
          "<circle cx=\"\(place.x)\" cy=\"\(place.y)\" r=\"3\"><title>\(point.label.escapingMarkup): "
          + "\(ReportNumber.real(point.value))</title></circle>"
      }
      return "<g class=\"series\(index % LinePlot.colours)\"><polyline points=\"\(line)\"/>"
        + dots.joined() + "</g>"
    }
    let grid = plot.ticks.map { tick in
      let y = plot.y(logarithm: log10(tick))
      let exponent = Int(log10(tick).rounded())
      let label =
        tick == pow(10, Double(exponent))
        ? "10<tspan dy=\"-.5em\">\(exponent)</tspan>" : String(printf: "%.3g", tick)
      return "<line x1=\"56\" x2=\"\(LinePlot.width - 8)\" y1=\"\(y)\" y2=\"\(y)\"/>"
        + "<text x=\"48\" y=\"\(y)\" dy=\".32em\">\(label)</text>"
    }
    return """
      <section><h2>\(title.escapingMarkup)</h2>
      <figure><p class="legend">\(legend.joined(separator: " "))</p>
      <div class="scroll"><svg class="plot" viewBox="0 0 \(LinePlot.width) \(LinePlot.height)" \
      role="img" aria-label="\(title.escapingMarkup)">
      <g class="grid">\(grid.joined())</g>
      \(drawn.joined(separator: "\n"))
      </svg></div>
      <figcaption>\(axis.escapingMarkup)</figcaption></figure></section>
      """
  }

  /// Returns a name that may break after its dots.
  private func dotted(_ name: String) -> String {
    name.escapingMarkup.replacing(".", with: ".<wbr>")
  }
}

/// The positions of points in a logarithmic plot.
private struct LinePlot {
  static let width = 960
  static let height = 300
  /// The number of distinct colours; further series repeat them.
  static let colours = 4

  private let positions: ClosedRange<Int>
  /// The decimal logarithms at the lower and the upper edge.
  private let range: ClosedRange<Double>
  /// The values with a grid line.
  let ticks: [Double]

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
    let (least, greatest) = (logarithms.min() ?? 0, logarithms.max() ?? 1)
    if greatest - least > 1 {
      let (lower, upper) = (Int(least.rounded(.down)), Int(greatest.rounded(.up)))
      range = Double(lower)...Double(upper)
      ticks = (lower...upper).map { pow(10, Double($0)) }
    } else {
      // Values of one size would be a line at the edge of a whole power of ten.
      let margin = max(0.05, (greatest - least) / 10)
      let range = least - margin...greatest + margin
      let decades = Int(range.lowerBound.rounded(.down))...Int(range.upperBound.rounded(.down))
      self.range = range
      let round = decades.flatMap { decade in (1...9).map { Double($0) * pow(10, Double(decade)) } }
        .filter { range.contains(log10($0)) }
      ticks = round.isEmpty ? [pow(10, (least + greatest) / 2)] : round
    }
  }

  func places(of series: ReportFigure.Series) -> [Place] {
    series.points.map { point in
      let span = Double(max(1, positions.upperBound - positions.lowerBound))
      let share = Double(point.position - positions.lowerBound) / span
      let logarithm = point.value > 0 ? log10(point.value) : -.infinity
      return Place(
        x: String(printf: "%.1f", 64 + share * Double(Self.width - 80)), y: y(logarithm: logarithm))
    }
  }

  /// Returns the positions of the points that get a dot with their name: all, or of very many those
  /// with the largest values.
  static func named(_ points: [ReportFigure.Point]) -> Set<Int> {
    guard points.count > 800 else { return Set(points.indices) }
    return Set(points.indices.sorted { points[$1].value < points[$0].value }.prefix(100))
  }

  /// Returns the y coordinate of a logarithm. Infinite values lie at the edges.
  func y(logarithm: Double) -> String {
    let (lower, upper) = (range.lowerBound, range.upperBound)
    let share = (min(max(logarithm, lower), upper) - lower) / (upper - lower)
    return String(printf: "%.1f", Double(Self.height) - 16 - share * Double(Self.height - 32))
  }
}

extension HTMLRenderer {
  /// Returns one section with a figure for each histogram.
  func section(_ title: String, _ histograms: [ReportHistogram]) -> String {
    """
    <section><h2>\(title.escapingMarkup)</h2>
    <div style="display:flex;flex-wrap:wrap;gap:1rem">
    \(histograms.map(figure).joined(separator: "\n"))
    </div></section>
    """
  }

  /// Returns a histogram with bars of equal width, the highest filling the height. Hovering over a
  /// bar shows its values and its count.
  private func figure(_ histogram: ReportHistogram) -> String {
    let (width, height) = (320.0, 80.0)
    let largest = Double(max(1, histogram.bins.map(\.count).max() ?? 1))
    let step = width / Double(max(1, histogram.bins.count))
    let bars = histogram.bins.enumerated().map { index, bin in
      let bar = bin.count == 0 ? 0 : max(1, Double(bin.count) / largest * height)
      return "<rect x=\"\(number(Double(index) * step))\" y=\"\(number(height - bar))\" "
        + "width=\"\(number(step * 0.9))\" height=\"\(number(bar))\">"
        + "<title>\(bin.label.escapingMarkup): \(bin.count)</title></rect>"
    }
    let title = histogram.title.escapingMarkup
    return """
      <figure style="margin:0;max-width:20rem">
      <svg viewBox="0 0 \(number(width)) \(number(height))" role="img" aria-label="\(title)" \
      style="width:100%;fill:var(--bar)">\(bars.joined())</svg>
      <figcaption><strong>\(title)</strong><br><small>\(histogram.caption.escapingMarkup)</small></figcaption>
      </figure>
      """
  }

  private func number(_ value: Double) -> String { String(printf: "%.2f", value) }
}

extension HTMLRenderer {
  /// Returns a heat map as a table with its numbers, which colours only underline.
  func section(_ map: ReportHeatMap) -> String {
    let finite = map.values.joined().compactMap { $0 }.filter(\.isFinite)
    let (low, high) = (finite.min() ?? 0, finite.max() ?? 1)
    let head = map.columns.map { "<th scope=\"col\">\($0.escapingMarkup)</th>" }
    let rows = zip(map.rows, map.values).map { label, values in
      let cells = values.map { value -> String in
        guard let value else { return "<td></td>" }
        let share = high > low ? (min(max(value, low), high) - low) / (high - low) : 1
        let text = value.isFinite ? String(printf: "%.1f", value) : ReportNumber.real(value)
        return "<td style=\"--heat:\(Int((100 - 100 * share).rounded()))%\">\(text)</td>"
      }
      return "<tr><th scope=\"row\">\(dotted(label))</th>\(cells.joined())</tr>"
    }
    return """
      <section><h2>\(map.title.escapingMarkup)</h2>
      <div class="scroll" tabindex="0" role="region" aria-label="\(map.title.escapingMarkup)">\
      <table class="heat">
      <thead><tr><td></td>\(head.joined())</tr></thead>
      <tbody>
      \(rows.joined(separator: "\n"))
      </tbody>
      </table></div>
      <p class="legend">\(map.caption.escapingMarkup)</p></section>
      """
  }
}

extension HTMLRenderer {
  /// Returns images embedded in the page as `data:` URLs.
  func section(_ images: ReportImages) -> String {
    let rows = images.rows.map { row in
      """
      <h3>\(row.caption.escapingMarkup)</h3>
      <div class="images">
      \(row.images.map(figure).joined(separator: "\n"))
      </div>
      """
    }
    let content = rows.isEmpty ? "<p>None.</p>" : rows.joined(separator: "\n")
    return "<section><h2>\(images.title.escapingMarkup)</h2>\n\(content)\n</section>"
  }

  private func figure(_ image: ReportImages.Image) -> String {
    let name = "\(image.label) \(image.note)".escapingMarkup
    let data = Data(image.png).base64EncodedString()
    return """
      <figure><img src="data:image/png;base64,\(data)" alt="\(name)" \
      width="\(image.width)" height="\(image.height)">\
      <figcaption>\(image.label.escapingMarkup)<small>\(image.note.escapingMarkup)</small></figcaption></figure>
      """
  }
}

/// A descending spectrum in compact form: logarithms scaled between a floor and the largest value.
struct Sparkline {
  /// The heights, from 0 at or below the floor to 1 for the largest value.
  let heights: [Double]

  /// The number of decades below the largest value at which values look like zero.
  private static let deepest = 8.0
  /// The smallest range in decades: a flatter spectrum does not fill the height, to look flat.
  private static let shallowest = 1.0

  /// Creates a sparkline.
  ///
  /// - Parameter values: Numbers that are not negative, largest first.
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

  /// The sparkline as at most ten characters, such as `█▇▆▆▅▅▄▃▂▁`.
  var text: String {
    let blocks = Array("▁▂▃▄▅▆▇█")
    return sampled(10).map { String(blocks[Int(($0 * 7).rounded())]) }.joined()
  }

  /// The sparkline as an SVG polyline in a box of 120 by 28 units, with the area below filled.
  var svg: String {
    let count = Double(max(1, heights.count - 1))
    let points = heights.enumerated().map { index, height in
      String(printf: "%.1f,%.1f", Double(index) / count * 118 + 1, 26 - height * 24)
    }
    guard let first = points.first else { return "" }
    // A single value is drawn as a horizontal line.
    let line =
      points.count == 1
      ? "\(first) 119,\(first.split(separator: ",")[1])" : points.joined(separator: " ")
    return "<svg class=\"spark\" viewBox=\"0 0 120 28\" aria-hidden=\"true\">"
      + "<polygon points=\"1,27 \(line) 119,27\"/><polyline points=\"\(line)\"/></svg>"
  }

  /// The heights as letters, from `A` for 0 to `-` for 1, as the page's script reads them.
  var letters: [UInt8] {
    let alphabet = Array(
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-".utf8)
    return heights.map { alphabet[Int(($0 * 63).rounded())] }
  }

  private func sampled(_ count: Int) -> [Double] {
    guard heights.count > count else { return heights }
    return (0..<count).map { heights[$0 * (heights.count - 1) / (count - 1)] }
  }
}
