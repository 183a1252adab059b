import FoundationEssentials
import Storage

/// What others have left beside an output, in whose partial file their work is: it is refused to write
/// over that.
enum EarlierWork {
  /// Journals of jobs in the folder of `output`, sorted.
  static func jobJournals(of output: String) throws -> [String] {
    try ConversionJournal.paths(beside: output, suffix: JobRun.journalSuffix) { number in
      JobNumber(String(number).replacing("-of-", with: "/")) != nil
    }
  }

  /// For a conversion that begins, and is no job.
  ///
  /// - Throws: `ModelError` when jobs have written the partial file, of whatever plan, or another
  ///   conversion has consumed files into it.
  static func refuseAny(of output: String) throws {
    if let journal = try jobJournals(of: output).first {
      throw ModelError.unsupported(
        "jobs of a plan have begun this output: 'finish' their plan, or remove their journals and "
          + PartialFile.path(of: output), path: journal)
    }
    let path = ConversionJournal.path(of: output)
    try JournalContent(path: path)?.refuseToDiscard("it is another conversion's", path: path)
  }

  /// For jobs.
  ///
  /// - Throws: `ModelError` when a conversion with a journal has written the partial file.
  static func refuseConversion(of output: String) throws {
    let path = ConversionJournal.path(of: output)
    guard FileManager.default.fileExists(atPath: path) else { return }
    let consumedCount = (try? JournalContent(path: path))?.consumedFiles.count ?? 0
    throw ModelError.unsupported(
      consumedCount > 0
        ? "a conversion is not finished, and has the content of \(counted(consumedCount, "consumed file")): "
          + "repeat the command that wrote it before jobs write this output"
        : "a conversion is not finished: repeat the command that wrote it, or remove it before jobs "
          + "write this output", path: path)
  }

  /// For a job of `plan`.
  ///
  /// - Parameters:
  ///   - journal: that of the job.
  ///   - areOthersBeginning: whether the journals may be of several plans, because others have begun
  ///     since this was called before.
  /// - Throws: `ModelError` when jobs of another plan have written the partial file.
  static func refuseOtherPlans(
    than plan: ConversionPlan, journal: String, areOthersBeginning: Bool = false
  ) throws {
    let others = try jobJournals(of: plan.request.output).filter { $0 != journal }
    // As long as this is refused, all journals are of one plan: of a thousand, one says which.
    let begun =
      [journal].compactMap(head(of:))
      + others.lazy.compactMap(head(of:)).prefix(areOthersBeginning ? others.count : 1)
    let own = plan.fingerprint
    for (path, fingerprint) in begun where fingerprint != own {
      throw otherPlan(than: plan, journal: path)
    }
  }

  /// What is said to a job of `plan` about the journal of another plan's job.
  static func otherPlan(than plan: ConversionPlan, journal: String) -> ModelError {
    ModelError.unsupported(
      "jobs of another plan have begun this output: 'finish' that plan, or remove their journals "
        + "and \(PartialFile.path(of: plan.request.output))", path: journal)
  }

  /// The plan that a job's journal says; `nil` where it has not come as far, or cannot be read.
  private static func head(of path: String) -> (path: String, plan: String)? {
    guard let head = try? JournalContent.head(path: path), case .object(let members) = head,
      case .string(let plan)? = members["plan"]
    else { return nil }
    return (path, plan)
  }
}
