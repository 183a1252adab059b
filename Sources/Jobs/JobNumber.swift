/// Which of how many jobs a process is, counted from 1.
package struct JobNumber: Hashable, Sendable, CustomStringConvertible {
  package let number: Int
  package let count: Int

  /// The largest number of jobs.
  package static let limit = 1_000_000

  /// - Returns: `nil` unless `1 ≤ number ≤ count ≤ limit`.
  package init?(_ number: Int, of count: Int) {
    guard number >= 1, number <= count, count <= Self.limit else { return nil }
    self.number = number
    self.count = count
  }

  /// Reads `3/16`.
  package init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let number = Int(parts[0]), let count = Int(parts[1]) else {
      return nil
    }
    self.init(number, of: count)
  }

  package var description: String { "\(number)/\(count)" }

  /// What Slurm calls the number of a task of an array.
  package static let arrayTaskVariable = "SLURM_ARRAY_TASK_ID"

  /// The job that schedulers say in the environment: a task of a Slurm array, a rank of Open MPI or of
  /// a launcher that speaks PMI, or a task of `srun`. Ranks inside the tasks of an array are counted
  /// through.
  ///
  /// An array of one task, or with gaps, is often one of some tasks that run again: it does not say
  /// which of how many jobs they were.
  ///
  /// - Returns: `nil` where the environment says nothing, or nothing that makes sense.
  package init?(environment: [String: String]) {
    func value(_ name: String) -> Int? { environment[name].flatMap { Int($0) } }
    func place(_ rank: String, _ size: String) -> (index: Int, count: Int)? {
      guard let index = value(rank), let count = value(size), count >= 1, (0..<count) ~= index
      else { return nil }
      return (index, count)
    }
    var array: (index: Int, count: Int)?
    if let task = environment[Self.arrayTaskVariable] {
      let step = value("SLURM_ARRAY_TASK_STEP") ?? 1
      guard let task = Int(task), let count = value("SLURM_ARRAY_TASK_COUNT"),
        let first = value("SLURM_ARRAY_TASK_MIN"), first >= 0, step >= 1, count >= 2,
        task >= first, (task - first).isMultiple(of: step), (task - first) / step < count,
        value("SLURM_ARRAY_TASK_MAX").map({ ($0 - first) / step == count - 1 }) ?? true
      else { return nil }
      array = ((task - first) / step, count)
    }
    let rank =
      place("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE") ?? place("PMI_RANK", "PMI_SIZE")
      ?? place("SLURM_PROCID", "SLURM_NTASKS")
    switch (array, rank) {
    case (nil, nil): return nil
    case (let only?, nil), (nil, let only?): self.init(only.index + 1, of: only.count)
    case (let array?, let rank?):
      let (count, overflow) = array.count.multipliedReportingOverflow(by: rank.count)
      guard !overflow, count <= Self.limit else { return nil }
      self.init(array.index * rank.count + rank.index + 1, of: count)
    }
  }
}
