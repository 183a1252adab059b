import Foundation
import Testing

/// The Python interpreter that gives a second opinion. Only tests need it, never the tool.
public enum Python {
  /// A trait that skips a test where `python3` lacks one of `modules`.
  ///
  /// With `CONDI_REQUIRE_SHARED=1` the test runs and fails instead.
  public static func require(_ modules: String...) -> ConditionTrait {
    .enabled(
      if: SharedData.isRequired || has(modules),
      "needs python3 with \(modules.joined(separator: ", "))")
  }

  /// Runs `python3` with `arguments` from the package's root.
  public static func run(_ arguments: [String], environment: [String: String] = [:]) throws
    -> BuiltProgram.Outcome
  {
    try BuiltProgram(path: "/usr/bin/env").run(
      ["python3"] + arguments, environment: environment, in: PackageFolder.root.path)
  }

  private static func has(_ modules: [String]) -> Bool {
    let imports = modules.map { "import \($0)" }.joined(separator: "; ")
    return (try? run(["-c", imports]).exitCode) == 0
  }
}
