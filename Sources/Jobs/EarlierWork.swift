import FoundationEssentials
import Storage

/// Checks that protect the work of other jobs and conversions in an output's partial file from
/// being overwritten.
enum EarlierWork {
  /// Returns the journals of jobs in the folder of `output`, sorted.
  static func jobJournals(of output: String) throws -> [String] {
    try ConversionJournal.paths(beside: output, suffix: JobRun.journalSuffix) { number in
      JobNumber(String(number).replacing("-of-", with: "/")) != nil
    }
  }

  /// Checks before a conversion begins that is not a job.
  ///
  /// - Throws: `ModelError` when jobs of any plan have written the partial file or another
  ///   conversion has consumed files into it.
  static func refuseAny(of output: String) throws {
    if let journal = try jobJournals(of: output).first {
      throw ModelError.unsupported(
        "jobs of a plan have begun this output: 'finish' their plan, or remove their journals and "
          + PartialFile.path(of: output), path: journal)
    }
    let path = ConversionJournal.path(of: output)
    try JournalContent(path: path)?.refuseToDiscard("it belongs to another conversion", path: path)
  }

  /// Checks before a job begins.
  ///
  /// - Throws: `ModelError` when a conversion with a journal has written the partial file.
  static func refuseConversion(of output: String) throws {
    let path = ConversionJournal.path(of: output)
    guard FileManager.default.fileExists(atPath: path) else { return }
    let consumedCount = (try? JournalContent(path: path))?.consumedFiles.count ?? 0
    throw ModelError.unsupported(
      consumedCount > 0
        ? "a conversion is not finished, and its partial file holds the content of "
          + "\(counted(consumedCount, "consumed file")): repeat the command that wrote it before jobs write this output"
        : "a conversion is not finished: repeat the command that wrote it, or remove it before jobs "
          + "write this output", path: path)
  }

  /// Checks before a job of `plan` begins.
  ///
  /// - Parameters:
  ///   - journal: the path of the job's journal.
  ///   - areOthersBeginning: whether the journals may belong to several plans, because other jobs
  ///     may have begun since the previous call.
  /// - Throws: `ModelError` when jobs of another plan have written the partial file.
  static func refuseOtherPlans(
    than plan: ConversionPlan, journal: String, areOthersBeginning: Bool = false
  ) throws {
    let others = try jobJournals(of: plan.request.output).filter { $0 != journal }
    // This check keeps all journals on one plan, so one of a thousand tells which plan it is.
    let begun =
      [journal].compactMap(head(of:))
      + others.lazy.compactMap(head(of:)).prefix(areOthersBeginning ? others.count : 1)
    let own = plan.fingerprint
    for (path, fingerprint) in begun where fingerprint != own {
      throw otherPlan(than: plan, journal: path)
    }
  }

  /// Returns the error for a job of `plan` that finds the journal of another plan's job.
  static func otherPlan(than plan: ConversionPlan, journal: String) -> ModelError {
    ModelError.unsupported(
      "jobs of another plan have begun this output: 'finish' that plan, or remove their journals "
        + "and \(PartialFile.path(of: plan.request.output))", path: journal)
  }

  /// Returns the plan named by a job's journal; `nil` if it names none yet or cannot be read.
  private static func head(of path: String) -> (path: String, plan: String)? {
    guard let head = try? JournalContent.head(path: path), case .object(let members) = head,
      case .string(let plan)? = members["plan"]
    else { return nil }
    return (path, plan)
  }
}
