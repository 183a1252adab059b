/// Dates and times as the module `datetime` pickles them: a few bytes, big-endian.
enum PickledDate {
  /// The date or time in the form of ISO 8601, or `nil` when the bytes are none.
  static func text(_ className: String, _ bytes: [UInt8]) -> String? {
    func number(_ range: Range<Int>) -> Int { range.reduce(0) { $0 << 8 | Int(bytes[$1]) } }
    func padded(_ value: Int, _ count: Int) -> String {
      let digits = "\(value)"
      return String(repeating: "0", count: max(0, count - digits.count)) + digits
    }
    func date() -> String {
      // The highest bit of the month marks the second of two equal times in a change of clocks.
      "\(padded(number(0..<2), 4))-\(padded(Int(bytes[2] & 0x7F), 2))-\(padded(Int(bytes[3]), 2))"
    }
    func time(from start: Int) -> String {
      let clock = [Int(bytes[start] & 0x7F), Int(bytes[start + 1]), Int(bytes[start + 2])]
        .map { padded($0, 2) }.joined(separator: ":")
      let microseconds = number(start + 3..<start + 6)
      return microseconds == 0 ? clock : "\(clock).\(padded(microseconds, 6))"
    }
    switch (className, bytes.count) {
    case ("datetime.datetime", 10): return "\(date())T\(time(from: 4))"
    case ("datetime.date", 4): return date()
    case ("datetime.time", 6): return time(from: 0)
    default: return nil
    }
  }
}
