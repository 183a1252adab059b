import Foundation
import TestSupport
import Testing

/// `make install` and `make uninstall`, tested through the script that they call.
@Suite struct InstallTests {
  private static let script = PackageFolder.root.appending(path: "Scripts/install.sh").path

  private static func exists(_ program: String) -> Bool {
    FileManager.default.isExecutableFile(atPath: "/usr/bin/\(program)")
  }

  private static func install(_ arguments: String..., destination: String = "") throws
    -> BuiltProgram.Outcome
  {
    try BuiltProgram(path: script).run(arguments, environment: ["DESTDIR": destination])
  }

  private func files(below folder: String) throws -> [String] {
    try FileManager.default.subpathsOfDirectory(atPath: folder).sorted()
  }

  /// Returns the prefix of an installation that no test may change.
  private static func installation() throws -> String {
    try SharedMaterial.folder("installation") { folder in
      let outcome = try install("install", BuiltProgram().path, folder.appending("prefix"))
      try #require(outcome.exitCode == 0, "\(outcome.standardError)")
    }.appending("prefix")
  }

  /// Calls `body` with the prefix of an installation that it may change.
  private func withInstallation(_ body: (String) throws -> Void) throws {
    try withTemporaryFolder { folder in
      let prefix = folder.appending("prefix")
      try FileManager.default.copyItem(atPath: Self.installation(), toPath: prefix)
      try body(prefix)
    }
  }

  private var commands: [String] {
    get throws {
      let help = try CommandLine.succeed("--help").standardOutput
      return help.matches(of: /(?m)^  ([a-z][a-z-]*)(  +[A-Z].*)?$/).map { String($0.1) }
    }
  }

  @Test func uninstallingRemovesExactlyWhatWasInstalled() throws {
    try withTemporaryFolder { folder in
      let (destination, prefix) = (folder.appending("stage"), "/opt/some where")
      let root = destination + prefix
      for other in ["share/man/man1/other.1", "share/condi-convert/mine"] {
        let url = URL(filePath: "\(root)/\(other)")
        try FileManager.default.createDirectory(
          at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data("other".utf8).write(to: url)
      }
      let before = try files(below: root)
      for _ in 0..<2 {  // the second time over the first
        let outcome = try Self.install(
          "install", BuiltProgram().path, prefix, destination: destination)
        #expect(outcome.exitCode == 0, "\(outcome.standardError)")
      }
      let installed = try files(below: root)
      #expect(Set(installed).isSuperset(of: before))
      for file in [
        "bin/condi-convert", "share/bash-completion/completions/condi-convert",
        "share/zsh/site-functions/_condi-convert",
        "share/fish/vendor_completions.d/condi-convert.fish", "share/man/man1/condi-convert.1",
        "share/condi-convert/schemas/recipe.schema.json",
      ] {
        #expect(installed.contains(file))
      }
      let schemas = try FileManager.default.contentsOfDirectory(
        atPath: PackageFolder.root.appending(path: "schemas").path)
      #expect(installed.filter { $0.hasSuffix(".schema.json") }.count == schemas.count)
      let program = BuiltProgram(path: "\(root)/bin/condi-convert")
      #expect(try program.run(["--version"]).exitCode == 0)

      let removal = try Self.install("uninstall", prefix, destination: destination)
      #expect(removal.exitCode == 0, "\(removal.standardError)")
      #expect(try files(below: root) == before)
      let again = try Self.install("uninstall", prefix, destination: destination)
      #expect(again.exitCode == 2)
      #expect(again.standardError.contains("nothing is installed below \(root)"))
    }
  }

  @Test func uninstallRemovesPrefixThatInstallCreated() throws {
    try withInstallation { prefix in
      // The prefix still counts as created by the installation after a second one.
      #expect(try Self.install("install", BuiltProgram().path, prefix).exitCode == 0)
      let outcome = try Self.install("uninstall", prefix)
      #expect(outcome.exitCode == 0, "\(outcome.standardError)")
      #expect(!FileManager.default.fileExists(atPath: prefix))
    }
  }

  @Test func installedListOutsidePrefixIsRefused() throws {
    try withInstallation { prefix in
      let list = URL(filePath: "\(prefix)/share/condi-convert/installed")
      let victim = URL(filePath: prefix).deletingLastPathComponent().appending(path: "victim")
      try Data("mine".utf8).write(to: victim)
      try Data("bin/condi-convert\n../victim\n".utf8).write(to: list)
      let outcome = try Self.install("uninstall", prefix)
      #expect(outcome.exitCode == 2)
      #expect(outcome.standardError.contains("names '../victim', which is not below the prefix"))
      #expect(FileManager.default.fileExists(atPath: victim.path))
      #expect(FileManager.default.fileExists(atPath: "\(prefix)/bin/condi-convert"))
    }
  }

  @Test(arguments: [
    ("condi-convert ins", ["inspect"]), ("condi-convert inspect --conv", ["--conv-operator"]),
    ("condi-convert inspect --format j", ["json"]),
    ("condi-convert inspect /etc/hostnam", ["/etc/hostname"]),
  ])
  func bashCompletionOffersExpectedWords(_ line: String, _ expected: [String]) throws {
    let prefix = try Self.installation()
    let outcome = try BuiltProgram(path: "/bin/bash").run([
      "-c",
      #"source "$1"; read -ra COMP_WORDS <<<"$2"; COMP_LINE=$2 COMP_POINT=${#2}; "#
        + #"COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); "#
        + #"$(complete -p condi-convert | sed 's/.*-F \([^ ]*\).*/\1/') condi-convert "#
        + #""${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; "#
        + #"printf '%s\n' "${COMPREPLY[@]}""#,
      "bash", "\(prefix)/share/bash-completion/completions/condi-convert", line,
    ])
    #expect(
      outcome.standardOutput.split(separator: "\n").map { $0.trimmingPrefix(" ") }
        .map { $0.trimmingCharacters(in: .whitespaces) } == expected,
      "\(outcome.standardError)")
  }

  @Test(
    arguments: [
      ("zsh", "share/zsh/site-functions/_condi-convert"),
      ("fish", "share/fish/vendor_completions.d/condi-convert.fish"),
    ].filter { exists($0.0) })
  func zshAndFishParseTheirCompletions(_ shell: String, _ file: String) throws {
    let prefix = try Self.installation()
    let outcome = try BuiltProgram(path: "/usr/bin/\(shell)").run(["-n", "\(prefix)/\(file)"])
    #expect(outcome.exitCode == 0, "\(outcome.standardError)")
    #expect(outcome.standardError.isEmpty)
  }

  @Test func everyCommandHasManualPage() throws {
    let commands = try commands
    try #require(commands.contains("convert") && commands.contains("git-diff"))
    let prefix = try Self.installation()
    let pages = try FileManager.default.contentsOfDirectory(atPath: "\(prefix)/share/man/man1")
    #expect(
      Set(pages)
        == Set(["condi-convert.1"] + commands.map { "condi-convert-\($0).1" }))
    for command in commands {
      let page = try String(
        contentsOfFile: "\(prefix)/share/man/man1/condi-convert-\(command).1", encoding: .utf8)
      // Examples are printed verbatim.
      #expect(page.contains("\n.SH EXAMPLES\n.nf\n"), "\(command)")
      #expect(page.contains("\n.SH OPTIONS\n"), "\(command)")
    }
  }

  @Test(
    arguments: [["man", "--warnings", "-l"], ["mandoc", "-T", "lint", "-W", "warning"]]
      .filter { exists($0[0]) })
  func manualPagesRaiseNoWarnings(_ command: [String]) throws {
    let prefix = try Self.installation()
    for page in try FileManager.default.contentsOfDirectory(atPath: "\(prefix)/share/man/man1") {
      let outcome = try BuiltProgram(path: "/usr/bin/\(command[0])").run(
        Array(command.dropFirst()) + ["\(prefix)/share/man/man1/\(page)"],
        environment: ["LC_ALL": "C.UTF-8", "MANWIDTH": "100"])
      #expect(outcome.exitCode == 0, "\(page)")
      #expect(outcome.standardError.isEmpty, "\(outcome.standardError)")
      if command[0] == "mandoc" { #expect(outcome.standardOutput.isEmpty, "\(page)") }
    }
  }
}
