import FoundationEssentials
import Glibc
import Storage
import Synchronization

/// Standard input in place of a file.
///
/// Model files are read at the offsets that their indexes name, which a pipe does not support. Data
/// from a pipe is therefore first stored in a temporary file, in `TMPDIR` or `/tmp`. The file never
/// has a name, so nothing is left behind however the program ends.
enum StandardInput {
  /// The command-line argument for standard input; a file of that name is `./-`.
  static let argument = "-"

  /// The name of standard input in messages and reports.
  private static let name = "standard input"

  private static let kept = Mutex<Kept?>(nil)

  private struct Kept {
    let path: String
    /// The temporary file, unless standard input is a file itself.
    var scratch: ScratchFile?
  }

  /// Returns the path to open for an input argument: the argument itself, or the stored standard
  /// input.
  ///
  /// - Throws: `ModelError` if standard input is a terminal, or cannot be read or stored.
  static func path(_ argument: String) throws -> String {
    guard argument == Self.argument else { return argument }
    return try kept.withLock { kept in
      let found = try kept ?? keep()
      kept = found
      return found.path
    }
  }

  /// Returns `text` with that path replaced by the name of standard input.
  static func named(_ text: String) -> String {
    guard let path = kept.withLock({ $0?.path }) else { return text }
    return text.replacing(path, with: name)
  }

  private static func keep() throws -> Kept {
    var status = stat()
    guard fstat(STDIN_FILENO, &status) == 0 else { throw failure("read") }
    // A redirected file can be read like a named one.
    if status.st_mode & S_IFMT == S_IFREG { return Kept(path: "/proc/self/fd/\(STDIN_FILENO)") }
    guard isatty(STDIN_FILENO) == 0 else {
      throw ModelError.unsupported("it is a terminal, not a file or a pipe", path: name)
    }
    let scratch = try keeping { try ScratchFile(in: folder) }
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    var byteCount = 0
    while true {
      let count = read(STDIN_FILENO, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw failure("read") }
      guard count > 0 else { return Kept(path: scratch.path, scratch: scratch) }
      try keeping { try scratch.write(SharedBytes(buffer[..<count]), at: byteCount) }
      byteCount += count
    }
  }

  private static var folder: String {
    let folder = ProcessInfo.processInfo.environment["TMPDIR"] ?? ""
    return folder.isEmpty ? "/tmp" : folder
  }

  /// Makes errors of the temporary file state its purpose.
  private static func keeping<Result>(_ body: () throws -> Result) throws -> Result {
    do {
      return try body()
    } catch let error as ModelError {
      guard case .system(_, let code) = error.problem else { throw error }
      throw ModelError(.system(operation: "keep it in \(folder)", code: code), path: name)
    }
  }

  private static func failure(_ operation: String) -> ModelError {
    ModelError(.system(operation: operation, code: errno), path: name)
  }
}
