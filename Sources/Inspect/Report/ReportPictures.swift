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
