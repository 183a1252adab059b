import Formats

extension ValueDifference {
  /// Entries that differ or that only one side has, in the order of `names`.
  ///
  /// - Parameter names: of both sides; a repeated name counts where it occurs first.
  static func all<Value>(
    names: [String], a: (String) -> Value?, b: (String) -> Value?,
    isEqual: (Value, Value) -> Bool, describe: (Value) -> String
  ) -> [ValueDifference] {
    var seen: Set<String> = []
    return names.compactMap { name in
      guard seen.insert(name).inserted else { return nil }
      let (left, right) = (a(name), b(name))
      if let left, let right, isEqual(left, right) { return nil }
      return ValueDifference(name: name, a: left.map(describe), b: right.map(describe))
    }
  }
}

extension ArchiveValue {
  /// Equality in which NaN equals NaN unless told otherwise.
  func isIdentical(to other: ArchiveValue, distinguishesNaN: Bool = false) -> Bool {
    func isIdentical(_ x: Double, _ y: Double) -> Bool {
      x == y || (!distinguishesNaN && x.isNaN && y.isNaN)
    }
    switch (self, other) {
    case (.real(let x), .real(let y)): return isIdentical(x, y)
    case (.complex(let x, let u), .complex(let y, let v)):
      return isIdentical(x, y) && isIdentical(u, v)
    default: return self == other
    }
  }

  /// A description in which different values differ: long bytes are shown by their start and a
  /// digest.
  var fullDescription: String {
    guard case .bytes(let bytes) = self else { return description }
    let shown = bytes.prefix(8).map { byte in
      (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }.joined()
    guard bytes.count > 8 else { return "0x\(shown)" }
    // FNV-1a, 64 bits: the same in every run.
    let digest = bytes.reduce(0xcbf2_9ce4_8422_2325 as UInt64) {
      ($0 ^ UInt64($1)) &* 0x100_0000_01b3
    }
    return "0x\(shown)… (\(counted(bytes.count, "byte")), FNV-1a \(String(digest, radix: 16)))"
  }
}
