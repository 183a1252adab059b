import ArgumentParser
import Inspect

/// A number of bytes on the command line: `700000`, `700KB`, `1.5MB`, `2GiB`.
struct SizeArgument: ExpressibleByArgument {
  /// What the help says of such an argument.
  static let help = "bytes, or with a unit such as kB, MB or MiB"

  let byteCount: Int

  init?(argument: String) {
    guard let byteCount = ByteUnit.byteCount(of: argument) else { return nil }
    self.byteCount = byteCount
  }
}
