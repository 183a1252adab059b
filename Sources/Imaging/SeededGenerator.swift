/// A small random number generator (SplitMix64; Steele, Lea and Flood 2014) whose sequence is the
/// same on every system and in every version of Swift.
struct SeededGenerator: Sendable {
  /// The state, which determines all subsequent numbers.
  private(set) var state: UInt64

  /// Creates a generator that continues from `state`.
  init(state: UInt64) { self.state = state }

  /// Creates a generator at the beginning of a stream.
  ///
  /// - Parameter stream: The stream, which separates draws for different purposes under one seed.
  init(seed: UInt64, stream: UInt64) {
    state = seed
    state = next() &+ stream &* 0xD134_2543_DE82_EF95
  }

  private mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// Returns a number in `0..<count`, uniformly distributed up to a bias of `count / 2^64`.
  ///
  /// - Precondition: `count` is positive.
  mutating func number(below count: Int) -> Int {
    precondition(count > 0, "there is nothing to draw")
    return Int(next().multipliedFullWidth(by: UInt64(count)).high)
  }

  /// Returns the numbers of `0..<count` in random order.
  mutating func order(of count: Int) -> [Int] {
    var order = Array(0..<count)
    for last in stride(from: count - 1, to: 0, by: -1) {
      order.swapAt(last, number(below: last + 1))
    }
    return order
  }
}
