import Formats
import Ranks
import Storage
import Transform

/// Opens and examines the packed files, damaged or not, that commands are given.
enum PackedArgument {
  /// Opens the file at `path` for examination.
  ///
  /// - Throws: `ModelError` when it is not a packed file or cannot be opened.
  static func open(_ path: String, common: CommonOptions) throws -> InputFile {
    let input = try InputFile(path: StandardInput.path(path), access: common.access)
    guard PackedExamination.resembles(input) else {
      throw ModelError.unsupported(
        "it is not a packed file; 'inspect' and 'audit' look at others", path: path)
    }
    return input
  }

  /// Finds every fault of a file opened by `open`.
  ///
  /// - Throws: `ModelError` when it cannot be read.
  static func examine(
    _ input: InputFile, path: String, ranks: RankGroup = .alone, common: CommonOptions
  ) throws -> PackedExamination {
    try locatingErrors(path: path) {
      try PackedExamination(input) { count, check in
        try common.workers(of: ranks).map(count: count, check)
      }
    }
  }

  /// Returns the packing of a reference by a packed file's recipe, with a progress bar.
  ///
  /// - Parameters:
  ///   - material: what the file was calibrated with, if it was.
  ///   - name: the reference's path, for errors.
  static func reproduction(
    of header: PackedHeader, from reference: TensorArchive,
    calibratedWith material: Compressor.Material, name: String, common: CommonOptions
  ) -> PackedReproduction {
    PackedReproduction(
      of: header, from: reference, name: name, calibratedWith: material, threads: common.threads,
      reporting: CompressionProgress(
        byteCount: reference.tensorByteCount, isQuiet: common.quiet
      ).show)
  }

  /// Finds what can be restored of a damaged file by packing its reference again by its header's
  /// recipe.
  ///
  /// - Parameters:
  ///   - material: what the file was calibrated with, if it was.
  ///   - name: the reference's path, for errors.
  static func restoration(
    _ examination: PackedExamination, _ reference: TensorArchive,
    calibratedWith material: Compressor.Material = .init(), name: String, common: CommonOptions
  ) throws -> PackedRestoration {
    // Without a fault in a record, nothing has to be packed again.
    let isNeeded = examination.faults.contains { $0.region == .record }
    let reproduction = (isNeeded ? examination.model : nil).map {
      Self.reproduction(
        of: $0.header, from: reference, calibratedWith: material, name: name, common: common)
    }
    return try PackedRestoration(
      of: examination,
      makingRecords: { entry in
        guard let reproduction else {
          throw ModelError.malformed("the header with its recipe cannot be read")
        }
        return try reproduction.record(of: entry)
      }, runningTasks: common.workers().tasks)
  }
}
