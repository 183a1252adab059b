/// The program and version that files written by this library name as their maker.
public enum Producer {
  public static let version = "0.1.0"
  public static let current = "condi-convert \(version)"
}
