import CLAPACKE
import Glibc
import Synchronization

/// The library that performs the linear algebra, loaded when first needed.
package enum OpenBLAS {
  /// The routines of BLAS and LAPACKE.
  ///
  /// Ends the program with an error if the libraries are missing, as the dynamic linker does.
  static let calls: clapacke_calls = {
    var problem: UnsafePointer<CChar>?
    guard let calls = clapacke_load(&problem) else {
      let reason = problem.map { String(cString: $0) } ?? "not found"
      var message = "error: OpenBLAS and LAPACKE cannot be loaded: \(reason)\n"
      message.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
      exit(2)
    }
    BLASThreads.begin(calls.pointee)
    return calls.pointee
  }()

  /// OpenBLAS's own description: its version, build options and the processor whose kernels it
  /// selected, such as `0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY Haswell MAX_THREADS=64`.
  package static var version: String {
    guard let text = calls.openblas_get_config() else { return "unknown" }
    let words = String(cString: text).split(separator: " ")
    return words.drop { $0 == "OpenBLAS" }.joined(separator: " ")
  }
}

/// The number of OpenBLAS's threads, a process-wide setting.
package enum BLASThreads {
  private struct State {
    /// The number of regions that need BLAS on one thread.
    var regionCount = 0
    /// The number of threads outside of these regions: one for each processor, or what OpenBLAS's
    /// variable says, unless it is set.
    var maximum =
      getenv("OPENBLAS_NUM_THREADS").flatMap { Int(String(cString: $0)) }.flatMap {
        $0 > 0 ? $0 : nil
      } ?? max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    /// Changes the library's setting; `nil` until it is loaded.
    var set: (@convention(c) (Int32) -> Void)?

    var count: Int { regionCount > 0 ? 1 : maximum }

    func apply() { set?(Int32(count)) }
  }

  private static let state = Mutex(State())

  /// Held by the only call that may use BLAS's threads.
  private static let threadedCall = Mutex(())

  /// Applies what was set before the library was loaded.
  fileprivate static func begin(_ calls: clapacke_calls) {
    state.withLock { state in
      state.set = calls.openblas_set_num_threads
      state.apply()
    }
  }

  /// Runs `body`, a single call of a BLAS or LAPACK routine. It runs on one thread if any part of
  /// the process requires that, otherwise on BLAS's threads, one such call at a time.
  ///
  /// OpenBLAS's threaded `potrf` and `getrf` are not safe against one another: two of them on different threads of a program may give wrong results or deadlock (OpenBLAS issue 5620, in
  /// releases before 2026). All calls of routines that contain them go through here.
  ///
  /// - Precondition: `body` calls neither this function nor `parallelMap`.
  static func perform<Result: Sendable>(_ body: () -> Result) -> Result {
    let isJoining = state.withLock { state in
      if state.regionCount > 0 { state.regionCount += 1 }
      return state.regionCount > 0
    }
    if isJoining {
      // Counted like a region of its own: the setting stays at one thread until this call is done,
      // even if the enclosing region ends earlier.
      defer { leave() }
      return body()
    }
    return threadedCall.withLock { _ in body() }
  }

  private static func leave() {
    state.withLock { state in
      state.regionCount -= 1
      if state.regionCount == 0 { state.apply() }
    }
  }

  /// Runs `body` with BLAS on one thread. Calls may be nested and concurrent.
  package static func runningSingleThreaded<Result>(_ body: () throws -> Result) rethrows -> Result
  {
    state.withLock { state in
      state.regionCount += 1
      if state.regionCount == 1 { state.apply() }
    }
    defer { leave() }
    return try body()
  }

  /// The number of threads that a single large operation may use here.
  static var count: Int { state.withLock { $0.count } }

  /// Sets the number of threads used by a single large BLAS call.
  package static func setMaximum(_ count: Int) {
    precondition(count >= 1, "at least one thread is needed")
    state.withLock { state in
      state.maximum = count
      state.apply()
    }
  }
}
