import CEmulatedKernels
import CKernels

/// The levels at which kernels are tested, the scalar reference first: the processor's and, on
/// x86-64, those of AVX-512, which are emulated where the processor lacks them.
public enum VectorLevels {
  public static let available: [UInt32] = {
    emulate_missing_vector_levels()
    let names = (ck_processor_vector_level().rawValue + 1..<ck_highest_vector_level().rawValue + 1)
      .map { String(cString: ck_vector_level_name(ck_vector_level($0))) }
    if !names.isEmpty {
      print(
        "vector levels that this processor lacks and SIMDe emulates: \(names.joined(separator: ", "))"
      )
    }
    return Array(0...ck_highest_vector_level().rawValue)
  }()

  /// Runs `body` with the kernels that this thread calls at `level`.
  public static func at<Result>(_ level: UInt32, _ body: () throws -> Result) rethrows -> Result {
    ck_set_thread_vector_level(ck_vector_level(level))
    defer { ck_reset_thread_vector_level() }
    return try body()
  }

  /// Returns 2ˣ as attention on codes computes it.
  public static func powerOfTwo(_ x: Float) -> Float { reference_power_of_two(x) }
}
