import Foundation
import TestSupport

/// The built command with an injected system-call fault; see `Tests/Fixtures/faults/faults.c`.
struct FaultyProgram {
  /// The fault at the call.
  enum Fault: String {
    case noSpace = "ENOSPC"
    case readError = "EIO"
    case notSupported = "EOPNOTSUPP"
    /// The process is killed before the call.
    case kill = "KILL"
    /// The process is killed after half of a write.
    case half = "HALF"
    case pause = "PAUSE"
  }

  /// Every call that changes the disk.
  static let writing = ["fallocate", "pwrite", "fsync", "rename", "link", "unlink"]

  /// Every call with which a journaled conversion changes the disk: it also appends to the journal
  /// and truncates consumed files.
  static let journaling = writing + ["write", "ftruncate", "truncate"]

  private let library: String
  private let program: BuiltProgram

  init() throws {
    program = try BuiltProgram()
    library = try SharedMaterial.folder("faults") { folder in
      let compiled = try BuiltProgram(path: "/usr/bin/env").run([
        "clang", "-shared", "-fPIC", "-O1", "-o", folder.appending("faults.so"),
        try PackageFolder.fixture("faults/faults.c"),
      ])
      guard compiled.exitCode == 0 else { throw Complaint(text: compiled.standardError) }
    }.appending("faults.so")
  }

  struct Complaint: Error {
    let text: String
  }

  private func environment(_ fault: Fault, at index: Int, of calls: [String]) -> [String: String] {
    [
      "LD_PRELOAD": library, "FAULT": fault.rawValue, "FAULT_AT": "\(index)",
      "FAULT_CALLS": calls.joined(separator: ","),
    ]
  }

  /// Runs to the end, with `fault` at call number `index` of those in `calls`, counted from one.
  func run(
    _ arguments: [String], _ fault: Fault, at index: Int, of calls: [String] = writing
  ) throws -> BuiltProgram.Outcome {
    try program.run(arguments, environment: environment(fault, at: index, of: calls))
  }

  /// Runs without a fault and returns how many of `calls` were made.
  func count(of calls: [String], by arguments: [String]) throws -> Int {
    try withTemporaryFolder { folder in
      let path = folder.appending("count")
      let outcome = try program.run(
        arguments,
        environment: [
          "LD_PRELOAD": library, "FAULT_CALLS": calls.joined(separator: ","), "FAULT_COUNT": path,
        ])
      guard outcome.exitCode == 0 else { throw Complaint(text: outcome.standardError) }
      let text = try String(contentsOfFile: path, encoding: .utf8)
      guard let count = Int(text) else { throw Complaint(text: "no number of calls: '\(text)'") }
      return count
    }
  }

  /// Runs until the call, calls `meanwhile` with the process, then lets the process finish.
  ///
  /// - Parameter meanwhile: Also receives the ID of the thread that waits at the call.
  func run(
    _ arguments: [String], pausedAt index: Int, of calls: [String],
    meanwhile: (Process, _ pausedThread: Int32) throws -> Void
  ) throws -> (exitCode: Int32, standardError: String) {
    try withTemporaryFolder { folder in
      let (paused, resume) = (folder.appending("paused"), folder.appending("resume"))
      let errors = folder.appending("stderr")
      _ = FileManager.default.createFile(atPath: errors, contents: nil)
      let process = Process()
      // A test in the background of a shell is told to ignore interrupts and would pass that on.
      process.executableURL = URL(filePath: "/usr/bin/env")
      process.arguments = ["--default-signal", program.path] + arguments
      process.environment = ProcessInfo.processInfo.environment.merging(
        environment(.pause, at: index, of: calls)
      ) { $1 }.merging(["FAULT_PAUSED": paused, "FAULT_RESUME": resume]) { $1 }
      process.standardInput = FileHandle.nullDevice
      process.standardOutput = FileHandle.nullDevice
      process.standardError = try FileHandle(forWritingTo: URL(filePath: errors))
      try process.run()
      let thread = try pausedThread(of: process, writtenTo: paused)
      try meanwhile(process, thread)
      _ = FileManager.default.createFile(atPath: resume, contents: nil)
      process.waitUntilExit()
      let text = try String(contentsOfFile: errors, encoding: .utf8)
      let status = process.terminationStatus
      return (process.terminationReason == .exit ? status : -status, text)
    }
  }

  func run(
    _ arguments: [String], pausedAt index: Int, of calls: [String],
    meanwhile: (Process) throws -> Void
  ) throws -> (exitCode: Int32, standardError: String) {
    try run(arguments, pausedAt: index, of: calls) { process, _ in try meanwhile(process) }
  }

  /// Waits until the process reaches the call, and returns the ID of the paused thread.
  private func pausedThread(of process: Process, writtenTo path: String) throws -> Int32 {
    let deadline = Date.now.addingTimeInterval(60)
    while process.isRunning {
      if let text = try? String(contentsOfFile: path, encoding: .utf8), text.hasSuffix("\n") {
        return try Int32(text.dropLast()) ?? { throw Complaint(text: "no thread: '\(text)'") }()
      }
      guard Date.now < deadline else {
        process.terminate()
        throw Complaint(text: "the call was not reached")
      }
      usleep(2000)
    }
    throw Complaint(text: "the program ended before the call")
  }
}
