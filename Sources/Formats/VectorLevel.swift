import CKernels

/// The instruction sets that the kernels support; the processor's highest is used by default.
package enum VectorLevel {
  /// The environment variable that selects a lower level.
  package static let variable = "CONDI_VECTOR_LEVEL"

  /// The level at which kernels run: `scalar`, `128`, `avx2`, `avx512` or `avx512-vnni`.
  package static var current: String { name(ck_default_vector_level()) }

  /// The levels of this processor, lowest first.
  package static var available: [String] {
    (0...ck_processor_vector_level().rawValue).map { name(ck_vector_level($0)) }
  }

  /// The error for a value of the variable that names no level of this processor.
  package struct UnknownLevel: Error, CustomStringConvertible {
    let value: String
    let levels: [String]

    package var description: String {
      "\(VectorLevel.variable) is '\(value)'; this processor supports \(levels.joined(separator: ", "))"
    }
  }

  /// Checks that the variable, if set, names a level of this processor.
  ///
  /// - Throws: `UnknownLevel` when the variable is set to a value that is not in `available`.
  package static func check(environment: [String: String]) throws {
    guard let value = environment[variable], !available.contains(value) else { return }
    throw UnknownLevel(value: value, levels: available)
  }

  private static func name(_ level: ck_vector_level) -> String {
    String(cString: ck_vector_level_name(level))
  }
}
