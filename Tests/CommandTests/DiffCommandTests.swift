import Formats
import Foundation
import Storage
import TestSupport
import Testing

/// `diff` and `git-diff` as a user and as git run them.
@Suite struct DiffCommandTests {
  /// The outputs of networks stand beside the differences of their tensors.
  @Test func outputsAreCompared() throws {
    try EvaluateCommandTests.withDataSet { _, set in
      let packed = try CommandLine.packedExample()
      let outcome = try CommandLine.run(
        "diff", CommandLine.checkpoint, packed, "--dataset", set, "--format", "json")
      #expect(outcome.exitCode == 1, "\(outcome.standardError)")
      let outputs = try #require(try CommandLine.json(outcome)["outputs"] as? [String: Any])
      let mean = try #require(outputs["meanPSNR"] as? Double)
      #expect(mean > 20 && mean < 60, "\(mean)")
      // What 'evaluate' says of both is the same.
      let evaluated = try CommandLine.succeed(
        "evaluate", CommandLine.checkpoint, packed, "--dataset", set, "--format", "json")
      let methods = try #require(
        try CommandLine.json(evaluated)["methods"] as? [[String: Any]])
      let gain = try #require(methods[2]["gainPSNR"] as? Double)
      let own = try #require(outputs["gainPSNR"] as? Double)
      #expect(abs(gain - own) < 1e-9)
      let comment = try CommandLine.run(
        "diff", CommandLine.checkpoint, packed, "--dataset", set, "--format", "markdown")
      #expect(comment.standardOutput.contains("- outputs of B against A, mean dB: "))
      #expect(comment.standardOutput.contains("<details><summary>"))
      #expect(comment.standardOutput.contains("## Outputs"))
      let same = try CommandLine.succeed(
        "diff", CommandLine.checkpoint, CommandLine.checkpoint, "--dataset", set)
      #expect(same.standardOutput.contains("images with the same output"))
    }
    let other = try CommandLine.run(
      "diff", PackageFolder.fixture("npz/odd_entries.npz"), CommandLine.checkpoint, "--dataset", "x"
    )
    #expect(other.exitCode == 2)
  }

  private func write(_ tensors: KeyValuePairs<String, [Float]>, to path: String) throws {
    var archive = TensorArchive()
    for (name, values) in tensors {
      archive.tensors[name] = try Tensor(
        elementType: .float32, shape: try #require(Shape([values.count])),
        bytes: SharedBytes(elementsOf: values))
    }
    let format = try #require(FormatRegistry.standard.format(forOutput: path))
    try FormatRegistry.standard.write(archive, as: format, to: path, replacesExisting: true)
  }

  @Test func optionsSelectWhatCountsAsDifference() throws {
    try withTemporaryFolder { folder in
      let (a, b) = (folder.appending("a.safetensors"), folder.appending("b.npz"))
      try write(["module.norm": [1, 2], "module.fc": [1, .nan], "steps": [7]], to: a)
      try write(["norm": [1, 2.25], "fc": [1, .nan], "steps": [8]], to: b)
      let same = [
        "diff", a, b, "--strip-prefix", "module.", "--ignore", "steps", "--tolerance", "norm=0.25",
      ]
      let cases: [(extra: [String], exitCode: Int32)] = [
        ([], 0), (["--strict-nan"], 1), (["--tolerance", "0.1"], 0),
        (["--ignore", "gone"], 2), (["--tolerance", "gone=1"], 2), (["--map", "gone=x"], 2),
      ]
      for (extra, exitCode) in cases {
        let outcome = try BuiltProgram().run(same + extra)
        #expect(outcome.exitCode == exitCode, "\(extra): \(outcome.standardError)")
        if exitCode == 2 { #expect(outcome.standardOutput.isEmpty) }
      }
      let mapped = try CommandLine.run(
        "diff", a, b, "--map", "^module[.]=", "--ignore", "{steps,norm}")
      #expect(mapped.exitCode == 0, "\(mapped.standardError)")
      #expect(mapped.standardOutput.contains("the same: 1 tensor"))
    }
  }

  @Test func anyTypeOptionIgnoresElementType() throws {
    try withTemporaryFolder { folder in
      let (a, b) = (folder.appending("a.safetensors"), folder.appending("b.safetensors"))
      try write(["w": [1, -0.5, 4]], to: a)
      let half = try Tensor(
        elementType: .float16, shape: try #require(Shape([3])),
        bytes: SharedBytes(elementsOf: [1, -0.5, 4] as [Float16]))
      let format = try #require(FormatRegistry.standard.format(forOutput: b))
      try FormatRegistry.standard.write(
        TensorArchive(tensors: ["w": half]), as: format, to: b, replacesExisting: true)
      #expect(try CommandLine.run("diff", a, b).exitCode == 1)
      #expect(try CommandLine.run("diff", a, b, "--any-type").exitCode == 0)
    }
  }

  @Test(arguments: [
    ["--tolerance", "x"], ["--tolerance", "=1"], ["--tolerance", "1", "--tolerance", "2"],
    ["--map", "x"], ["--map", "=x"], ["--strip-prefix", ""],
  ])
  func wrongUsageExitsWith64(_ options: [String]) throws {
    #expect(try BuiltProgram().run(["diff", "a", "b"] + options).exitCode == 64)
  }

  @Test func reportsContainMeasuresAndImages() throws {
    try CommandLine.withPackedExample { _, packed in
      let html = try CommandLine.run(
        "diff", CommandLine.checkpoint, packed, "--layers", "*.0.attn.qkv.weight", "--format",
        "html")
      #expect(html.exitCode == 1)
      #expect(html.standardOutput.contains("<svg") && html.standardOutput.contains("|b − a|"))
      let json = try CommandLine.json(
        CommandLine.run(
          "diff", CommandLine.checkpoint, packed, "--layers", "*.0.attn.qkv.weight", "--condition",
          "--format", "json"))
      let changed = try #require((json["changed"] as? [[String: Any]])?.first)
      let numbers = try #require(changed["numbers"] as? [String: Any])
      let noise = try #require(numbers["normalizedMeanSquare"] as? Double)
      let decibels = try #require(numbers["signalToNoise"] as? Double)
      #expect(abs(-10 * log10(noise) - decibels) < 1e-9)
      let conditions = try #require(changed["conditionNumbers"] as? [String: Double])
      #expect((conditions["a"] ?? 0) > 1 && (conditions["b"] ?? 0) > 1)
    }
  }

  // MARK: git

  private struct Repository {
    let folder: TemporaryFolder

    func git(_ arguments: String..., environment: [String: String] = [:]) throws
      -> BuiltProgram.Outcome
    {
      let settings = [
        "-c", "user.name=tests", "-c", "user.email=tests@localhost", "-c", "core.pager=cat",
      ]
      return try BuiltProgram(path: "/usr/bin/env").run(
        ["git"] + settings + arguments,
        environment: ["GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"]
          .merging(environment) { $1 }, in: folder.path)
    }
  }

  private static let hasGit =
    (try? BuiltProgram(path: "/usr/bin/env").run(["git", "--version"]).exitCode) == 0

  /// Calls `body` with a repository in which `m.safetensors` and a text file have changed since the
  /// last commit.
  private func withRepository(_ body: (Repository) throws -> Void) throws {
    try withTemporaryFolder { folder in
      let repository = Repository(folder: folder)
      #expect(try repository.git("init", "-q").exitCode == 0)
      try write(["w": [1, 2], "b": [3]], to: folder.appending("m.safetensors"))
      try "one\n".write(toFile: folder.appending("note.txt"), atomically: true, encoding: .utf8)
      #expect(try repository.git("add", ".").exitCode == 0)
      #expect(try repository.git("commit", "-q", "-m", "first").exitCode == 0)
      try write(["w": [1, 2.5], "b": [3]], to: folder.appending("m.safetensors"))
      try "two\n".write(toFile: folder.appending("note.txt"), atomically: true, encoding: .utf8)
      try body(repository)
    }
  }

  @Test(.enabled(if: hasGit, "needs git")) func externalDiffReportsChangedModels() throws {
    try withRepository { repository in
      let tool = "'\(try BuiltProgram().path)' git-diff"
      let outcome = try repository.git("diff", environment: ["GIT_EXTERNAL_DIFF": tool])
      #expect(outcome.exitCode == 0, "\(outcome.standardError)")
      #expect(outcome.standardOutput.contains("different: 1 of 2 tensors changed"))
      #expect(outcome.standardOutput.contains("b/m.safetensors (safetensors)"))
      #expect(
        outcome.standardOutput.contains("note.txt: not a model file of a known format"))
      // Added and removed files are compared with nothing; git passes two more arguments for a
      // renamed one.
      try write(["n": [1]], to: repository.folder.appending("new.safetensors"))
      #expect(try repository.git("add", ".").exitCode == 0)
      #expect(try repository.git("mv", "note.txt", "moved.txt").exitCode == 0)
      try FileManager.default.moveItem(
        atPath: repository.folder.appending("m.safetensors"),
        toPath: repository.folder.appending("moved.safetensors"))
      #expect(try repository.git("add", "-A").exitCode == 0)
      let added = try repository.git(
        "diff", "--cached", "-M20%", environment: ["GIT_EXTERNAL_DIFF": tool])
      #expect(added.exitCode == 0, "\(added.standardError)")
      #expect(added.standardOutput.contains("1 only in B"))
      #expect(added.standardOutput.contains("b/moved.safetensors"))
    }
  }

  @Test(.enabled(if: hasGit, "needs git")) func textconvPrintsOneLinePerTensor() throws {
    try withRepository { repository in
      try "*.safetensors diff=model\n".write(
        toFile: repository.folder.appending(".gitattributes"), atomically: true, encoding: .utf8)
      let filter = "diff.model.textconv='\(try BuiltProgram().path)' git-diff --textconv"
      let outcome = try repository.git("-c", filter, "diff", "m.safetensors")
      #expect(outcome.exitCode == 0, "\(outcome.standardError)")
      #expect(outcome.standardOutput.contains("\n-tensor w float32 [2] sha256:"))
      #expect(outcome.standardOutput.contains("\n+tensor w float32 [2] sha256:"))
      #expect(outcome.standardOutput.contains("\n tensor b float32 [1] sha256:"))
    }
  }

  @Test(.enabled(if: hasGit, "needs git")) func difftoolRunsDiff() throws {
    try withRepository { repository in
      let outcome = try repository.git(
        "difftool", "-y", "-x", "'\(try BuiltProgram().path)' diff --format markdown",
        "m.safetensors")
      #expect(outcome.standardOutput.contains("1 of 2 tensors changed"), "\(outcome)")
    }
  }
}
