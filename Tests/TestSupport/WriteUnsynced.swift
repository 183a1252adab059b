import Foundation

/// Writes or overwrites a file without waiting for the disk.
///
/// `Data.write(to:)` waits until the bytes are on the disk, and ext4 writes out a file that is
/// truncated first. Either takes most of the time of a test that damages a file thousands of times.
public func writeUnsynced(_ bytes: some ContiguousBytes, to path: String) throws {
  func failure() -> POSIXError { POSIXError(.init(rawValue: errno) ?? .EIO) }
  let file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
  guard file >= 0 else { throw failure() }
  defer { close(file) }
  try bytes.withUnsafeBytes { buffer in
    var offset = 0
    while offset < buffer.count {
      let count = pwrite(
        file, buffer.baseAddress! + offset, buffer.count - offset, off_t(offset))
      guard count > 0 else { throw failure() }
      offset += count
    }
    guard ftruncate(file, off_t(buffer.count)) == 0 else { throw failure() }
  }
}
