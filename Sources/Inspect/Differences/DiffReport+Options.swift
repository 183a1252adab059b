import Formats
import Foundation

extension DiffReport {
  /// What counts as a difference.
  public struct Options: Sendable {
    /// Tensors to compare; all of them when empty. Each glob must match in at least one file. Values
    /// and metadata are compared only when empty.
    public var tensors: [NameGlob] = []
    /// Tensors and values that are left out. Each glob must match in at least one file.
    public var ignored: [NameGlob] = []
    /// Absolute differences up to this many are none; not negative.
    public var tolerance = 0.0
    /// What counts instead for tensors of some names: the first that matches. Each glob must match
    /// a tensor that is compared.
    public var tolerances: [(glob: NameGlob, tolerance: Double)] = []
    /// Whether equal numbers of another element type are the same.
    public var ignoresElementTypes = false
    /// Whether NaN differs from NaN, as in IEEE 754. Otherwise NaN equals NaN, whatever its bits.
    public var distinguishesNaN = false
    /// Whether tensors count as the same that are only named otherwise, transposed, fused or split.
    public var acceptsOtherLayouts = false
    /// Whether to compute both condition numbers of each changed matrix.
    public var includesConditionNumbers = false
    /// How names of A become names of B. Globs are matched against the names after that.
    public var names = NameMap()
    /// Threads that compare, at least 1; the report does not depend on it.
    public var threads = ProcessInfo.processInfo.activeProcessorCount

    public init() {}

    func tolerance(for name: String) -> Double {
      tolerances.first { $0.glob.matches(name) }?.tolerance ?? tolerance
    }

    func check() {
      precondition(
        tolerance >= 0 && tolerances.allSatisfy { $0.tolerance >= 0 }, "a tolerance is not negative"
      )
      precondition(threads >= 1, "at least one thread is needed")
    }
  }
}

/// The tolerance for tensors whose name matches a pattern.
public struct NamedTolerance: Codable, Hashable, Sendable {
  /// The glob that the tensors' names match.
  public var pattern: String
  /// Absolute differences up to this many are none.
  public var tolerance: Double
}
