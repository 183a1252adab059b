import Glibc

extension String {
  /// Creates a string by formatting `arguments` like C's `printf` in the "C" locale.
  ///
  /// ```swift
  /// String(printf: "%.*f dB", 2, 38.142)  // "38.14 dB"
  /// ```
  package init(printf format: StaticString, _ arguments: any CVarArg...) {
    self = format.withUTF8Buffer { format in
      // A StaticString ends with a zero byte.
      let format = UnsafeRawPointer(format.baseAddress!).assumingMemoryBound(to: CChar.self)
      let count = withVaList(arguments) { vsnprintf(nil, 0, format, $0) }
      return withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(count) + 1) { buffer in
        _ = withVaList(arguments) { vsnprintf(buffer.baseAddress, buffer.count, format, $0) }
        return String(cString: buffer.baseAddress!)
      }
    }
  }
}
