import ArgumentParser
import Formats
import FoundationEssentials
import Inspect
import Ranks
import Storage

/// Options common to all commands.
struct CommonOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("Worker threads.", valueName: "n"))
  var threads: Int = ProcessInfo.processInfo.activeProcessorCount

  @OptionGroup(title: "Reading") var input: InputOptions

  @Flag(name: .shortAndLong, help: "Print no messages and no progress, only the report.")
  var quiet = false

  /// How model files are opened.
  var access: InputFile.Access { input.access }

  /// This process's threads and those of the other `ranks`.
  func workers(of ranks: RankGroup = .alone) -> Workers {
    Workers(threads: threads, ranks: ranks)
  }

  func validate() throws {
    guard (1...1024).contains(threads) else {
      throw ValidationError("--threads takes a number from 1 to 1024")
    }
  }
}

/// Options of commands that read a model file.
struct InputOptions: ParsableArguments {
  @Flag(
    name: .customLong("no-mmap"),
    help: ArgumentHelp(
      "Read files piece by piece instead of mapping them into memory, for disks that may fail or "
        + "files that others write to."))
  var readsWithoutMapping = false

  @Option(
    name: .customLong("void-type"),
    help: ArgumentHelp(
      "What raw bytes in NumPy files are ('<V2', '<V1'), whose type NumPy does not keep. May be "
        + "given once for each width.",
      valueName: "type"))
  var voidTypes: [ElementType] = []

  /// How model files are opened.
  var access: InputFile.Access { readsWithoutMapping ? .read : .mapped }

  func validate() throws {
    let known = ElementType.namelessInNumPy
    if let type = voidTypes.first(where: { !known.contains($0) }) {
      throw ValidationError(
        "--void-type takes one of \(known.map(\.rawValue).joined(separator: ", ")), not '\(type)'")
    }
    guard Set(voidTypes.map(\.bitWidth)).count == voidTypes.count else {
      throw ValidationError("--void-type takes one type of each width")
    }
  }
}

extension ElementType: ExpressibleByArgument {
  public static var allValueStrings: [String] { ElementType.namelessInNumPy.map(\.rawValue) }
}

/// A number of bytes on the command line: `700000`, `700KB`, `1.5MB`, `2GiB`.
struct SizeArgument: ExpressibleByArgument {
  /// The description of such an argument in the help.
  static let help = "bytes, or with a unit such as kB, MB or MiB"

  let byteCount: Int

  init?(argument: String) {
    guard let byteCount = ByteUnit.byteCount(of: argument) else { return nil }
    self.byteCount = byteCount
  }
}
