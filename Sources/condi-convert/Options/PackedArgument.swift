import Formats
import LinearAlgebra
import Transform

/// Packed files that commands are given to look at as a whole, damaged or not.
enum PackedArgument {
  /// Every fault of the file at `path`.
  ///
  /// - Throws: `FormatError` when it is not a packed file at all, or cannot be read.
  static func examine(_ path: String, common: CommonOptions) throws -> PackedExamination {
    let input = try InputFile(path: StandardInput.path(path), access: common.access)
    guard PackedExamination.resembles(input) else {
      throw FormatError.unsupported("it is not a packed file", path: path)
    }
    return try locatingErrors(path: path) {
      try PackedExamination(input, runningTasks: tasks(common))
    }
  }

  /// What can be restored of a damaged file, by packing its reference again as its header says.
  static func restoration(
    _ examination: PackedExamination, _ reference: TensorArchive, common: CommonOptions
  ) throws -> PackedRestoration {
    let reproduction = examination.model.map {
      PackedReproduction(of: $0.header, from: reference, threads: 1)
    }
    return try PackedRestoration(
      of: examination,
      makingRecords: { entry in
        guard let reproduction else {
          throw FormatError.malformed("the header with its recipe cannot be read")
        }
        return try reproduction.record(of: entry)
      }, runningTasks: tasks(common))
  }

  static func tasks(_ common: CommonOptions) -> PackedWriter.TaskRunner {
    { count, task in _ = try parallelMap(count: count, threads: common.threads, task) }
  }
}
