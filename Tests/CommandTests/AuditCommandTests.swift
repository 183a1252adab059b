import TestSupport
import Testing

@Suite struct AuditCommandTests {
  @Test(arguments: [
    ("torch/checkpoint.pth", 0, "clean"), ("torch/calls_system.pth", 1, "posix.system"),
    ("torch/truncated.pth", 2, "UNREADABLE"), ("torch/module.pth", 1, "__main__.Stage"),
  ])
  func exitCodeReflectsAuditVerdict(name: String, code: Int32, text: String) throws {
    let outcome = try BuiltProgram().run(["audit", PackageFolder.fixture(name)])
    #expect(outcome.exitCode == code)
    #expect(outcome.standardOutput.contains(text))
    #expect(outcome.standardError.isEmpty)
  }

  /// A call's arguments tell the user more than its encoding does.
  @Test func argumentsOfDangerousCallsAreShown() throws {
    let fixture = try PackageFolder.fixture("torch/calls_system.pth")
    let text = try BuiltProgram().run(["audit", fixture]).standardOutput
    #expect(text.contains("('true')"))
  }

  @Test func missingFilesAreErrors() throws {
    let outcome = try BuiltProgram().run(["audit", "/nowhere/x.pkl"])
    #expect(outcome.exitCode == 2)
    #expect(
      outcome.standardError
        == "condi-convert: /nowhere/x.pkl: cannot open: No such file or directory\n")
  }

  @Test func readerNotesGoToStandardErrorUnlessQuiet() throws {
    let fixture = try PackageFolder.fixture("torch/namespace.pth")
    let note = "treated 1 object of class 'argparse.Namespace' as plain data"
    try withTemporaryFolder { folder in
      let output = folder.appending("x.pth")
      let loud = try BuiltProgram().run(["convert", fixture, output])
      #expect(loud.exitCode == 0)
      #expect(loud.standardError.contains(note))
      let quiet = try BuiltProgram().run(["convert", fixture, output, "--force", "--quiet"])
      #expect(quiet.exitCode == 0)
      #expect(!quiet.standardError.contains(note))
    }
  }
}
