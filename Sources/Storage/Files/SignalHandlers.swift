import CSignals

/// The process-wide handlers for signals that concern files.
///
/// A program's `main` should install them once, before other threads exist. A library must not
/// decide this for its user.
///
/// ```swift
/// try SignalHandlers.install()
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let values = try archive.tensors["params.conv_first.weight"]?.floatValues() ?? []
/// try SignalHandlers.checkInputs()  // throws if the file was truncated meanwhile
/// print(values.max() ?? 0)
/// ```
public enum SignalHandlers {
  /// Installs the handlers.
  ///
  /// - SIGBUS in a mapped input replaces the missing bytes by zeros and makes `checkInputs()`
  ///   throw.
  /// - SIGINT, SIGTERM, SIGHUP and SIGQUIT, unless ignored, remove unfinished outputs before they
  ///   end the process.
  /// - SIGXFSZ is ignored, so that exceeding the file size limit becomes an error of `write`.
  ///
  /// - Throws: `ModelError` if the system refuses to install a handler.
  public static func install() throws {
    for code in [condi_bus_guard_install(), condi_cleanup_install()] where code != 0 {
      throw ModelError(.system(operation: "handle signals", code: code))
    }
  }

  /// Checks that no bytes of a mapped file were missing, in which case zeros took their place.
  ///
  /// Call this before presenting a result computed from mapped files. Output files perform this
  /// check themselves.
  ///
  /// - Throws: `ModelError` naming the file.
  public static func checkInputs() throws {
    try FileMapping.checkAll()
  }
}
