import ArgumentParser
import Formats
import Glibc
import Storage

/// Options of commands that write a model file.
struct OutputOptions: ParsableArguments {
  @Option(
    name: .customLong("to"),
    help: ArgumentHelp(
      "The output's format, where its name's extension does not tell: "
        + FormatRegistry.standard.writableFormats.map(\.identifier.name).joined(separator: ", ")
        + ".",
      valueName: "format"))
  var formatName: String?

  @Flag(help: "Replace an existing output.")
  var force = false

  @Option(
    help: ArgumentHelp(
      "Divide a safetensors output into files with at most so many bytes of tensors, and an index.",
      discussion: SizeArgument.help, valueName: "size"))
  var maxShardSize: SizeArgument?

  func validate() throws {
    guard maxShardSize.map({ $0.byteCount > 0 }) ?? true else {
      throw ValidationError("--max-shard-size must be at least one byte")
    }
  }

  /// Returns the format in which OUT is to be written.
  func format(for path: String) throws -> any ModelFormat {
    let format = try chosenFormat(for: path)
    guard maxShardSize == nil || format.identifier == SafetensorsFormat().identifier else {
      throw ValidationError("--max-shard-size is for safetensors")
    }
    return format
  }

  private func chosenFormat(for path: String) throws -> any ModelFormat {
    guard path != StandardInput.argument else {
      throw ValidationError("the output must be a file, which appears whole or not at all, not '-'")
    }
    let registry = FormatRegistry.standard
    let names = registry.writableFormats.map(\.identifier.name).joined(separator: ", ")
    if let formatName {
      guard let format = registry.format(named: formatName) else {
        throw ValidationError(
          "--to does not know the format '\(formatName)'; it takes one of: \(names)")
      }
      guard format.canWrite else {
        throw ValidationError(
          "\(format.identifier.displayName) can be read but not written; --to takes one of: "
            + names)
      }
      return format
    }
    guard let format = registry.format(forOutput: path) else {
      let pathExtension = path.pathExtension
      if let runtime = ExportRuntime(pathExtension: pathExtension) {
        throw ValidationError(
          "\(runtime.name) files are written by 'export', from "
            + (runtime == .ncnn
              ? "a network"
              : runtime == .weights(.onnx) ? "a packed file or a network" : "a packed file"))
      }
      throw ValidationError(
        "the extension of '\(path)' belongs to no format; give --to with one of: \(names)")
    }
    return format
  }

  /// Checks before the work that the output can be written.
  ///
  /// - Throws: `ModelError` when something at `path` may not be replaced.
  func check(_ path: String) throws {
    try OutputDestination.check(path, replacesExisting: force)
  }

  /// Writes `archive` to `path` with a progress bar, and prints a note.
  func write(
    _ archive: TensorArchive, as format: any ModelFormat, to path: String, activity: String,
    common: CommonOptions
  ) throws {
    let bar = ProgressBar(activity, total: archive.tensorByteCount, isQuiet: common.quiet)
    if let maxShardSize {
      return try writeShards(
        archive, of: maxShardSize.byteCount, to: path, bar: bar, common: common)
    }
    try FormatRegistry.standard.write(
      archive, as: format, to: path, replacesExisting: force,
      runningTasks: common.workers().tasks
    ) { bar.advance($1) }
    Console.note(
      "wrote \(counted(archive.tensors.count, "tensor")) to \(path) as "
        + format.identifier.displayName,
      unless: common.quiet)
  }

  private func writeShards(
    _ archive: TensorArchive, of byteCount: Int, to path: String, bar: ProgressBar,
    common: CommonOptions
  ) throws {
    let shards = try SafetensorsShards(archive, byteCountLimit: byteCount)
    let output = try locatingErrors(path: path) { try shards.plan(named: path) }
    for file in output.paths(for: path) {
      try OutputDestination.check(file, replacesExisting: force)
    }
    let files = try output.write(
      to: path, replacesExisting: force, runningTasks: common.workers().tasks
    ) { bar.advance($1) }
    Console.note(
      "wrote \(counted(archive.tensors.count, "tensor")) to \(files.last?.path ?? path) as "
        + SafetensorsFormat().identifier.displayName
        + (shards.count > 1 ? " in \(shards.count) files beside it" : ""),
      unless: common.quiet)
  }
}
