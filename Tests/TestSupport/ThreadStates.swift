import Foundation

/// The states of a process's threads, as Linux shows them in `/proc`.
public enum ThreadStates {
  /// A thread that sleeps until another one or a signal wakes it.
  private struct Sleep: Equatable {
    let thread: Int32
    /// The number of times that the thread has left a processor so far.
    let switchCount: Int
  }

  /// Waits until all observed threads of `process` sleep at the same time.
  ///
  /// Threads that wait for one another, or for a thread that is held up, sleep for good.
  ///
  /// - Parameter isObserved: Selects the threads to wait for; the others may do anything.
  /// - Throws: `NotAsleep` after a minute.
  public static func waitUntilAsleep(
    in process: Int32, where isObserved: (_ thread: Int32) -> Bool
  ) throws {
    let deadline = Date.now.addingTimeInterval(60)
    var earlier: [Sleep]?
    while Date.now < deadline {
      let sleeps = try sleeps(in: process, where: isObserved)
      // A thread that ran in between has left the processor once more.
      if let sleeps, sleeps == earlier { return }
      earlier = sleeps
      usleep(2000)
    }
    throw NotAsleep(process: process)
  }

  /// Returns the ID of the calling thread.
  public static func currentThread() throws -> Int32 {
    let path = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/thread-self")
    guard let number = path.split(separator: "/").last.flatMap({ Int32($0) }) else {
      throw MissingFile(path: "/proc/thread-self")
    }
    return number
  }

  /// Returns the observed threads' sleeps, or `nil` if one of the threads does not sleep.
  private static func sleeps(
    in process: Int32, where isObserved: (Int32) -> Bool
  ) throws -> [Sleep]? {
    let folder = "/proc/\(process)/task"
    var sleeps: [Sleep] = []
    for name in try FileManager.default.contentsOfDirectory(atPath: folder).sorted() {
      guard let thread = Int32(name), isObserved(thread) else { continue }
      // A thread that has ended meanwhile has no status.
      guard let status = try? String(contentsOfFile: "\(folder)/\(name)/status", encoding: .utf8)
      else { return nil }
      var fields: [Substring: String] = [:]
      for line in status.split(separator: "\n") {
        let parts = line.split(separator: ":", maxSplits: 1)
        if parts.count == 2 { fields[parts[0]] = parts[1].trimmingCharacters(in: .whitespaces) }
      }
      guard fields["State"]?.hasPrefix("S") == true,
        let voluntary = fields["voluntary_ctxt_switches"].flatMap({ Int($0) }),
        let others = fields["nonvoluntary_ctxt_switches"].flatMap({ Int($0) })
      else { return nil }
      sleeps.append(Sleep(thread: thread, switchCount: voluntary + others))
    }
    return sleeps
  }

  struct NotAsleep: Error, CustomStringConvertible {
    let process: Int32
    var description: String { "threads of process \(process) did not come to rest" }
  }
}
