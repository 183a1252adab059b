/// What went wrong with a super-resolution model, a picture or a data set.
public struct SuperResolutionError: Error, Hashable, Sendable {
  /// A lower-case sentence without the place.
  public let reason: String
  /// The file or folder, where there is one.
  public var path: String?

  /// An error for a lower-case sentence, and the file that it is about.
  package init(_ reason: String, path: String? = nil) {
    self.reason = reason
    self.path = path
  }
}

extension SuperResolutionError: CustomStringConvertible {
  public var description: String { path.map { "\($0): \(reason)" } ?? reason }
}
