import Formats
import Foundation
import Storage
import TestSupport
import Testing

/// Conversions that are killed and resumed, that consume their inputs, and that several jobs share.
@Suite struct ResumeTests {
  private func bytes(_ path: String) throws -> Data { try Data(contentsOf: URL(filePath: path)) }

  private static let packing = ["--bits", "2"]

  @Test(arguments: ["condi", "safetensors", "pth", "npz"])
  func journalDoesNotChangeOutput(_ suffix: String) throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 8)
      let options = suffix == "condi" ? Self.packing : []
      let plain = folder.appending("plain.\(suffix)")
      try CommandLine.succeedAll(["convert", model.folder, plain, "--no-journal"] + options)
      for threads in ["1", "2", "5"] {
        let output = folder.appending("threads\(threads).\(suffix)")
        try CommandLine.succeedAll(
          ["convert", model.folder, output, "--journal", "--threads", threads] + options)
        #expect(try bytes(output) == bytes(plain), "\(threads) threads")
      }
      #expect(
        try folder.names() == [
          "model", "plain.\(suffix)", "threads1.\(suffix)", "threads2.\(suffix)",
          "threads5.\(suffix)",
        ])
    }
  }

  /// Calls at which consecutive runs are killed, counted from the start of each run.
  struct Kills: Sendable, CustomTestStringConvertible {
    let fault: FaultyProgram.Fault
    let calls: [String]
    let indices: [Int]
    var testDescription: String { "\(fault) \(indices)" }

    static let all = [
      Kills(fault: .kill, calls: FaultyProgram.journaling, indices: [9, 24, 2, 17, 12]),
      // Records and journal lines alternate.
      Kills(fault: .half, calls: ["pwrite", "write"], indices: [4, 12, 1, 20, 7]),
    ]
  }

  /// Converts in several runs and kills all but the last.
  private func convert(_ arguments: [String], _ kills: Kills) throws {
    let program = try FaultyProgram()
    for index in kills.indices {
      let outcome = try program.run(
        arguments + ["--threads", "1", "--quiet"], kills.fault, at: index, of: kills.calls)
      #expect(outcome.exitCode == -9, "call \(index): \(outcome.standardError)")
    }
    let outcome = try CommandLine.succeedAll(arguments)
    #expect(
      outcome.standardError.contains("continuing an earlier run"), "\(outcome.standardError)")
  }

  @Test(arguments: ["condi", "safetensors", "pth", "npz"], Kills.all)
  func killedConversionIsResumed(_ suffix: String, _ kills: Kills) throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 8)
      let options = suffix == "condi" ? Self.packing : []
      let plain = folder.appending("plain.\(suffix)")
      try CommandLine.succeedAll(["convert", model.folder, plain, "--no-journal"] + options)
      let output = folder.appending("out.\(suffix)")
      try convert(["convert", model.folder, output, "--journal"] + options, kills)
      #expect(try bytes(output) == bytes(plain))
      #expect(try folder.names() == ["model", "out.\(suffix)", "plain.\(suffix)"])
    }
  }

  /// Kills at every call, one after another, that makes something durable, names it or removes a
  /// name.
  @Test(arguments: ["condi", "safetensors"], ["--journal", "--consume-input"])
  func conversionKilledAtAnyStepIsResumed(_ suffix: String, _ option: String) throws {
    let program = try FaultyProgram()
    let options = [option, "--threads", "1"] + (suffix == "condi" ? Self.packing : [])
    let steps = ["fallocate", "fsync", "rename", "link", "unlink", "truncate", "ftruncate"]
    /// Converts with a kill at `step`, then converts again.
    ///
    /// - Returns: Whether the step was reached, and the output.
    func convert(killedAt step: Int) throws -> (isKilled: Bool, output: Data) {
      try withTemporaryFolder { folder in
        let model = try LargeCheckpoint(in: folder, layers: 4)
        let output = folder.appending("out.\(suffix)")
        let arguments = ["convert", model.folder, output] + options
        let first = try program.run(arguments, .kill, at: step, of: steps)
        if first.exitCode != 0 {
          #expect(first.exitCode == -9, "step \(step): \(first.standardError)")
          let isThere = FileManager.default.fileExists(atPath: output)
          let again = try CommandLine.runAll(arguments)
          // The run was killed after the output took its name and before the journal was removed.
          #expect(again.exitCode == (isThere ? 2 : 0), "step \(step): \(again.standardError)")
        }
        #expect(try folder.names() == ["model", "out.\(suffix)"], "step \(step)")
        let left = try FileManager.default.contentsOfDirectory(atPath: model.folder)
        #expect(left.count == (option == "--journal" ? 5 : 1), "step \(step)")
        return (first.exitCode != 0, try bytes(output))
      }
    }
    var outputs: [Data] = []
    while true {
      let (isKilled, output) = try convert(killedAt: outputs.count + 1)
      outputs.append(output)
      if !isKilled { break }
    }
    // The last output is that of an undisturbed run.
    #expect(outputs.allSatisfy { $0 == outputs.last })
    #expect(outputs.count > (option == "--journal" ? 6 : 18))
  }

  /// A killed run is resumed with another number of threads.
  @Test(arguments: ["condi", "safetensors", "pth", "npz"], [("3", "1"), ("1", "4")])
  func threadCountMayChangeOnResume(_ suffix: String, _ threads: (String, String)) throws {
    let program = try FaultyProgram()
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder)
      let options = suffix == "condi" ? Self.packing : []
      let plain = folder.appending("plain.\(suffix)")
      try CommandLine.succeedAll(["convert", model.folder, plain, "--no-journal"] + options)
      let output = folder.appending("out.\(suffix)")
      let arguments = ["convert", model.folder, output, "--journal"] + options + ["--threads"]
      let killed = try program.run(arguments + [threads.0], .kill, at: 20, of: ["pwrite"])
      #expect(killed.exitCode == -9)
      let outcome = try CommandLine.succeedAll(arguments + [threads.1])
      #expect(
        outcome.standardError.contains("continuing an earlier run, which has done 1"),
        "\(outcome.standardError)")
      #expect(try bytes(output) == bytes(plain))
      #expect(try folder.names() == ["model", "out.\(suffix)", "plain.\(suffix)"])
    }
  }

  /// The partial file and the journal are beside the replaced file, so that a run that writes it by
  /// its own name finds them as well.
  @Test func symlinkedOutputIsResumedAtItsTarget() throws {
    let program = try FaultyProgram()
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 8)
      let plain = folder.appending("plain.condi")
      try CommandLine.succeedAll(["convert", model.folder, plain] + Self.packing)
      let elsewhere = folder.appending("elsewhere")
      try FileManager.default.createDirectory(
        atPath: elsewhere, withIntermediateDirectories: false)
      try Data("old".utf8).write(to: URL(filePath: "\(elsewhere)/real"))
      let link = folder.appending("out.condi")
      #expect(symlink("elsewhere/real", link) == 0)
      let arguments = ["convert", model.folder, link, "--journal", "--force"] + Self.packing
      let killed = try program.run(arguments, .kill, at: 9, of: ["pwrite"])
      #expect(killed.exitCode == -9)
      func names() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: elsewhere).sorted()
      }
      #expect(try names() == ["real", "real.journal", "real.part"])
      #expect(try folder.names() == ["elsewhere", "model", "out.condi", "plain.condi"])
      let outcome = try CommandLine.succeedAll(arguments)
      #expect(outcome.standardError.contains("continuing an earlier run"))
      #expect(try bytes("\(elsewhere)/real") == bytes(plain))
      #expect(try names() == ["real"])
      #expect(
        try FileManager.default.destinationOfSymbolicLink(atPath: link) == "elsewhere/real")
    }
  }

  /// The input is not examined; it does not even exist.
  @Test(arguments: [
    ["convert", "IN", "out.condi", "--journal"], ["convert", "IN", "out.condi", "--no-journal"],
    ["quantize", "IN", "out.condi", "--calibration", "none.calib.npz"],
    ["convert", "IN", "out.safetensors", "--journal"], ["convert", "IN", "out.npz"],
    ["condition", "IN", "out.pth"],
  ])
  func existingOutputIsRefusedBeforeWork(_ arguments: [String]) throws {
    try withTemporaryFolder { folder in
      let output = folder.appending(arguments[2])
      try Data("another".utf8).write(to: URL(filePath: output))
      let outcome = try CommandLine.runAll(
        [arguments[0], folder.appending("missing.pth"), output] + arguments[3...])
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError
          == "condi-convert: \(output): already exists; use --force to replace it\n")
    }
  }

  /// Calls `body` with a run that stopped in the middle, made by hand: the journal loses its last
  /// lines and ends in an incomplete one.
  private func withInterrupted(
    _ body: (TemporaryFolder, LargeCheckpoint, String, [String]) throws -> Void
  ) throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 8)
      let output = folder.appending("out.condi")
      let arguments = ["convert", model.folder, output, "--journal"] + Self.packing
      // A single job writes all records and seals nothing, like a run that was killed late.
      try CommandLine.succeedAll(["plan", model.folder, output, "--quiet"] + Self.packing)
      try CommandLine.succeedAll(["run", "\(output).plan.json", "--job", "1/1", "--quiet"])
      let journal = "\(output).job-1-of-1"
      let plan = try bytes("\(output).plan.json")
      let lines = try String(contentsOfFile: journal, encoding: .utf8)
        .split(separator: "\n", omittingEmptySubsequences: false).dropFirst()
      let kept = lines.prefix(10).joined(separator: "\n")
      try (plan + Data("\(kept)\n{\"record\":3,\"crc".utf8)).write(
        to: URL(filePath: "\(output).journal"))
      try FileManager.default.removeItem(atPath: journal)
      try FileManager.default.removeItem(atPath: "\(output).plan.json")
      try body(folder, model, output, arguments)
    }
  }

  @Test func resumedConversionSkipsFinishedTensors() throws {
    try withInterrupted { folder, model, output, arguments in
      let outcome = try CommandLine.succeedAll(arguments)
      #expect(
        outcome.standardError.contains(
          "continuing an earlier run, which has done 10 of 31 tensors"),
        "\(outcome.standardError)")
      let plain = folder.appending("plain.condi")
      let undisturbed = try CommandLine.succeedAll(
        ["convert", model.folder, plain, "--no-journal"] + Self.packing)
      #expect(try bytes(output) == bytes(plain))
      // The second run reports the tensors that the first run quantized.
      #expect(
        outcome.standardOutput
          == undisturbed.standardOutput.replacing("plain.condi", with: "out.condi"))
      #expect(try folder.names() == ["model", "out.condi", "plain.condi"])
    }
  }

  /// The run was killed after the output took its name and before the journal was removed.
  @Test(arguments: [false, true], [false, true])
  func leftoverJournalOfFinishedRunIsRecognized(_ isConsumed: Bool, _ isDamaged: Bool) throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 8)
      let output = folder.appending("out.condi")
      let plan = "\(output).plan.json"
      try CommandLine.succeedAll(["plan", model.folder, output, "--quiet"] + Self.packing)
      try CommandLine.succeedAll(["run", plan, "--job", "1/1", "--quiet"])
      var journal = try String(contentsOfFile: plan, encoding: .utf8)
      journal += try String(contentsOfFile: "\(output).job-1-of-1", encoding: .utf8)
        .split(separator: "\n").dropFirst().map { "\($0)\n" }.joined()
      try CommandLine.succeedAll(["finish", plan, "--quiet"])
      if isConsumed {
        journal += "{\"consumed\":\"\(model.shards[0])\"}\n"
        try FileManager.default.removeItem(atPath: model.shards[0])
      }
      try Data(journal.utf8).write(to: URL(filePath: "\(output).journal"))
      if isDamaged { try CommandLine.copy(output, to: output) { $0[100] ^= 1 } }
      let outcome = try BuiltProgram().run(
        ["convert", model.folder, output] + (isConsumed ? ["--consume-input"] : ["--journal"])
          + Self.packing)
      #expect(outcome.exitCode == 2)
      let exists = "condi-convert: \(output): already exists; use --force to replace it\n"
      switch (isConsumed, isDamaged) {
      case (false, false): #expect(outcome.standardError == exists)
      case (false, true):
        #expect(
          outcome.standardError.hasSuffix("cannot be used: its partial file is gone\n\(exists)"),
          "\(outcome.standardError)")
      case (true, false):
        #expect(
          outcome.standardError
            == "condi-convert: \(output): an earlier run finished it and consumed its input\n")
      case (true, true):
        #expect(
          outcome.standardError.hasPrefix(
            "condi-convert: \(output).journal: its partial file is gone, and with it the content of 1"
          ), "\(outcome.standardError)")
      }
      let isLeft = FileManager.default.fileExists(atPath: "\(output).journal")
      #expect(isLeft == isDamaged)
    }
  }

  /// Nothing was consumed, so the record of the damaged line is made again.
  @Test func damagedJournalLineIsIgnored() throws {
    try withInterrupted { folder, model, output, arguments in
      try damage(line: 5, of: "\(output).journal")
      let outcome = try CommandLine.succeedAll(arguments)
      #expect(
        outcome.standardError.contains("which has done 9 of 31 tensors"),
        "\(outcome.standardError)")
      let plain = folder.appending("plain.condi")
      try CommandLine.succeedAll(
        ["convert", model.folder, plain, "--no-journal", "--quiet"] + Self.packing)
      #expect(try bytes(output) == bytes(plain))
    }
  }

  /// Makes one line of a journal unreadable; lines are counted from one.
  private func damage(line: Int, of path: String) throws {
    var lines = try String(contentsOfFile: path, encoding: .utf8)
      .split(separator: "\n", omittingEmptySubsequences: false)
    lines[line - 1] = "{\u{0}" + lines[line - 1].dropFirst(2)
    try Data(lines.joined(separator: "\n").utf8).write(to: URL(filePath: path))
  }

  @Test func damagedRecordsAreRewritten() throws {
    try withInterrupted { folder, model, output, arguments in
      let file = try FileHandle(forUpdating: URL(filePath: "\(output).part"))
      try file.seek(toOffset: 64)
      try file.write(contentsOf: Data(repeating: 0x55, count: 200_000))
      try file.close()
      let outcome = try CommandLine.succeedAll(arguments)
      #expect(!outcome.standardError.contains("done 10 of"), "\(outcome.standardError)")
      let plain = folder.appending("plain.condi")
      try CommandLine.succeedAll(
        ["convert", model.folder, plain, "--no-journal", "--quiet"] + Self.packing)
      #expect(try bytes(output) == bytes(plain))
    }
  }

  /// A file that was moved is not reported as lost.
  @Test func movedShardCanBePutBack() throws {
    try withInterrupted { folder, model, output, arguments in
      let shard = model.shards[2]
      try FileManager.default.moveItem(atPath: shard, toPath: folder.appending("elsewhere"))
      let outcome = try CommandLine.runAll(arguments + ["--consume-input"])
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError
          == "condi-convert: \(shard): it is gone, and no journal says that it was consumed: put it "
          + "back\n")
      try FileManager.default.moveItem(atPath: folder.appending("elsewhere"), toPath: shard)
      try CommandLine.succeedAll(arguments + ["--consume-input"])
      #expect(
        try FileManager.default.contentsOfDirectory(atPath: model.folder)
          == ["model.safetensors.index.json"])
    }
  }

  @Test func differentConversionStartsAnew() throws {
    try withInterrupted { folder, model, output, _ in
      let outcome = try CommandLine.succeedAll(["convert", model.folder, output, "--bits", "3"])
      #expect(
        outcome.standardError.contains(
          "starting anew, because the journal beside it cannot be used: it belongs to another input or to "
            + "other options"), "\(outcome.standardError)")
    }
    try withInterrupted { folder, model, output, arguments in
      try FileManager.default.setAttributes(
        [.modificationDate: Date(timeIntervalSince1970: 1e9)], ofItemAtPath: model.shards[1])
      let outcome = try CommandLine.succeedAll(arguments)
      #expect(
        outcome.standardError.contains("\(model.shards[1]) has changed since"),
        "\(outcome.standardError)")
    }
  }

  @Test func invalidJournalStartsAnew() throws {
    for text in ["", "{}\n", "no JSON\n", "{\"schemaVersion\":3}\n", "{\"schemaVersion\":2"] {
      try withTemporaryFolder { folder in
        let model = try LargeCheckpoint(in: folder, layers: 4)
        let output = folder.appending("out.condi")
        try Data(text.utf8).write(to: URL(filePath: "\(output).journal"))
        try CommandLine.succeedAll(["convert", model.folder, output, "--journal"] + Self.packing)
        #expect(try folder.names() == ["model", "out.condi"])
      }
    }
  }

  // MARK: Consumed inputs

  @Test(arguments: ["condi", "safetensors", "pth", "npz"], ["1", "2", "5"])
  func consumeInputDeletesShards(_ suffix: String, _ threads: String) throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 8)
      let options = suffix == "condi" ? Self.packing : []
      let plain = folder.appending("plain.\(suffix)")
      try CommandLine.succeedAll(["convert", model.folder, plain] + options)
      let output = folder.appending("out.\(suffix)")
      try CommandLine.succeedAll(
        ["convert", model.folder, output, "--consume-input", "--threads", threads] + options)
      #expect(try bytes(output) == bytes(plain))
      #expect(
        try FileManager.default.contentsOfDirectory(atPath: model.folder)
          == ["model.safetensors.index.json"])
    }
  }

  @Test(arguments: ["condi", "safetensors"], Kills.all)
  func killedConsumingConversionIsResumed(_ suffix: String, _ kills: Kills) throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 8)
      let options = suffix == "condi" ? Self.packing : []
      let plain = folder.appending("plain.\(suffix)")
      try CommandLine.succeedAll(["convert", model.folder, plain] + options)
      let output = folder.appending("out.\(suffix)")
      try convert(["convert", model.folder, output, "--consume-input"] + options, kills)
      #expect(try bytes(output) == bytes(plain))
      #expect(
        try FileManager.default.contentsOfDirectory(atPath: model.folder)
          == ["model.safetensors.index.json"])
    }
  }

  @Test func consumedShardIsNotNeededAgain() throws {
    try withInterrupted { folder, model, output, arguments in
      let plain = folder.appending("plain.condi")
      try CommandLine.succeedAll(
        ["convert", model.folder, plain, "--no-journal", "--quiet"] + Self.packing)
      // The first shard may be deleted, because all its records are in place and journaled.
      let plan = folder.appending("all.condi")
      try CommandLine.succeedAll(["plan", model.folder, plan, "--quiet"] + Self.packing)
      try CommandLine.succeedAll(["run", "\(plan).plan.json", "--job", "1/1", "--quiet"])
      let all = try String(contentsOfFile: "\(plan).job-1-of-1", encoding: .utf8)
        .split(separator: "\n").dropFirst().joined(separator: "\n")
      let head = try String(contentsOfFile: "\(output).journal", encoding: .utf8)
        .split(separator: "\n")[0]
      try Data("\(head)\n\(all)\n{\"consumed\":\"\(model.shards[0])\"}\n".utf8)
        .write(to: URL(filePath: "\(output).journal"))
      try FileManager.default.removeItem(atPath: model.shards[0])
      // Nothing may be discarded when the options differ.
      let other = try CommandLine.run("convert", model.folder, output, "--bits", "3")
      #expect(other.exitCode == 2)
      #expect(
        other.standardError.contains(
          "it belongs to another input or to other options, but it holds the content of 1 "
            + "consumed file: "), "\(other.standardError)")
      try CommandLine.succeedAll(arguments)
      #expect(try bytes(output) == bytes(plain))
    }
  }

  /// Calls `body` with a conversion that has consumed its first shard, all records in place and
  /// journaled.
  private func withConsumed(
    _ body: (TemporaryFolder, LargeCheckpoint, String, [String], _ plain: Data) throws -> Void
  ) throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 8)
      let output = folder.appending("out.condi")
      let arguments = ["convert", model.folder, output, "--consume-input"] + Self.packing
      try CommandLine.succeedAll(["convert", model.folder, output, "--quiet"] + Self.packing)
      let plain = try bytes(output)
      try FileManager.default.removeItem(atPath: output)
      try CommandLine.succeedAll(["plan", model.folder, output, "--quiet"] + Self.packing)
      // One thread keeps the lines in a fixed order.
      try CommandLine.succeedAll(
        ["run", "\(output).plan.json", "--job", "1/1", "--quiet", "--threads", "1"])
      let lines = try String(contentsOfFile: "\(output).job-1-of-1", encoding: .utf8)
        .split(separator: "\n").dropFirst().map { "\($0)\n" }.joined()
      let journal = Data("\(lines){\"consumed\":\"\(model.shards[0])\"}\n".utf8)
      try (bytes("\(output).plan.json") + journal).write(to: URL(filePath: "\(output).journal"))
      for path in ["\(output).job-1-of-1", "\(output).plan.json", model.shards[0]] {
        try FileManager.default.removeItem(atPath: path)
      }
      try body(folder, model, output, arguments, plain)
    }
  }

  @Test func jobsDoNotOverwriteConsumedContent() throws {
    try withConsumed { folder, model, output, arguments, plain in
      let plan = folder.appending("plan.json")
      try withTemporaryFolder { elsewhere in
        let other = try LargeCheckpoint(in: elsewhere, layers: 8, seed: 6)
        try CommandLine.succeedAll(
          ["plan", other.folder, output, "--plan", plan, "--quiet"] + Self.packing)
        for command in [["run", plan, "--job", "1/1"], ["run", plan, "--job", "2/3"]] {
          let outcome = try CommandLine.runAll(command)
          #expect(outcome.exitCode == 2)
          #expect(
            outcome.standardError
              == "condi-convert: \(output).journal: a conversion is not finished, and its partial file holds the content "
              + "of 1 consumed file: repeat the command that wrote it before jobs write "
              + "this output\n")
        }
      }
      try CommandLine.succeedAll(arguments)
      #expect(try bytes(output) == plain)
      #expect(try folder.names() == ["model", "out.condi", "plan.json"])
    }
  }

  @Test func jobsDoNotOverwriteResumableConversion() throws {
    try withInterrupted { folder, model, output, arguments in
      let plan = folder.appending("plan.json")
      try CommandLine.succeedAll(
        ["plan", model.folder, output, "--plan", plan, "--quiet"] + Self.packing)
      let outcome = try CommandLine.run("run", plan, "--job", "1/1")
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError
          == "condi-convert: \(output).journal: a conversion is not finished: repeat the command "
          + "that wrote it, or remove it before jobs write this output\n")
      try CommandLine.succeedAll(arguments)
      try CommandLine.succeedAll(["run", plan, "--job", "1/1"])
    }
  }

  /// The rest of the input stays when the partial file has lost consumed content.
  @Test func lostConsumedContentStopsConsumption() throws {
    try withConsumed { folder, model, output, arguments, _ in
      let head = try #require(
        String(contentsOfFile: "\(output).journal", encoding: .utf8).split(separator: "\n").first)
      let plan = try JSONSerialization.jsonObject(with: Data(head.utf8)) as? [String: Any]
      let header = try #require(plan?["header"] as? [String: Any])
      let entries = try #require(header["tensors"] as? [[String: Any]])
      // This tensor belongs to the deleted shard; all records of the others are unchanged.
      let entry = entries.first { $0["name"] as? String == "layers.4.norm.weight" }
      let offset = try #require(entry?["offset"] as? Int)
      try CommandLine.copy("\(output).part", to: "\(output).part") { $0[offset] ^= 1 }
      let outcome = try CommandLine.runAll(arguments)
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError
          == "condi-convert: \(output).part: tensor 'layers.4.norm.weight': it does not match its "
          + "journal, and the file that held the tensor has been consumed; 1 of 31 tensors are "
          + "lost, and nothing more is consumed\n")
      for shard in model.shards.dropFirst() {
        #expect(FileManager.default.fileExists(atPath: shard), "\(shard)")
      }
      #expect(try folder.names() == ["model", "out.condi.journal", "out.condi.part"])
    }
  }

  /// A journal of another program version may be the only record of what was consumed.
  @Test func journalOfOtherVersionIsKeptAfterConsumption() throws {
    try withConsumed { folder, _, output, arguments, _ in
      let path = "\(output).journal"
      let journal = try String(contentsOfFile: path, encoding: .utf8)
      try Data(journal.replacing("\"schemaVersion\":2", with: "\"schemaVersion\":3").utf8)
        .write(to: URL(filePath: path))
      let outcome = try CommandLine.runAll(arguments)
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError.hasPrefix("condi-convert: \(path): plans of version 3 are not known")
          && outcome.standardError.contains("it holds the content of 1 consumed file: "),
        "\(outcome.standardError)")
      #expect(try folder.names() == ["model", "out.condi.journal", "out.condi.part"])
    }
  }

  /// The names of the partial file and of the journal are durable before a source is deleted.
  @Test func namesAreDurableBeforeAnythingIsConsumed() throws {
    let program = try FaultyProgram()
    for (call, names) in [
      (1, ["model", "out.condi.part"]), (2, ["model", "out.condi.journal", "out.condi.part"]),
    ] {
      try withTemporaryFolder { folder in
        let model = try LargeCheckpoint(in: folder, layers: 8)
        let output = folder.appending("out.condi")
        let outcome = try program.run(
          ["convert", model.folder, output, "--consume-input", "--quiet"] + Self.packing, .kill,
          at: call, of: ["fsync"])
        #expect(outcome.exitCode == -9)
        #expect(try folder.names() == names)
        for shard in model.shards { #expect(FileManager.default.fileExists(atPath: shard)) }
      }
    }
  }

  /// Nothing starts anew when a damaged line may be the only record of what was consumed.
  @Test(arguments: [true, false])
  func damagedJournalAfterConsumptionIsRefused(_ isConsumedLine: Bool) throws {
    try withConsumed { folder, _, output, arguments, plain in
      let path = "\(output).journal"
      let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
      // Line 4 is of a tensor whose shard still exists; those of layer 0, whose shard is gone, come
      // first.
      let line = isConsumedLine ? lines.count : 4
      try damage(line: line, of: path)
      let damaged = try bytes(path)
      for command in [arguments, arguments.dropLast(2) + ["--bits", "3"]] {
        let outcome = try CommandLine.runAll(Array(command))
        #expect(outcome.exitCode == 2)
        #expect(
          outcome.standardError
            == "condi-convert: \(path): line \(line) is damaged, and the partial file may be the only "
            + "copy of files that were consumed: remove that line and repeat the command, which says "
            + "what is lost, if anything, or remove the journal to give them up\n")
      }
      #expect(try bytes(path) == damaged)
      #expect(try folder.names() == ["model", "out.condi.journal", "out.condi.part"])
      let rest = lines.enumerated().filter { $0.offset != line - 1 }.map { "\($0.element)\n" }
      try Data(rest.joined().utf8).write(to: URL(filePath: path))
      let outcome = try CommandLine.succeedAll(arguments)
      #expect(
        outcome.standardError.contains("has done \(isConsumedLine ? 31 : 30) of 31 tensors"),
        "\(outcome.standardError)")
      #expect(try bytes(output) == plain)
    }
  }

  @Test func damagedPlanAfterConsumptionIsRefused() throws {
    try withConsumed { folder, _, output, arguments, _ in
      let path = "\(output).journal"
      try damage(line: 1, of: path)
      let outcome = try CommandLine.runAll(arguments)
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError
          == "condi-convert: \(path): line 1 is damaged, and the partial file may be the only copy of "
          + "files that were consumed: put it back from a copy, or remove the journal to give them up\n"
      )
      #expect(try folder.names() == ["model", "out.condi.journal", "out.condi.part"])
    }
  }

  @Test func unsafeInputsAreNotConsumed() throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder, layers: 4)
      let output = folder.appending("out.condi")
      func refusal(_ input: String, _ more: String...) throws -> (Int32, String) {
        let outcome = try BuiltProgram().run(
          ["convert", input, output, "--consume-input"] + Self.packing + more)
        return (outcome.exitCode, outcome.standardError)
      }
      let linked = folder.appending("linked")
      try FileManager.default.createDirectory(atPath: linked, withIntermediateDirectories: true)
      try FileManager.default.copyItem(
        atPath: model.index, toPath: "\(linked)/model.safetensors.index.json")
      for shard in model.shards {
        try FileManager.default.createSymbolicLink(
          atPath: "\(linked)/\((shard as NSString).lastPathComponent)", withDestinationPath: shard)
      }
      let link = try refusal(linked)
      #expect(link.0 == 2 && link.1.contains("it is not a regular file, so it is not consumed"))
      let part = try refusal(CommandLine.checkpoint)
      #expect(part.0 == 2 && part.1.contains("only a part of it is taken"), "\(part.1)")
      let pickle = try refusal(
        PackageFolder.fixture("torch/state_dict.pth"), "--recipe", "all-linear")
      #expect(pickle.0 == 2 && pickle.1.contains("it is not a safetensors file"), "\(pickle.1)")
      let unjournaled = try refusal(model.folder, "--no-journal")
      #expect(unjournaled.0 == 64 && unjournaled.1.contains("--consume-input needs the journal"))
      let standardInput = try refusal("-")
      #expect(standardInput.0 != 0)
      try FileManager.default.linkItem(
        atPath: model.shards[2], toPath: folder.appending("second name"))
      let named = try refusal(model.folder)
      #expect(named.0 == 2 && named.1.contains("it has other hard links"), "\(named.1)")
      for shard in model.shards { #expect(FileManager.default.fileExists(atPath: shard)) }
      #expect(try folder.names() == ["linked", "model", "second name"])
    }
  }

  /// The file of one array has no names.
  @Test func inputIsNotConsumedWhereItsNamesAreLost() throws {
    try withTemporaryFolder { folder in
      let input = folder.appending("in.safetensors")
      var archive = TensorArchive()
      archive.tensors["a"] = try Tensor(
        elementType: .uint8, shape: [3], bytes: SharedBytes([1, 2, 3]))
      archive.format = SafetensorsFormat().identifier
      try FormatRegistry.standard.write(archive, as: SafetensorsFormat(), to: input)
      let outcome = try CommandLine.runAll(
        ["convert", input, folder.appending("out.npy"), "--consume-input"])
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError.contains("the output does not keep its tensor's name"),
        "\(outcome.standardError)")
      #expect(try folder.names() == ["in.safetensors"])
    }
  }

  // MARK: Disk space

  private func byteCountOnDisk(_ path: String) -> Int {
    var status = stat()
    guard stat(path, &status) == 0 else { return 0 }
    return Int(status.st_blocks) * 512
  }

  /// Just before a shard is deleted, the output has grown by at most two shards more than were
  /// deleted.
  @Test(arguments: [1, 2, 3, 4])
  func consumingNeedsRoomForTwoShards(_ deletion: Int) throws {
    let program = try FaultyProgram()
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder)
      let output = folder.appending("out.safetensors")
      func used() -> Int {
        (model.shards + ["\(output).part"]).reduce(0) { $0 + byteCountOnDisk($1) }
      }
      let before = used()
      let result = try program.run(
        ["convert", model.folder, output, "--consume-input", "--threads", "3", "--quiet"],
        pausedAt: deletion, of: ["truncate"]
      ) { (process: Process, pausedThread: Int32) throws in
        // The other threads get as far as they can.
        try ThreadStates.waitUntilAsleep(in: process.processIdentifier) { $0 != pausedThread }
        #expect(used() <= before + before / 2 + 65_536, "\(used()) of \(before)")
        let gone = model.shards.filter { !FileManager.default.fileExists(atPath: $0) }
        #expect(gone.count >= deletion - 1)
      }
      #expect(result.exitCode == 0, "\(result.standardError)")
    }
  }

  private static let canMount =
    geteuid() == 0
    && (try? BuiltProgram(path: "/usr/bin/env").run(["unshare", "-m", "true"]).exitCode) == 0

  /// The disk has room for 1.6 times the model.
  @Test(.enabled(if: canMount), arguments: [true, false])
  func consumingFitsDiskWithoutRoomForBoth(_ isConsumed: Bool) throws {
    try withTemporaryFolder { folder in
      let model = try LargeCheckpoint(in: folder)
      let plain = folder.appending("plain.safetensors")
      try CommandLine.succeedAll(["convert", model.folder, plain, "--quiet"])
      let disk = folder.appending("disk")
      try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: false)
      let byteCount = model.shards.reduce(0) { $0 + byteCountOnDisk($1) } * 16 / 10
      let script = """
        mount -t tmpfs -o size=$3 tmpfs "$1" && cp -r "$2" "$1/model" &&
        "$0" convert "$1/model" "$1/out.safetensors" --quiet --threads 2 $4 &&
        cp "$1/out.safetensors" "$2/.." && ls "$1/model"
        """
      let outcome = try BuiltProgram(path: "/usr/bin/env").run([
        "unshare", "-m", "sh", "-c", script, BuiltProgram().path, disk, model.folder,
        "\(byteCount)", isConsumed ? "--consume-input" : "--journal",
      ])
      if isConsumed {
        #expect(outcome.exitCode == 0, "\(outcome.standardError)")
        #expect(outcome.standardOutput == "model.safetensors.index.json\n")
        #expect(try bytes(folder.appending("out.safetensors")) == bytes(plain))
      } else {
        #expect(outcome.exitCode == 2)
        #expect(outcome.standardError.contains("bytes of free disk space, found"))
      }
    }
  }

  /// A disk of 64 KiB has no room for any of these files.
  @Test(
    .enabled(if: canMount),
    arguments: [
      ["convert", "pth"], ["convert", "npz"], ["convert", "safetensors"], ["convert", "condi"],
      ["condition", "pth"], ["unpack", "npz"], ["export", "gguf"], ["export", "onnx"],
      ["export", "bin", "--to", "safetensors"], ["export", "folder", "--to", "mlx"],
    ])
  func everyWriterReportsLackOfDiskSpace(_ command: [String]) throws {
    try withTemporaryFolder { folder in
      let isPacked = ["unpack", "export"].contains(command[0])
      let input = try isPacked ? CommandLine.packedExample() : CommandLine.checkpoint
      let script = """
        disk=$1; input=$2; command=$3; suffix=$4; shift 4
        mount -t tmpfs -o size=64k tmpfs "$disk" || exit
        "$0" "$command" "$input" "$disk/out.$suffix" "$@"; code=$?
        find "$disk" -mindepth 1; exit $code
        """
      let options = command[2...] + (command[0] == "export" ? ["--pad", "--dequantize"] : [])
      let disk = folder.appending("disk")
      try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: false)
      let outcome = try BuiltProgram(path: "/usr/bin/env").run(
        ["unshare", "-m", "sh", "-c", script, BuiltProgram().path, disk, input]
          + command.prefix(2) + options)
      #expect(outcome.exitCode == 2)
      #expect(
        outcome.standardError.contains("condi-convert: \(disk)")
          && outcome.standardError.hasSuffix(" bytes of free disk space, found 65536\n"),
        "\(outcome.standardError)")
      #expect(outcome.standardOutput.isEmpty)
    }
  }

  /// The input is a sparse file, too large for any disk to hold a copy.
  @Test func lackOfDiskSpaceIsReportedBeforeWork() throws {
    try withTemporaryFolder { folder in
      let input = folder.appending("huge.safetensors")
      let byteCount = 8 << 40
      let header = #"{"a":{"dtype":"U8","shape":[\#(byteCount)],"data_offsets":[0,\#(byteCount)]}}"#
      var text = Array(header.utf8)
      text += [UInt8](repeating: 0x20, count: -text.count & 7)
      let head = withUnsafeBytes(of: UInt64(text.count).littleEndian) { Data($0) } + Data(text)
      try head.write(to: URL(filePath: input))
      guard truncate(input, off_t(head.count + byteCount)) == 0 else { return }
      for journal in ["--journal", "--no-journal"] {
        let output = folder.appending("out.safetensors")
        let outcome = try CommandLine.run("convert", input, output, journal)
        #expect(outcome.exitCode == 2)
        #expect(
          outcome.standardError.contains("bytes of free disk space, found"),
          "\(outcome.standardError)")
        #expect(try folder.names() == ["huge.safetensors"])
      }
    }
  }
}

extension CommandLine {
  /// Runs a command that may fail.
  static func runAll(_ arguments: [String]) throws -> BuiltProgram.Outcome {
    try BuiltProgram().run(arguments)
  }

  /// Runs a command that must succeed.
  @discardableResult
  static func succeedAll(
    _ arguments: [String], sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> BuiltProgram.Outcome {
    let outcome = try BuiltProgram().run(arguments)
    #expect(outcome.exitCode == 0, "\(outcome.standardError)", sourceLocation: sourceLocation)
    return outcome
  }
}
