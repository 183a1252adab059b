import CSignals

/// How the whole process meets signals that concern files. For a program's `main`, once, before
/// other threads exist; a library must not decide this for its user.
public enum SignalHandlers {
  /// Installs the handlers.
  ///
  /// - SIGBUS below a mapped input puts zeros in place of the missing bytes, and makes
  ///   `checkInputs()` throw.
  /// - SIGINT, SIGTERM, SIGHUP and SIGQUIT, as far as not ignored, remove unfinished outputs before
  ///   they end the process.
  /// - SIGXFSZ is ignored, so that a file grown too large is an error of `write`.
  ///
  /// - Throws: `ModelError` when the system refuses.
  public static func install() throws {
    for code in [condi_bus_guard_install(), condi_cleanup_install()] where code != 0 {
      throw ModelError(.system(operation: "handle signals", code: code))
    }
  }

  /// To be asked before a result is shown that was computed from mapped files: where bytes of one
  /// were missing, zeros stood in for them. Output files ask by themselves.
  ///
  /// - Throws: `ModelError` that names the file.
  public static func checkInputs() throws {
    try FileMapping.checkAll()
  }
}
