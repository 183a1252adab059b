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

/// How often which values occur: bars side by side.
package struct ReportHistogram: Hashable, Sendable {
  package struct Bin: Hashable, Sendable {
    /// The values that are counted, as a person reads them.
    package var label: String
    package var count: Int

    package init(label: String, count: Int) {
      self.label = label
      self.count = count
    }
  }

  package var title: String
  /// A sentence that says what is counted.
  package var caption: String
  package var bins: [Bin]

  package init(title: String, caption: String, bins: [Bin]) {
    self.title = title
    self.caption = caption
    self.bins = bins
  }
}

/// Rows of small pictures to compare by eye.
package struct ReportPictures: Hashable, Sendable {
  package var title: String
  package var rows: [Row]

  package init(title: String, rows: [Row]) {
    self.title = title
    self.rows = rows
  }

  /// Pictures of the same thing, side by side.
  package struct Row: Hashable, Sendable {
    package var caption: String
    package var pictures: [Picture]

    package init(caption: String, pictures: [Picture]) {
      self.caption = caption
      self.pictures = pictures
    }
  }

  /// A picture that the report holds itself.
  package struct Picture: Hashable, Sendable {
    package var label: String
    /// What stands below the label, such as a measurement.
    package var note: String
    /// A PNG file.
    package var png: [UInt8]
    /// How large it is shown, in CSS pixels; its own pixels become squares.
    package var width: Int
    package var height: Int

    package init(label: String, note: String, png: [UInt8], width: Int, height: Int) {
      self.label = label
      self.note = note
      self.png = png
      self.width = width
      self.height = height
    }
  }
}
