import ArgumentParser
import FoundationEssentials
import Glibc
import Jobs
import Ranks
import Synchronization

/// A command that several ranks run together.
protocol SharedCommand: ParsableCommand {
  /// Whether unconnected processes may run it at the same time.
  static var sharesWithoutLauncher: Bool { get }
}

extension SharedCommand {
  static var sharesWithoutLauncher: Bool { false }
}

/// Work that the ranks of `mpirun` share; a process without a launcher is rank 0 of a group of one.
///
/// Rank 0 runs its command as usual. The others wait and do the tasks that it announces, so work
/// that cannot be shared is done once and reported once.
enum SharedWork {
  static var ranks: RankGroup { (try? launch.get()) ?? .alone }

  /// Joins the other ranks at the first use.
  static let launch = Result {
    try RankGroup.launched(environment: ProcessInfo.processInfo.environment)
  }

  /// A task that rank 0 announces.
  enum Task: String, Codable {
    /// Run the same command, from its last `share` to the next.
    case command
    /// Make records of a conversion, which announces its own plan.
    case conversion
    /// Leave.
    case end
  }

  /// At rank 0, whether the others are working; at the others, whether they were told to.
  private static let isUnderWay = Mutex(false)

  /// Returns the ranks that may share work on these inputs: only rank 0 if one is standard input.
  static func ranks(reading inputs: [String?], common: CommonOptions) -> RankGroup {
    guard ranks.isShared, inputs.contains(StandardInput.argument) else { return ranks }
    noteRootIsAlone("only rank 0 receives standard input", common: common)
    return .alone
  }

  /// Checks a command before it runs, and prints a note if ranks cannot share it.
  ///
  /// - Throws: `ValidationError` when several processes would each do all of the work.
  static func check(
    _ command: any ParsableCommand, arguments: [String], environment: [String: String]
  ) throws {
    if RankGroup.isSupported(environment: environment), !ranks.hasLauncher,
      let shared = command as? any SharedCommand, !type(of: shared).sharesWithoutLauncher,
      let count = environment["SLURM_STEP_NUM_TASKS"].flatMap({ Int($0) }),
      count > 1
    {
      throw ValidationError(
        "Slurm has started \(count) tasks that are not connected: use "
          + "'srun --mpi=pmix' or mpirun")
    }
    guard ranks.isShared, !(command is any SharedCommand) else { return }
    Console.note(
      "rank 0 works alone: ranks cannot share this command",
      unless: arguments.contains("--quiet") || arguments.contains("-q"))
  }

  /// Prints a note that rank 0 works alone.
  static func noteRootIsAlone(_ reason: String, common: CommonOptions) {
    guard ranks.isShared else { return }
    Console.note("rank 0 works alone: \(reason)", unless: common.quiet)
  }

  /// Runs a part of a command at all ranks. Rank 0 prepares it first, so an error there, such as a
  /// wrong path, is reported by rank 0 alone, and the others do not start.
  ///
  /// - Parameters:
  ///   - group: the result of `ranks(reading:common:)`.
  ///   - prepare: returns the body's input, which every rank reads from the same files.
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
    // For the first part of a command, `assist` has received the announcement.
    let wasTold = isUnderWay.withLock { isUnderWay in
      defer { isUnderWay = false }
      return isUnderWay
    }
    if !wasTold, try ranks.broadcast(nil as Task?) == .end { leave() }
    return try body(prepare())
  }

  /// Runs `body` at rank 0 while the others do their part of `task`.
  static func share<Result>(_ task: Task, _ body: () throws -> Result) throws -> Result {
    guard ranks.isShared else { return try body() }
    _ = try ranks.broadcast(task)
    isUnderWay.withLock { $0 = true }
    let result = try body()
    isUnderWay.withLock { $0 = false }
    return result
  }

  /// Does the tasks that rank 0 announces until it ends.
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

  /// Lets the other ranks leave before this one ends.
  ///
  /// - Parameter error: the error for which it ends; ranks that are still working end as well.
  static func end(_ error: (any Error)? = nil) {
    if let error, isUnderWay.withLock({ $0 }) { fail(error) }
    do {
      if ranks.isShared { _ = try ranks.broadcast(Task.end) }
    } catch {
      fail(error)
    }
    ranks.finish()
  }

  /// Ends all ranks with one message, from the one that fails first.
  private static func fail(_ error: any Error) -> Never {
    ranks.fail(code: Outcome.error.exitCode.rawValue) {
      Console.error("rank \(ranks.rank): \(Console.explanation(of: error))")
    }
  }
}
