/// The units that byte counts are written in: `kB`, `MB` and `GB` are powers of 1,000; `KiB`, `MiB` and
/// `GiB` of 1,024 (IEC 80000-13).
package enum ByteUnit {
  /// Bytes a unit, by its symbol.
  static let factors: [String: Double] = [
    "B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 0x1p10, "MiB": 0x1p20, "GiB": 0x1p30,
  ]

  /// The whole bytes of a text such as `700000`, `700KB`, `1.5MB` or `2GiB`; `nil` for any other text,
  /// for nothing at all, and for what is no count of at least 1.
  ///
  /// `KB`, which people write, is `kB`. A part of a byte is cut off.
  package static func byteCount(of text: String) -> Int? {
    let digits = text.prefix { ("0"..."9").contains($0) || $0 == "." }
    let symbol = text.dropFirst(digits.count).drop { $0 == " " }
    if symbol.isEmpty, let count = Int(digits) { return count > 0 ? count : nil }
    guard let number = Double(digits),
      let factor = symbol.isEmpty ? 1 : factors[symbol == "KB" ? "kB" : String(symbol)],
      let count = Int(exactly: (number * factor).rounded(.down)), count > 0
    else { return nil }
    return count
  }
}
