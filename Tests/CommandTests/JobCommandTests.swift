import Formats
import Foundation
import Storage
import TestSupport
import Testing

/// The commands `plan`, `run` and `finish`.
@Suite struct JobCommandTests {
  private func bytes(_ path: String) throws -> Data { try Data(contentsOf: URL(filePath: path)) }

  @Test(arguments: ["condi", "safetensors", "pth", "npz"], [1, 2, 3, 7])
  func anyJobCountWritesSameBytes(_ suffix: String, _ count: Int) throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 6)
      let options = suffix == "condi" ? ["--bits", "2"] : []
      let plain = folder.appending("plain.\(suffix)")
      let converted = try CommandLine.succeedAll(
        ["convert", model.folder, plain, "--format", "json"] + options)
      let output = folder.appending("out.\(suffix)")
      let plan = "\(output).plan.json"
      try CommandLine.succeedAll(["plan", model.folder, output] + options)
      // The jobs run in reverse order.
      for job in (1...count).reversed() {
        try CommandLine.succeedAll(["run", plan, "--job", "\(job)/\(count)"])
      }
      let finished = try CommandLine.succeedAll(["finish", plan, "--format", "json"])
      #expect(try bytes(output) == bytes(plain))
      if suffix == "condi" {
        #expect(
          try reportWithoutPaths(finished.standardOutput)
            == reportWithoutPaths(converted.standardOutput))
      }
      #expect(
        try folder.names() == [
          "model", "out.\(suffix)", "out.\(suffix).plan.json", "plain.\(suffix)",
        ])
    }
  }

  private func reportWithoutPaths(_ text: String) throws -> NSDictionary {
    let json = try JSONSerialization.jsonObject(with: Data(text.utf8))
    let report = NSMutableDictionary(dictionary: try #require(json as? [String: Any]))
    report.removeObjects(forKeys: ["input", "output"])
    return report
  }

  @Test func jobsWriteSameConditionedWeights() throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 3)
      let options = ["--bits", "2", "--method", "best", "--recipe", "all-linear"]
      let plain = folder.appending("plain.condi")
      try CommandLine.succeedAll(["convert", model.folder, plain] + options)
      let output = folder.appending("out.condi")
      try CommandLine.succeedAll(["plan", model.folder, output] + options)
      for job in ["1/2", "2/2"] {
        try CommandLine.succeedAll(["run", "\(output).plan.json", "--job", job])
      }
      try CommandLine.succeedAll(["finish", "\(output).plan.json"])
      #expect(try bytes(output) == bytes(plain))
    }
  }

  @Test func missingJobsAreNamed() throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 6)
      let output = folder.appending("out.condi")
      let plan = "\(output).plan.json"
      try CommandLine.succeedAll(["plan", model.folder, output, "--bits", "2"])
      let early = try CommandLine.run("finish", plan)
      #expect(early.exitCode == 2)
      #expect(
        early.standardError
          == "condi-convert: \(output): no job of this plan has run; 'run PLAN --job i/n' runs one\n"
      )
      for job in ["1/4", "3/4"] {
        try CommandLine.succeedAll(["run", plan, "--job", job])
      }
      let incomplete = try CommandLine.run("finish", plan)
      #expect(incomplete.exitCode == 2)
      #expect(
        incomplete.standardError.hasSuffix("records are missing; run jobs 2/4, 4/4\n"),
        "\(incomplete.standardError)")
      try CommandLine.succeedAll(["run", plan, "--job", "4/4"])
      // A job whose bytes were lost must run again.
      let file = try FileHandle(forUpdating: URL(filePath: "\(output).part"))
      let journal = try String(contentsOfFile: "\(output).job-3-of-4", encoding: .utf8)
      let size = try file.seekToEnd()
      for offset in stride(from: UInt64(64), to: size, by: 512) {
        try file.seek(toOffset: offset)
        try file.write(contentsOf: Data([0x5A]))
      }
      try file.close()
      let damaged = try CommandLine.run("finish", plan)
      #expect(damaged.exitCode == 2)
      #expect(
        damaged.standardError.hasSuffix("run jobs 1/4, 2/4, 3/4, 4/4\n"),
        "\(damaged.standardError)")
      for job in 1...4 { try CommandLine.succeedAll(["run", plan, "--job", "\(job)/4"]) }
      try CommandLine.succeedAll(["finish", plan])
      #expect(!journal.isEmpty)
      try CommandLine.succeedAll(["verify", output])
      let again = try CommandLine.run("finish", plan)
      #expect(again.exitCode == 2)
      #expect(
        again.standardError
          == "condi-convert: \(output): no job of this plan has run since this file was sealed\n")
      let planned = try CommandLine.run(
        "plan", model.folder, output, "--bits", "2", "--plan", folder.appending("other.json"))
      #expect(planned.exitCode == 0)
      #expect(
        planned.standardError.contains("\(output) exists: 'finish' replaces it only with --force\n")
      )
    }
  }

  // MARK: Outputs that others have begun

  @Test func jobsOfAnotherPlanAreNotOverwritten() throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 6)
      let output = folder.appending("out.condi")
      let (first, second) = (folder.appending("first.json"), folder.appending("second.json"))
      try CommandLine.succeedAll(["plan", model.folder, output, "--bits", "2", "--plan", first])
      try CommandLine.succeedAll(["plan", model.folder, output, "--bits", "3", "--plan", second])
      try CommandLine.succeedAll(["run", first, "--job", "1/2"])
      let names = try folder.names()
      let part = try bytes("\(output).part")
      // The jobs have the same number, another number, and another count.
      for job in ["1/2", "2/2", "1/1"] {
        let outcome = try CommandLine.run("run", second, "--job", job)
        #expect(outcome.exitCode == 2)
        #expect(
          outcome.standardError
            == "condi-convert: \(output).job-1-of-2: jobs of another plan have begun this output: "
            + "'finish' that plan, or remove their journals and \(output).part\n")
      }
      #expect(try bytes("\(output).part") == part)
      #expect(try folder.names() == names)
      try CommandLine.succeedAll(["run", first, "--job", "2/2"])
      try CommandLine.succeedAll(["finish", first])
      // The output is free now.
      try CommandLine.succeedAll(["run", second, "--job", "1/1"])
      try CommandLine.succeedAll(["finish", second, "--force"])
    }
  }

  @Test(arguments: ["condi", "safetensors"])
  func conversionDoesNotOverwriteJobs(_ suffix: String) throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 6)
      let options = suffix == "condi" ? ["--bits", "2"] : []
      let output = folder.appending("out.\(suffix)")
      let plan = "\(output).plan.json"
      try CommandLine.succeedAll(["plan", model.folder, output] + options)
      try CommandLine.succeedAll(["run", plan, "--job", "2/2"])
      let part = try bytes("\(output).part")
      let outcome = try CommandLine.runAll(
        ["convert", model.folder, output, "--journal", "--force"] + options)
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError.hasSuffix(
          "condi-convert: \(output).job-2-of-2: jobs of a plan have begun this output: 'finish' their "
            + "plan, or remove their journals and \(output).part\n"), "\(outcome.standardError)")
      // The spelling of the path makes no difference.
      let respelt = output.replacing("/out.", with: "//out.")
      let again = try CommandLine.runAll(["convert", model.folder, respelt, "--journal"] + options)
      #expect(again.exitCode == 2)
      #expect(try bytes("\(output).part") == part)
      #expect(!FileManager.default.fileExists(atPath: "\(output).journal"))
      try CommandLine.succeedAll(["run", plan, "--job", "1/2"])
      try CommandLine.succeedAll(["finish", plan])
    }
  }

  /// Calls `body` with a checkpoint, an output path, and the plan that packs the one at 2 bits to
  /// the other.
  private func withPlan(
    _ body: (_ model: LargeCheckpoint, _ output: String, _ plan: String) throws -> Void
  ) throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 3)
      let output = folder.appending("out.condi")
      let plan = "\(output).plan.json"
      try CommandLine.succeedAll(["plan", model.folder, output, "--bits", "2"])
      try body(model, output, plan)
    }
  }

  @Test func runningJobIsNotStartedAgain() throws {
    let program = try FaultyProgram()
    try withPlan { model, output, plan in
      let result = try program.run(
        ["run", plan, "--job", "1/2"], pausedAt: 2, of: ["pwrite"]
      ) { (_: Process) throws in
        let again = try CommandLine.run("run", plan, "--job", "1/2")
        #expect(again.exitCode == 2)
        #expect(
          again.standardError
            == "condi-convert: \(output).job-1-of-2: job 1/2 is already running\n")
        try CommandLine.succeedAll(["run", plan, "--job", "2/2"])
      }
      #expect(result.exitCode == 0, "\(result.standardError)")
      try CommandLine.succeedAll(["finish", plan])
      try CommandLine.succeedAll(["verify", output])
    }
  }

  @Test func killedJobIsResumed() throws {
    let program = try FaultyProgram()
    try withPlan { model, output, plan in
      let plain = "\(output).plain.condi"
      try CommandLine.succeedAll(["convert", model.folder, plain, "--bits", "2"])
      let job = ["run", plan, "--job", "1/2", "--threads", "1"]
      // Each record is one call.
      for (call, doneCount) in [(3, 0), (2, 2)] {
        let killed = try program.run(job, .kill, at: call, of: ["pwrite"])
        #expect(killed.exitCode == -9)
        #expect(
          killed.standardError.contains("which has done \(doneCount) of") == (doneCount > 0),
          "\(killed.standardError)")
      }
      let early = try CommandLine.run("finish", plan)
      #expect(early.exitCode == 2)
      #expect(early.standardError.hasSuffix("run jobs 1/2, 2/2\n"))
      let again = try CommandLine.succeedAll(["run", plan, "--job", "1/2", "--threads", "3"])
      #expect(
        again.standardError.contains("continuing an earlier run, which has done 3 of"),
        "\(again.standardError)")
      // This job is killed in the middle of a record.
      let torn = try program.run(["run", plan, "--job", "2/2"], .half, at: 2, of: ["pwrite"])
      #expect(torn.exitCode == -9)
      try CommandLine.succeedAll(["run", plan, "--job", "2/2"])
      try CommandLine.succeedAll(["finish", plan])
      #expect(try bytes(output) == bytes(plain))
    }
  }

  /// The first job has looked for other jobs' journals but not yet created its own, while a job of
  /// another plan does both.
  @Test(arguments: ["1/2", "2/2"], ["flock", "fsync"])
  func jobsOfTwoPlansStartingTogetherSeeEachOther(_ other: String, _ call: String) throws {
    let program = try FaultyProgram()
    try withPlan { model, output, plan in
      let second = "\(output).second.json"
      try CommandLine.succeedAll(
        ["plan", model.folder, output, "--bits", "3", "--plan", second])
      let result = try program.run(
        ["run", plan, "--job", "1/2"], pausedAt: 1, of: [call]
      ) { (_: Process) throws in
        try CommandLine.succeedAll(["run", second, "--job", other])
      }
      #expect(result.exitCode == 2)
      let journal = "\(output).job-\(other.replacing("/", with: "-of-"))"
      #expect(
        result.standardError
          == "condi-convert: \(journal): jobs of another plan have begun this output: 'finish' that "
          + "plan, or remove their journals and \(output).part\n")
      // The refused job leaves nothing in the way of the other.
      for job in ["1/2", "2/2"] { try CommandLine.succeedAll(["run", second, "--job", job]) }
      try CommandLine.succeedAll(["finish", second])
      try CommandLine.succeedAll(["verify", output])
    }
  }

  /// The conversion has looked for jobs but not yet locked the partial file.
  @Test func conversionSeesJobsStartedMeanwhile() throws {
    let program = try FaultyProgram()
    try withPlan { model, output, plan in
      let result = try program.run(
        ["convert", model.folder, output, "--bits", "3", "--journal", "--quiet"], pausedAt: 1,
        of: ["flock"]
      ) { (_: Process) throws in
        try CommandLine.succeedAll(["run", plan, "--job", "1/1"])
      }
      #expect(result.exitCode == 2)
      #expect(
        result.standardError
          == "condi-convert: \(output).job-1-of-1: jobs of a plan have begun this output: 'finish' "
          + "their plan, or remove their journals and \(output).part\n")
      try CommandLine.succeedAll(["finish", plan])
      try CommandLine.succeedAll(["verify", output])
    }
  }

  @Test func missingPartialFileIsReported() throws {
    try withPlan { model, output, plan in
      for job in ["1/2", "2/2"] { try CommandLine.succeedAll(["run", plan, "--job", job]) }
      try FileManager.default.removeItem(atPath: "\(output).part")
      let outcome = try CommandLine.run("finish", plan)
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError
          == "condi-convert: \(output).part: it is gone, along with the work of jobs 1/2, 2/2: run all "
          + "jobs again\n")
      for job in ["1/2", "2/2"] { try CommandLine.succeedAll(["run", plan, "--job", job]) }
      try CommandLine.succeedAll(["finish", plan])
    }
  }

  @Test func schedulerVariablesSelectJob() throws {
    try withPlan { model, output, plan in
      for rank in 0..<2 {
        let outcome = try BuiltProgram().run(
          ["run", plan], environment: ["PMI_RANK": "\(rank)", "PMI_SIZE": "2"])
        #expect(outcome.exitCode == 0)
        #expect(outcome.standardError.hasPrefix("condi-convert: job \(rank + 1)/2: "))
      }
      try CommandLine.succeedAll(["finish", plan])
      let nobody = try CommandLine.run("run", plan)
      #expect(nobody.exitCode == 64)
      // A single array task that runs again is not the only job.
      let alone = try BuiltProgram().run(
        ["run", plan],
        environment: [
          "SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MIN": "2", "SLURM_ARRAY_TASK_MAX": "2",
          "SLURM_ARRAY_TASK_COUNT": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "1",
        ])
      #expect(alone.exitCode == 64)
      #expect(alone.standardError.contains("task 2 of an array with one task"))
    }
  }

  @Test func changedInputIsRefused() throws {
    try withPlan { model, output, plan in
      try FileManager.default.setAttributes(
        [.modificationDate: Date(timeIntervalSince1970: 1e9)], ofItemAtPath: model.shards[0])
      let outcome = try CommandLine.run("run", plan, "--job", "1/1")
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError
          == "condi-convert: \(model.shards[0]): it has been removed or changed since the conversion was "
          + "planned\n")
    }
  }

  /// JSON does not keep the bits of a NaN, so values come from the input itself.
  @Test(arguments: ["pth", "npz"])
  func jobsKeepBitsOfValues(_ suffix: String) throws {
    try withTemporaryFolder { folder in
      let input = folder.appending("in.pth")
      var archive = TensorArchive()
      archive.tensors["a"] = try Tensor(
        elementType: .uint8, shape: [3], bytes: SharedBytes([1, 2, 3]))
      archive.values["loss"] = .real(Double(bitPattern: 0xFFF8_0000_0000_0001))
      try FormatRegistry.standard.write(archive, as: PyTorchFormat(), to: input)
      let (plain, output) = (folder.appending("plain.\(suffix)"), folder.appending("out.\(suffix)"))
      try CommandLine.succeedAll(["convert", input, plain])
      try CommandLine.succeedAll(["plan", input, output])
      try CommandLine.succeedAll(["run", "\(output).plan.json", "--job", "1/1"])
      try CommandLine.succeedAll(["finish", "\(output).plan.json"])
      #expect(try bytes(output) == bytes(plain))
    }
  }

  /// A plan from elsewhere cannot ask for tensors that the input does not have, nor for any length.
  @Test(arguments: ["npz", "pth", "npy", "safetensors"])
  func plansOfOtherTensorsAreRefused(_ suffix: String) throws {
    try withTemporaryFolder { folder in
      let input = folder.appending("in.safetensors")
      var archive = TensorArchive()
      archive.tensors["a"] = try Tensor(
        elementType: .uint8, shape: [3], bytes: SharedBytes([1, 2, 3]))
      try FormatRegistry.standard.write(archive, as: SafetensorsFormat(), to: input)
      let plan = folder.appending("plan.json")
      try CommandLine.succeedAll(
        ["plan", input, folder.appending("out.\(suffix)"), "--plan", plan])
      let text = try String(contentsOfFile: plan, encoding: .utf8)
      for (old, new) in [
        (#""a":{"#, #""b":{"#), ("[3]", "[9223372036854775807]"), ("[3]", "[1152921504606846976]"),
      ] {
        try #require(text.contains(old))
        try Data(text.replacing(old, with: new).utf8).write(to: URL(filePath: plan))
        let outcome = try CommandLine.run("run", plan, "--job", "1/1")
        #expect(outcome.exitCode == 2, "\(new): \(outcome.standardError)")
        #expect(outcome.standardError.split(separator: "\n").count == 1)
      }
    }
  }

  @Test func damagedPlansAreRefused() throws {
    try withPlan { model, output, plan in
      let text = try String(contentsOfFile: plan, encoding: .utf8)
      for (old, new) in [
        (#"{"schemaVersion":2"#, #"{"schemaVersion":9"#), (#""offset":64"#, #""offset":65"#),
        (#""type":"float16""#, #""type":"float32""#), (#""bits":2"#, #""bits":9"#),
        (#""request""#, #""demand""#), ("[128,192]", "[192,128]"),
      ] {
        try #require(text.contains(old))
        try Data(text.replacing(old, with: new).utf8).write(to: URL(filePath: plan))
        let outcome = try CommandLine.run("run", plan, "--job", "1/1")
        #expect(outcome.exitCode == 2, "\(old)")
        #expect(outcome.standardError.split(separator: "\n").count == 1)
      }
    }
  }

  @Test(arguments: [
    ["plan", "-", "b.condi"],
    ["plan", "a.safetensors", "b.condi", "--target-size", "9"],
    ["run", "plan.json", "--job", "0/2"],
    ["run", "plan.json", "--job", "two"],
    ["convert", "-", "b.condi", "--consume-input", "--no-journal"],
  ])
  func wrongUsageExitsWith64(_ arguments: [String]) throws {
    let outcome = try BuiltProgram().run(arguments)
    #expect(outcome.exitCode == 64, "\(outcome.standardError)")
  }
}
