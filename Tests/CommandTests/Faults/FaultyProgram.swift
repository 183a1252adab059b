import Foundation
import TestSupport

/// The built command with a system call that goes wrong; see `Tests/Fixtures/faults/faults.c`.
struct FaultyProgram {
  /// What happens at the call.
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

  /// Every call that changes what is on the disk.
  static let writing = ["fallocate", "pwrite", "fsync", "rename", "link", "unlink"]

  private let library: String
  private let program: BuiltProgram

  /// - Parameter folder: where the library is compiled to.
  init(in folder: TemporaryFolder) throws {
    library = folder.appending("faults.so")
    program = try BuiltProgram()
    let compiled = try BuiltProgram(path: "/usr/bin/env").run([
      "clang", "-shared", "-fPIC", "-O1", "-o", library,
      try PackageFolder.fixture("faults/faults.c"),
    ])
    guard compiled.exitCode == 0 else { throw Complaint(text: compiled.standardError) }
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

  /// Runs to the end, with `fault` at the call `index`, counted from one, of those in `calls`.
  func run(
    _ arguments: [String], _ fault: Fault, at index: Int, of calls: [String] = writing
  ) throws -> BuiltProgram.Outcome {
    try program.run(arguments, environment: environment(fault, at: index, of: calls))
  }

  /// Runs until the call, calls `meanwhile` with the process, then lets it go on to its end.
  func run(
    _ arguments: [String], pausedAt index: Int, of calls: [String], in folder: TemporaryFolder,
    meanwhile: (Process) throws -> Void
  ) throws -> (exitCode: Int32, standardError: String) {
    let (paused, resume) = (folder.appending("paused"), folder.appending("resume"))
    let errors = folder.appending("stderr")
    for path in [paused, resume] { try? FileManager.default.removeItem(atPath: path) }
    _ = FileManager.default.createFile(atPath: errors, contents: nil)
    let process = Process()
    // A test that runs in the background of a shell is told to ignore interruptions, and would
    // hand that on.
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = ["--default-signal", program.path] + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(
      environment(.pause, at: index, of: calls)
    ) { $1 }.merging(["FAULT_PAUSED": paused, "FAULT_RESUME": resume]) { $1 }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = try FileHandle(forWritingTo: URL(filePath: errors))
    try process.run()
    let deadline = Date.now.addingTimeInterval(60)
    while !FileManager.default.fileExists(atPath: paused), process.isRunning {
      guard Date.now < deadline else {
        process.terminate()
        throw Complaint(text: "the call was not reached")
      }
      usleep(2000)
    }
    guard process.isRunning else { throw Complaint(text: "the program ended before the call") }
    try meanwhile(process)
    _ = FileManager.default.createFile(atPath: resume, contents: nil)
    process.waitUntilExit()
    let text = try String(contentsOfFile: errors, encoding: .utf8)
    let status = process.terminationStatus
    return (process.terminationReason == .exit ? status : -status, text)
  }
}
