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
