/// The program and version that files written by this library name as their producer.
package enum Producer {
  /// The version of these libraries, by semantic versioning.
  package static let version = "0.1.0"
  /// The producer that the files name.
  package static let current = "condi-convert \(version)"
}
