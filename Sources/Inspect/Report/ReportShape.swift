/// A tensor's dimensions as reports write them.
struct ReportShape {
  let dimensions: [Int]

  init(_ dimensions: [Int]) {
    self.dimensions = dimensions
  }

  /// `180×60`; a vector is `[180]` and a scalar `[]`.
  var forPeople: String {
    dimensions.count < 2 ? "[\(joined(by: ""))]" : joined(by: "×")
  }

  /// `180x60`, in ASCII; a scalar is empty.
  var forPrograms: String { joined(by: "x") }

  private func joined(by separator: String) -> String {
    dimensions.map(String.init).joined(separator: separator)
  }
}
