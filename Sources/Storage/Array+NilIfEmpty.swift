extension Array {
  /// The array, or `nil` for an empty one, which a report leaves out.
  package var nilIfEmpty: Self? { isEmpty ? nil : self }
}
