/// The program and version that files written by this library name as their maker.
public enum Producer {
  /// The version of these libraries, by semantic versioning.
  public static let version = "0.1.0"
  /// What files that they write are said to be made by.
  public static let current = "condi-convert \(version)"
}
