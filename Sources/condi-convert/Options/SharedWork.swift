import ArgumentParser
import FoundationEssentials
import Glibc
import Jobs
import Ranks
import Synchronization

/// A command that several ranks do together.
protocol SharedCommand: ParsableCommand {
  /// Whether processes that know nothing of one another may run it at the same time.
  static var sharesWithoutLauncher: Bool { get }
}

extension SharedCommand {
  static var sharesWithoutLauncher: Bool { false }
}

/// Work that the ranks of `mpirun` do together; a program that nobody launched so is rank 0 of one.
///
/// Rank 0 runs its command as ever. The others wait, and do what it announces: so whatever cannot be
/// shared is done once, and said once.
enum SharedWork {
  static var ranks: RankGroup { (try? launch.get()) ?? .alone }

  /// Joins the other ranks, at the first use.
  static let launch = Result {
    try RankGroup.launched(environment: ProcessInfo.processInfo.environment)
  }

  /// What rank 0 announces.
  enum Task: String, Codable {
    /// To run the same command, from its last `share` to the next.
    case command
    /// To make records of a conversion, which says its plan itself.
    case conversion
    /// To leave.
    case end
  }

  /// At rank 0, whether others work now; at the others, whether they were told to.
  private static let isUnderWay = Mutex(false)

  /// The ranks that may share work on these inputs: rank 0 alone where it has one by standard input.
  static func ranks(reading inputs: [String?], common: CommonOptions) -> RankGroup {
    guard ranks.isShared, inputs.contains(StandardInput.argument) else { return ranks }
    noteRootIsAlone("standard input comes to rank 0 only", common: common)
    return .alone
  }

  /// To be asked before a command runs; says that rank 0 works alone where it is none that ranks share.
  ///
  /// - Throws: `ValidationError` when several processes would each do all of it.
  static func check(
    _ command: any ParsableCommand, arguments: [String], environment: [String: String]
  ) throws {
    if RankGroup.isSupported(environment: environment), !ranks.hasLauncher,
      let shared = command as? any SharedCommand, !type(of: shared).sharesWithoutLauncher,
      let count = environment["SLURM_STEP_NUM_TASKS"].flatMap({ Int($0) }),
      count > 1
    {
      throw ValidationError(
        "Slurm has started \(count) tasks that know nothing of one another: use "
          + "'srun --mpi=pmix', or mpirun")
    }
    guard ranks.isShared, !(command is any SharedCommand) else { return }
    Console.note(
      "rank 0 works alone: this command is not one that ranks share",
      unless: arguments.contains("--quiet") || arguments.contains("-q"))
  }

  /// Says that rank 0 works alone.
  static func noteRootIsAlone(_ reason: String, common: CommonOptions) {
    guard ranks.isShared else { return }
    Console.note("rank 0 works alone: \(reason)", unless: common.quiet)
  }

  /// Runs a part of a command at all ranks. Rank 0 prepares it first: what is wrong there, say with a
  /// path, is its own error, and the others hear nothing of it.
  ///
  /// - Parameters:
  ///   - group: of `ranks(reading:common:)`.
  ///   - prepare: gives every rank what the body needs, by reading the same files.
  ///   - body: maps over `group`.
  static func share<Input, Result>(
    among group: RankGroup, preparing prepare: () throws -> Input,
    _ body: (Input) throws -> Result
  ) throws -> Result {
    guard group.isShared else { return try body(prepare()) }
    if group.isRoot {
      let input = try prepare()
      return try share(.command) { try body(input) }
    }
    // For the first part of a command, `assist` was told.
    let wasTold = isUnderWay.withLock { isUnderWay in
      defer { isUnderWay = false }
      return isUnderWay
    }
    if !wasTold, try ranks.broadcast(nil as Task?) == .end { leave() }
    return try body(prepare())
  }

  /// Runs `body` at rank 0, while the others do their part of `task`.
  static func share<Result>(_ task: Task, _ body: () throws -> Result) throws -> Result {
    guard ranks.isShared else { return try body() }
    _ = try ranks.broadcast(task)
    isUnderWay.withLock { $0 = true }
    let result = try body()
    isUnderWay.withLock { $0 = false }
    return result
  }

  /// Does what rank 0 announces, to its end.
  ///
  /// - Parameter runCommand: parses the command line and runs its command.
  static func assist(_ runCommand: () throws -> Void) -> Never {
    Console.mute()
    do {
      while true {
        switch try ranks.broadcast(nil as Task?) {
        case .command:
          isUnderWay.withLock { $0 = true }
          try runCommand()
        case .conversion: try RankShare.join(ranks)
        case .end: leave()
        }
      }
    } catch {
      fail(error)
    }
  }

  private static func leave() -> Never {
    ranks.finish()
    exit(0)
  }

  /// Lets the other ranks leave, before this one ends.
  ///
  /// - Parameter error: for which it ends. Where others still work with it, they end with it.
  static func end(_ error: (any Error)? = nil) {
    if let error, isUnderWay.withLock({ $0 }) { fail(error) }
    do {
      if ranks.isShared { _ = try ranks.broadcast(Task.end) }
    } catch {
      fail(error)
    }
    ranks.finish()
  }

  /// Ends all ranks with one line, from whichever of them fails first.
  private static func fail(_ error: any Error) -> Never {
    ranks.fail(code: Outcome.error.exitCode.rawValue) {
      Console.error("rank \(ranks.rank): \(Console.explanation(of: error))")
    }
  }
}
