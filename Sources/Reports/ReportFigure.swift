/// A drawing of a report.
package enum ReportFigure: Hashable, Sendable {
  /// Values over a common axis, on a logarithmic scale; the first series is the report's subject.
  case lines(title: String, axis: String, series: [Series])
  /// Amounts from zero, one bar per row.
  case bars(title: String, rows: [Bar])
  /// Distributions of values, one histogram per measured item.
  case histograms(title: String, [ReportHistogram])
  /// Numbers by row and column, as a table whose cells are coloured by them.
  case heatMap(ReportHeatMap)
  /// Images side by side.
  case images(ReportImages)

  /// Whether the figure is a plot over an axis.
  var isPlot: Bool {
    switch self {
    case .lines, .heatMap: true
    default: false
    }
  }

  /// Whether the figure contains raster images.
  var hasImages: Bool {
    if case .images = self { true } else { false }
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
    /// The position along the axis.
    package var position: Int
    package var label: String
    /// A positive value; infinite values lie at the upper edge.
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
    /// The value formatted for people.
    package var text: String

    package init(label: String, value: Double, text: String) {
      self.label = label
      self.value = value
      self.text = text
    }
  }
}

/// Numbers by row and column. Large ones are good and pale, small ones bad and red.
package struct ReportHeatMap: Hashable, Sendable {
  package var title: String
  /// A sentence that describes the numbers.
  package var caption: String
  package var rows: [String]
  package var columns: [String]
  /// The numbers, row by row; `nil` for an empty cell.
  package var values: [[Double?]]

  /// - Precondition: There is one value per row and column.
  package init(
    title: String, caption: String, rows: [String], columns: [String], values: [[Double?]]
  ) {
    precondition(
      values.count == rows.count && values.allSatisfy { $0.count == columns.count },
      "'\(title)' does not have one value per row and column")
    self.title = title
    self.caption = caption
    self.rows = rows
    self.columns = columns
    self.values = values
  }
}

/// A histogram, with its bars side by side.
package struct ReportHistogram: Hashable, Sendable {
  package struct Bin: Hashable, Sendable {
    /// The counted values, formatted for people.
    package var label: String
    package var count: Int

    package init(label: String, count: Int) {
      self.label = label
      self.count = count
    }
  }

  package var title: String
  /// A sentence that describes what is counted.
  package var caption: String
  package var bins: [Bin]

  package init(title: String, caption: String, bins: [Bin]) {
    self.title = title
    self.caption = caption
    self.bins = bins
  }
}

/// Rows of small images for visual comparison.
package struct ReportImages: Hashable, Sendable {
  package var title: String
  package var rows: [Row]

  package init(title: String, rows: [Row]) {
    self.title = title
    self.rows = rows
  }

  /// Images of the same subject, side by side.
  package struct Row: Hashable, Sendable {
    package var caption: String
    package var images: [Image]

    package init(caption: String, images: [Image]) {
      self.caption = caption
      self.images = images
    }
  }

  /// An image embedded in the report.
  package struct Image: Hashable, Sendable {
    package var label: String
    /// Text below the label, such as a measurement.
    package var note: String
    /// A PNG file.
    package var png: [UInt8]
    /// The displayed size in CSS pixels; the image's own pixels become squares.
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
