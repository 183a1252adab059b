/// How the bounds of a quantizer are found.
public enum BoundSearchMethod: String, Hashable, Sendable, CaseIterable, Codable {
  /// The smallest and the largest value.
  case minimumMaximum = "minmax"
  /// The best of 100 ranges that narrow at both ends at the same pace: DOBI of 2DQuant.
  case dobi
  /// The best of 100 ranges that narrow at the upper end alone: DOBI for long-tailed data of one
  /// sign, such as the output of a softmax.
  case dobiOneSided = "dobi-one-sided"
  /// `dobi`, and from there a pattern search that moves both bounds on their own.
  case free
}
