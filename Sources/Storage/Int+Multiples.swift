extension Int {
  /// Returns the least multiple of `multiple` that is not smaller.
  package func roundedUp(toMultipleOf multiple: Int) -> Int {
    (self + multiple - 1) / multiple * multiple
  }
}
