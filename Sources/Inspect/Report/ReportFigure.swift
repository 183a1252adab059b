/// A drawing of a report.
package enum ReportFigure: Hashable, Sendable {
  /// Values over a common axis, on a logarithmic scale; the first series is the report's subject.
  case lines(title: String, axis: String, series: [Series])
  /// Amounts from zero, one a row.
  case bars(title: String, rows: [Bar])
  /// How often which values occur, one histogram a thing that was measured.
  case histograms(title: String, [ReportHistogram])
  /// Pictures side by side.
  case pictures(ReportPictures)

  /// Whether it is a plot over an axis.
  var isPlot: Bool {
    if case .lines = self { true } else { false }
  }

  /// Whether it holds pictures of pixels.
  var hasPictures: Bool {
    if case .pictures = self { true } else { false }
  }

  package struct Series: Hashable, Sendable {
    package var label: String
    package var points: [Point]

    package init(label: String, points: [Point]) {
      self.label = label
      self.points = points
    }
  }

  package struct Point: Hashable, Sendable {
    /// The place along the axis.
    package var position: Int
    package var label: String
    /// Positive; infinite values stand at the upper edge.
    package var value: Double

    package init(position: Int, label: String, value: Double) {
      self.position = position
      self.label = label
      self.value = value
    }
  }

  package struct Bar: Hashable, Sendable {
    package var label: String
    package var value: Double
    /// The value as people read it.
    package var text: String

    package init(label: String, value: Double, text: String) {
      self.label = label
      self.value = value
      self.text = text
    }
  }
}
