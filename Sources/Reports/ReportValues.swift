import Glibc

/// Numbers as people read them.
package enum ReportNumber {
  /// Four significant digits, or all digits of the integer part up to 999,999: `12.50`, `18231`,
  /// `1.234e-7`, `inf`.
  package static func real(_ value: Double) -> String {
    guard value.isFinite else { return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf" }
    guard value != 0 else { return "0" }
    // Rounded first: 9.99996 has one more digit before the point than it seems.
    let scientific = String(printf: "%.3e", value).split(separator: "e")
    guard scientific.count == 2, let exponent = Int(scientific[1]) else { return "\(value)" }
    if (-3...5).contains(exponent) { return String(printf: "%.*f", max(0, 3 - exponent), value) }
    return "\(scientific[0])e\(exponent)"
  }

  /// Digits in groups of three: `1,234,567`.
  package static func integer(_ value: Int) -> String {
    var grouped = ""
    let digits = String(value.magnitude)
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index).isMultiple(of: 3) { grouped.append(",") }
      grouped.append(digit)
    }
    return value < 0 ? "-\(grouped)" : grouped
  }

  /// `512 B`, `43.95 KiB`, `1.234 MiB`: powers of 1,024.
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

  /// `12.3%`; a share that isn't quite none or all never reads `0%` or `100%`.
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
  /// The value for people, not escaped yet.
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

  /// The value in full, not escaped yet: shortest digits that read back as the same number.
  package var plain: String {
    switch self {
    case .empty: ""
    case .text(let text): text
    case .integer(let value): "\(value)"
    case .real(let value): "\(value)"
    case .series(let values): values.map { "\($0)" }.joined(separator: " ")
    }
  }

  /// The value for sorting; `nil` for texts and empty cells.
  package var number: Double? {
    switch self {
    case .empty, .text, .series: nil
    case .integer(let value): Double(value)
    case .real(let value): value
    }
  }
}

/// A tensor's dimensions as reports write them.
package struct ReportShape {
  package let dimensions: [Int]

  package init(_ dimensions: [Int]) {
    self.dimensions = dimensions
  }

  /// `180×60`; a vector is `[180]` and a scalar `[]`.
  package var forPeople: String {
    dimensions.count < 2 ? "[\(joined(by: ""))]" : joined(by: "×")
  }

  /// `180x60`, in ASCII; a scalar is empty.
  package var forPrograms: String { joined(by: "x") }

  private func joined(by separator: String) -> String {
    dimensions.map(String.init).joined(separator: separator)
  }
}
