/// A drawing of a report.
public enum ReportFigure: Hashable, Sendable {
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

  public struct Series: Hashable, Sendable {
    public var label: String
    public var points: [Point]

    public init(label: String, points: [Point]) {
      self.label = label
      self.points = points
    }
  }

  public struct Point: Hashable, Sendable {
    /// The place along the axis.
    public var position: Int
    public var label: String
    /// Positive; infinite values stand at the upper edge.
    public var value: Double

    public init(position: Int, label: String, value: Double) {
      self.position = position
      self.label = label
      self.value = value
    }
  }

  public struct Bar: Hashable, Sendable {
    public var label: String
    public var value: Double
    /// The value as people read it.
    public var text: String

    public init(label: String, value: Double, text: String) {
      self.label = label
      self.value = value
      self.text = text
    }
  }
}
