import ArgumentParser
import Formats
import Jobs
import Storage

/// Options for conversions that take long, or whose files do not fit on the disk twice.
struct StreamingOptions: ParsableArguments {
  @Flag(
    inversion: .prefixedNo,
    help: ArgumentHelp(
      "Keep a journal beside the output, so that the same command goes on where a killed one "
        + "stopped; without either, from 1 GiB of tensors on."))
  var journal: Bool?

  @Flag(
    help: ArgumentHelp(
      "Delete each file of a sharded safetensors input once all its tensors are safely in OUT.part, "
        + "which needs room for the output of two of them; an input of one file, when OUT is whole. "
        + "Until then, OUT.part and OUT.journal are the only copy of what was deleted."))
  var consumeInput = false

  /// The number of bytes of tensors from which a conversion keeps a journal by default.
  private static let journaledByteCount = 1 << 30

  func validate() throws {
    guard !consumeInput || journal != false else {
      throw ValidationError("--consume-input needs the journal")
    }
    guard !consumeInput || !SharedWork.ranks.isShared else {
      throw ValidationError("--consume-input is for a single process, not for several ranks")
    }
  }

  /// Continues an earlier run of the same request, if there is one.
  ///
  /// - Returns: `nil` when there is nothing to continue.
  func continued(
    _ request: ConversionRequest, destination: OutputOptions, common: CommonOptions
  ) throws -> ConversionOutcome? {
    // Otherwise ranks would write into the partial file of a run that can be continued.
    guard journal != false || SharedWork.ranks.isShared else { return nil }
    switch try ConversionRun.earlier(request, consumes: consumeInput) {
    case .none: return nil
    case .other(let reason):
      Console.note(
        "\(request.output): starting anew, because the journal beside it cannot be used: \(reason)",
        unless: common.quiet)
      return nil
    case .resumable(let plan):
      guard journal != false else {
        throw ModelError.unsupported(
          "a run that kept a journal is not finished: continue it with --journal, or remove this",
          path: PartialFile.path(of: request.output))
      }
      let run = try ConversionRun(
        continuing: plan, access: common.access, replacesExisting: destination.force,
        consumes: consumeInput, workers: common.workers(of: SharedWork.ranks))
      Console.note(
        "\(request.output): continuing an earlier run, which has done \(run.resumedCount) of "
          + counted(run.recordCount, "tensor"), unless: common.quiet)
      return try finish(run, common: common)
    }
  }

  /// Returns the conversion to run with a journal or by several ranks; `nil` if neither is wanted.
  ///
  /// - Parameter plan: makes the conversion; returns `nil` if it cannot be interrupted.
  /// - Throws: `ValidationError` when a journal was requested but is not possible.
  func conversion(
    of archive: TensorArchive, input: String, common: CommonOptions,
    planning plan: () throws -> Conversion?
  ) throws -> Conversion? {
    let isAskedFor = journal == true || consumeInput
    guard input != StandardInput.argument else {
      guard !isAskedFor else {
        throw ValidationError(
          "--journal and --consume-input need a file: standard input can be read only once")
      }
      SharedWork.noteRootIsAlone("only rank 0 receives standard input", common: common)
      return nil
    }
    guard keepsJournal(of: archive) || SharedWork.ranks.isShared else { return nil }
    if let conversion = try plan() { return conversion }
    guard !isAskedFor else {
      throw ValidationError(
        "--journal and --consume-input cannot be used for packing with a calibration or "
          + "--target-size")
    }
    SharedWork.noteRootIsAlone(
      "packing with a calibration or --target-size is not shared", common: common)
    return nil
  }

  private func keepsJournal(of archive: TensorArchive) -> Bool {
    journal ?? (consumeInput || archive.tensorByteCount >= Self.journaledByteCount)
  }

  func run(
    _ conversion: Conversion, of archive: TensorArchive, destination: OutputOptions,
    common: CommonOptions
  ) throws -> ConversionOutcome {
    let run = try ConversionRun(
      beginning: conversion, replacesExisting: destination.force,
      keepsJournal: keepsJournal(of: archive),
      consumption: consumeInput ? InputConsumption(conversion, of: archive) : nil,
      access: common.access, workers: common.workers(of: SharedWork.ranks))
    return try finish(run, common: common)
  }

  private func finish(_ run: ConversionRun, common: CommonOptions) throws -> ConversionOutcome {
    let total = run.conversion.file.records.reduce(0) { $0 + $1.sourceByteCount }
    let bar = ProgressBar("converting", total: total, isQuiet: common.quiet)
    return try SharedWork.share(.conversion) { try run.finish { bar.advance($1) } }
  }

  /// Prints a note on the output of a conversion that kept every bit, or a report of its edits.
  static func show(
    _ outcome: ConversionOutcome, input: String, output: String, report: ReportOptions,
    common: CommonOptions
  ) throws {
    guard case .copied(let plan, let changes) = outcome else { return }
    let name = plan.request.format
    let format = FormatRegistry.standard.format(named: name)?.identifier.displayName ?? name
    Console.note(
      "wrote \(counted(plan.tensors.count, "tensor")) to \(output) as "
        + format, unless: common.quiet)
    try report.print(
      changes, input: input, output: output, format: name, root: plan.root,
      tensorCount: plan.tensors.count)
  }
}
