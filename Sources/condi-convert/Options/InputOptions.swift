import ArgumentParser
import Formats

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
      "What raw bytes in NumPy files are ('<V2', '<V1'), whose type NumPy does not keep: "
        + ElementType.namelessInNumPy.map(\.rawValue).joined(separator: ", ")
        + ". May be given once for each width.",
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

extension ElementType: ExpressibleByArgument {}
