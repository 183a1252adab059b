import Foundation
import TestSupport
import Testing

/// Input and output paths that are not regular files: one line, exit code 2, no waiting.
@Suite struct PathTests {
  private func expectOneLine(
    _ arguments: [String], endingIn end: String, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let outcome = try BuiltProgram(path: "/usr/bin/env").run(
      ["timeout", "60", try BuiltProgram().path] + arguments)
    #expect(outcome.exitCode == 2, "\(outcome.standardError)", sourceLocation: sourceLocation)
    #expect(
      outcome.standardError.hasSuffix("\(end)\n"), "\(outcome.standardError)",
      sourceLocation: sourceLocation)
    #expect(
      outcome.standardError.split(separator: "\n").count == 1, sourceLocation: sourceLocation)
    #expect(outcome.standardOutput.isEmpty, sourceLocation: sourceLocation)
  }

  @Test(arguments: [[], ["--no-mmap"]])
  func nonRegularInputsAreRefused(_ options: [String]) throws {
    try withTemporaryFolder { folder in
      let pipe = folder.appending("pipe")
      #expect(mkfifo(pipe, 0o600) == 0)
      let cases = [
        // A folder may hold a model, except for a command that requires a packed file.
        (folder.path, "neither a model file nor an index of one (*.index.json); name a file"),
        ("/dev/zero", "not a regular file but a device"),
        (pipe, "not a regular file but a pipe"),
        ("", "cannot open: No such file or directory"),
        (folder.appending("x/y"), "cannot open: No such file or directory"),
      ]
      for (path, end) in cases {
        for command in [["inspect", path], ["inspect", path, "--tree"]] {
          try expectOneLine(command + options, endingIn: end)
        }
        try expectOneLine(
          ["verify", path] + options,
          endingIn: path == folder.path ? "not a regular file but a directory" : end)
        let output = folder.appending("out.npz")
        try expectOneLine(["convert", path, output] + options, endingIn: end)
        try expectOneLine(["diff", path, CommandLine.checkpoint] + options, endingIn: end)
      }
      #expect(try folder.names() == ["pipe"])
    }
  }

  @Test func nonRegularOutputsAreRefused() throws {
    try withTemporaryFolder { folder in
      let pipe = folder.appending("pipe.npz")
      #expect(mkfifo(pipe, 0o600) == 0)
      let loop = folder.appending("loop.npz")
      #expect(symlink("loop.npz", loop) == 0)
      let dangling = folder.appending("dangling.npz")
      #expect(symlink("nothing", dangling) == 0)
      let toFolder = folder.appending("folder.npz")
      #expect(symlink(".", toFolder) == 0)
      let before = try folder.names()
      let cases = [
        (folder.path, "not a regular file but a directory"),
        (folder.path + "/", "cannot write: Is a directory"),
        ("/dev/null", "not a regular file but a device"),
        ("/dev/full", "not a regular file but a device"),
        (pipe, "not a regular file but a pipe"),
        (toFolder, "not a regular file but a directory"),
        (dangling, "it is a broken symbolic link"),
        (loop, "cannot follow the link: Too many levels of symbolic links"),
        (
          folder.appending("missing/out.npz"),
          "there is no folder '\(folder.appending("missing"))'; make it first"
        ),
        (pipe + "/out.npz", "cannot create the file: Not a directory"),
      ]
      for (path, end) in cases {
        for force in [[], ["--force"]] {
          try expectOneLine(
            ["convert", CommandLine.checkpoint, path, "--to", "npz"] + force, endingIn: end)
        }
      }
      #expect(try folder.names() == before)
    }
  }

  @Test func symlinkedOutputIsReplacedAtItsTarget() throws {
    try withTemporaryFolder { folder in
      let elsewhere = folder.appending("elsewhere")
      try FileManager.default.createDirectory(atPath: elsewhere, withIntermediateDirectories: false)
      let target = elsewhere + "/real.npz"
      try Data("old".utf8).write(to: URL(filePath: target))
      #expect(chmod(target, 0o640) == 0)
      let link = folder.appending("out.npz")
      #expect(symlink("elsewhere/real.npz", link) == 0)
      try expectOneLine(
        ["convert", CommandLine.checkpoint, link],
        endingIn: "already exists; use --force to replace it")
      try CommandLine.succeed("convert", CommandLine.checkpoint, link, "--force", "--quiet")
      #expect(
        try FileManager.default.destinationOfSymbolicLink(atPath: link) == "elsewhere/real.npz")
      var status = stat()
      #expect(stat(target, &status) == 0 && status.st_size > 1000)
      #expect(status.st_mode & 0o777 == 0o640)
      #expect(try FileManager.default.contentsOfDirectory(atPath: elsewhere) == ["real.npz"])
    }
  }

  /// A name of the greatest length that file systems allow leaves no room for a suffix.
  @Test func outputNamesOfMaximumLengthAreWritten() throws {
    try withTemporaryFolder { folder in
      for name in [String(repeating: "x", count: 251), String(repeating: "名", count: 83)] {
        let path = folder.appending("\(name).npz")
        try CommandLine.succeed("convert", CommandLine.checkpoint, path, "--quiet")
        #expect(FileManager.default.fileExists(atPath: path))
      }
      #expect(try folder.names().count == 2)
    }
  }

  /// Runs as an unprivileged user, because root is denied nothing.
  @Test func permissionErrorsAreReportedInOneLine() throws {
    try withTemporaryFolder { folder in
      #expect(chmod(folder.path, 0o555) == 0)
      let input = folder.appending("secret.npz")
      try CommandLine.succeed("convert", CommandLine.checkpoint, input, "--quiet")
      #expect(chmod(input, 0) == 0)
      let isRoot = geteuid() == 0
      func run(_ arguments: [String]) throws -> BuiltProgram.Outcome {
        let program = try BuiltProgram().path
        guard isRoot else { return try BuiltProgram().run(arguments) }
        return try BuiltProgram(path: "/usr/bin/env").run(
          ["setpriv", "--reuid=65534", "--clear-groups", program] + arguments)
      }
      // The build folder may be inaccessible to that user, and then there is nothing to run.
      guard isRoot, try run(["--version"]).exitCode == 0 else { return }
      let unreadable = try run(["inspect", input])
      #expect(unreadable.exitCode == 2)
      #expect(
        unreadable.standardError == "condi-convert: \(input): cannot open: Permission denied\n")
      let output = folder.appending("out.npz")
      let unwritable = try run(["convert", CommandLine.checkpoint, output])
      #expect(unwritable.exitCode == 2)
      #expect(
        unwritable.standardError
          == "condi-convert: \(output): cannot create the file: Permission denied\n")
    }
  }

  @Test func outputBeyondFileSizeLimitIsAnError() throws {
    try withTemporaryFolder { folder in
      for name in ["out.pth", "out.npz", "out.safetensors", "out.condi"] {
        let outcome = try BuiltProgram(path: "/bin/sh").run([
          "-c", "ulimit -f 64; exec \"$0\" \"$@\"", try BuiltProgram().path, "convert",
          CommandLine.checkpoint, folder.appending(name), "--quiet",
        ])
        #expect(outcome.exitCode == 2, "\(outcome.standardError)")
        #expect(outcome.standardError.hasSuffix(": File too large\n"), "\(outcome.standardError)")
      }
      #expect(try folder.names() == [])
    }
  }

  @Test func fullStandardOutputIsAnError() throws {
    let outcome = try BuiltProgram(path: "/bin/sh").run([
      "-c", "exec \"$0\" \"$@\" > /dev/full", try BuiltProgram().path, "inspect",
      CommandLine.checkpoint, "--tree",
    ])
    #expect(outcome.exitCode == 2)
    #expect(
      outcome.standardError
        == "condi-convert: standard output: cannot write: No space left on device\n")
  }
}
