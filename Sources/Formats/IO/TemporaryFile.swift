import CSignals
import Foundation

/// The file that an output's bytes go to until it is whole: `.NAME.PID-RANDOM.condi-tmp`, beside it.
///
/// It is locked for as long as its process works on it. A lock ends with its process, so that an
/// unlocked file of such a name is what a killed process left; process numbers would not tell, since
/// they are given out again and mean nothing in another container or on another machine.
final class TemporaryFile: Sendable {
  let path: String
  let descriptor: Int32
  /// The place in the table of files that signals remove; negative when it is full.
  private let slot: Int32

  private static let suffix = ".condi-tmp"

  /// Creates and locks a file, after removing what earlier processes left in the folder.
  init(for destination: OutputDestination, path outputPath: String) throws {
    Self.removeLeftovers(in: destination.folder)
    var attempts = 0
    while true {
      attempts += 1
      let path = "\(destination.folder)/\(Self.name(for: destination.name))"
      let descriptor = open(
        path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, destination.permissions ?? 0o666)
      guard descriptor >= 0 else {
        throw FormatError(.system(operation: "create the file", code: errno), path: outputPath)
      }
      // A file system without locks keeps leftovers, which is better than to take what is in use.
      _ = flock(descriptor, LOCK_EX | LOCK_NB)
      // Between creation and lock, another process could take the file for a leftover.
      var status = stat()
      if fstat(descriptor, &status) == 0, status.st_nlink == 0, attempts < 100 {
        close(descriptor)
        continue
      }
      // The mask of the process is for new files.
      if let permissions = destination.permissions { fchmod(descriptor, permissions) }
      self.path = path
      self.descriptor = descriptor
      slot = condi_cleanup_add(path)
      return
    }
  }

  deinit {
    condi_cleanup_remove(slot)
    close(descriptor)
  }

  /// Removes the name; the bytes stay where they have another one.
  func remove() {
    unlink(path)
  }

  /// A name that no other process chooses, and that is not too long for a file.
  private static func name(for output: String) -> String {
    var prefix = output
    while prefix.utf8.count > 100 { prefix.removeLast() }
    let random = String(UInt64.random(in: 0...UInt64.max), radix: 36)
    return ".\(prefix).\(getpid())-\(random)\(suffix)"
  }

  /// Removes the files that processes which are gone left in `folder`; what cannot be judged stays.
  private static func removeLeftovers(in folder: String) {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    for name in names where name.hasPrefix(".") && name.hasSuffix(suffix) {
      let path = "\(folder)/\(name)"
      let descriptor = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
      guard descriptor >= 0 else { continue }
      defer { close(descriptor) }
      var status = stat()
      guard fstat(descriptor, &status) == 0, FileKind(status) == .regular,
        flock(descriptor, LOCK_EX | LOCK_NB) == 0
      else { continue }
      unlink(path)
    }
  }
}
