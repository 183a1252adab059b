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

  /// How model files are opened.
  var access: InputFile.Access { readsWithoutMapping ? .read : .mapped }
}
