import Glibc

/// Numbers formatted for people.
package enum ReportNumber {
  /// Returns four significant digits, or all digits of the integer part up to 999,999: `12.50`,
  /// `18231`, `1.234e-7`, `inf`.
  package static func real(_ value: Double) -> String {
    guard value.isFinite else { return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf" }
    guard value != 0 else { return "0" }
    // Rounds first: 9.99996 gains a digit before the point.
    let scientific = String(printf: "%.3e", value)
    guard let mark = scientific.utf8.firstIndex(of: UInt8(ascii: "e")),
      let exponent = Int(scientific[mark...].dropFirst())
    else { return "\(value)" }
    if (-3...5).contains(exponent) { return String(printf: "%.*f", max(0, 3 - exponent), value) }
    return "\(scientific[..<mark])e\(exponent)"
  }

  /// Returns the digits in groups of three: `1,234,567`.
  package static func integer(_ value: Int) -> String {
    var grouped = ""
    let digits = String(value.magnitude)
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index).isMultiple(of: 3) { grouped.append(",") }
      grouped.append(digit)
    }
    return value < 0 ? "-\(grouped)" : grouped
  }

  /// Returns a size in powers of 1,024: `512 B`, `43.95 KiB`, `1.234 MiB`.
  package static func bytes(_ count: Int) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var value = Double(count)
    var unit = 0
    while value.magnitude >= 1023.5, unit + 1 < units.count {
      value /= 1024
      unit += 1
    }
    return unit == 0 ? "\(count) B" : "\(real(value)) \(units[unit])"
  }

  /// Returns a percentage such as `12.3%`. Only shares of exactly 0 and 1 become `0%` and `100%`.
  package static func share(_ fraction: Double) -> String {
    guard fraction.isFinite else { return real(fraction) }
    if fraction == 0 { return "0%" }
    if fraction == 1 { return "100%" }
    if fraction < 0.001 { return "<0.1%" }
    if fraction > 0.999 { return ">99.9%" }
    return String(printf: "%.1f%%", fraction * 100)
  }
}

extension ReportCell {
  /// Returns the value formatted for people, not yet escaped.
  package func formatted(as kind: ReportTable.Column.Kind) -> String {
    switch (self, kind) {
    case (.empty, _): ""
    case (.text(let text), _): text
    case (.integer(let value), .bytes): ReportNumber.bytes(value)
    case (.integer(let value), _): ReportNumber.integer(value)
    case (.real(let value), .share): ReportNumber.share(value)
    case (.real(let value), _): ReportNumber.real(value)
    case (.series(let values), _): Sparkline(values).text
    }
  }

  /// The value in full, not yet escaped: the fewest digits that read back as the same number.
  package var plain: String {
    switch self {
    case .empty: ""
    case .text(let text): text
    case .integer(let value): "\(value)"
    case .real(let value): "\(value)"
    case .series(let values): values.map { "\($0)" }.joined(separator: " ")
    }
  }

  /// The value as a sort key; `nil` for texts, series and empty cells.
  package var number: Double? {
    switch self {
    case .empty, .text, .series: nil
    case .integer(let value): Double(value)
    case .real(let value): value
    }
  }
}

/// A tensor's dimensions as written in reports.
package struct ReportShape {
  package let dimensions: [Int]

  package init(_ dimensions: [Int]) {
    self.dimensions = dimensions
  }

  /// The dimensions as `180×60`; `[180]` for a vector and `[]` for a scalar.
  package var forPeople: String {
    dimensions.count < 2 ? "[\(joined(by: ""))]" : joined(by: "×")
  }

  /// The dimensions in ASCII, `180x60`; empty for a scalar.
  package var forPrograms: String { joined(by: "x") }

  private func joined(by separator: String) -> String {
    dimensions.map(String.init).joined(separator: separator)
  }
}
