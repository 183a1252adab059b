extension Array {
  /// The array, or `nil` if it is empty, so that a report omits it.
  package var nilIfEmpty: Self? { isEmpty ? nil : self }
}
