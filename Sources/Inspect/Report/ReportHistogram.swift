/// How often which values occur: bars side by side.
public struct ReportHistogram: Hashable, Sendable {
  public struct Bin: Hashable, Sendable {
    /// The values that are counted, as a person reads them.
    public var label: String
    public var count: Int

    public init(label: String, count: Int) {
      self.label = label
      self.count = count
    }
  }

  public var title: String
  /// A sentence that says what is counted.
  public var caption: String
  public var bins: [Bin]

  public init(title: String, caption: String, bins: [Bin]) {
    self.title = title
    self.caption = caption
    self.bins = bins
  }
}
