/// The program and version that files written by this library name as their maker.
package enum Producer {
  /// The version of these libraries, by semantic versioning.
  package static let version = "0.1.0"
  /// What files that they write are said to be made by.
  package static let current = "condi-convert \(version)"
}
