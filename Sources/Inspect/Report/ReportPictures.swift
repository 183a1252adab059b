/// Rows of small pictures to compare by eye.
public struct ReportPictures: Hashable, Sendable {
  public var title: String
  public var rows: [Row]

  public init(title: String, rows: [Row]) {
    self.title = title
    self.rows = rows
  }

  /// Pictures of the same thing, side by side.
  public struct Row: Hashable, Sendable {
    public var caption: String
    public var pictures: [Picture]

    public init(caption: String, pictures: [Picture]) {
      self.caption = caption
      self.pictures = pictures
    }
  }

  /// A picture that the report holds itself.
  public struct Picture: Hashable, Sendable {
    public var label: String
    /// What stands below the label, such as a measurement.
    public var note: String
    /// A PNG file.
    public var png: [UInt8]
    /// How large it is shown, in CSS pixels; its own pixels become squares.
    public var width: Int
    public var height: Int

    public init(label: String, note: String, png: [UInt8], width: Int, height: Int) {
      self.label = label
      self.note = note
      self.png = png
      self.width = width
      self.height = height
    }
  }
}
