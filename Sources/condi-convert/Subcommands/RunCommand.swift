import ArgumentParser
import FoundationEssentials
import Jobs
import Storage

struct RunCommand: SharedCommand, DocumentedCommand {
  static let sharesWithoutLauncher = true

  static let page = CommandPage(
    name: "run",
    abstract: "Do one job's share of a planned conversion.",
    examples: [
      "condi-convert run model.condi.plan.json --job 3/16",
      "srun condi-convert run model.condi.plan.json",
    ],
    essentials: ["--job"],
    notes: """
      NOTES
        Without --job, Slurm, mpirun or srun say which job this is.
      """)

  @Argument(help: "A plan that 'plan' wrote.")
  var plan: String

  @Option(
    help: ArgumentHelp("Which of how many jobs, counted from 1.", valueName: "i/n"),
    transform: { text in
      guard let job = JobNumber(text) else {
        throw ValidationError("--job takes 'i/n' with 1 ≤ i ≤ n ≤ \(JobNumber.limit)")
      }
      return job
    })
  var job: JobNumber?

  @OptionGroup(title: "Running") var common: CommonOptions

  func run() throws {
    // A job given by the environment belongs to this rank; other ranks run theirs.
    guard job == nil else { return try runJob() }
    try SharedWork.share(among: SharedWork.ranks, preparing: {}, runJob)
  }

  private func runJob() throws {
    let environment = ProcessInfo.processInfo.environment
    guard let job = job ?? JobNumber(environment: environment) else {
      throw ValidationError(
        environment[JobNumber.arrayTaskVariable].map {
          "task \($0) of an array with one task or with gaps does not tell which of how many jobs "
            + "this is: give --job i/n"
        } ?? "neither --job nor the environment (Slurm, Open MPI, PMI) tells which job this is")
    }
    let share = try JobRun(
      ConversionPlan(contentsOf: plan), job: job, replacesExisting: true, access: common.access,
      threads: common.threads)
    if share.resumedCount > 0 {
      Console.note(
        "job \(job): continuing an earlier run, which has done \(share.resumedCount) of "
          + counted(share.recordCount, "tensor"), unless: common.quiet)
    }
    let bar = ProgressBar("job \(job)", total: share.sourceByteCount, isQuiet: common.quiet)
    try share.run { bar.advance($1) }
    Console.note("job \(job): \(counted(share.recordCount, "tensor")) done", unless: common.quiet)
  }
}
