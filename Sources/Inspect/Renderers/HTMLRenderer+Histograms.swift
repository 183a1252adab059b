import Foundation

extension HTMLRenderer {
  /// One section with a figure for each histogram.
  func section(_ title: String, _ histograms: [ReportHistogram]) -> String {
    """
    <section><h2>\(escaped(title))</h2>
    <div style="display:flex;flex-wrap:wrap;gap:1rem">
    \(histograms.map(figure).joined(separator: "\n"))
    </div></section>
    """
  }

  /// Bars of equal width; the highest one fills the height. Each says its values and its count where
  /// a pointer rests on it.
  private func figure(_ histogram: ReportHistogram) -> String {
    let (width, height) = (320.0, 80.0)
    let largest = Double(max(1, histogram.bins.map(\.count).max() ?? 1))
    let step = width / Double(max(1, histogram.bins.count))
    let bars = histogram.bins.enumerated().map { index, bin in
      let bar = bin.count == 0 ? 0 : max(1, Double(bin.count) / largest * height)
      return "<rect x=\"\(number(Double(index) * step))\" y=\"\(number(height - bar))\" "
        + "width=\"\(number(step * 0.9))\" height=\"\(number(bar))\">"
        + "<title>\(escaped(bin.label)): \(bin.count)</title></rect>"
    }
    let title = escaped(histogram.title)
    return """
      <figure style="margin:0;max-width:20rem">
      <svg viewBox="0 0 \(number(width)) \(number(height))" role="img" aria-label="\(title)" \
      style="width:100%;fill:var(--bar)">\(bars.joined())</svg>
      <figcaption><strong>\(title)</strong><br><small>\(escaped(histogram.caption))</small></figcaption>
      </figure>
      """
  }

  private func number(_ value: Double) -> String { String(format: "%.2f", value) }
}
