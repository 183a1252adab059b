import FoundationEssentials
import Glibc

/// The memory that this process may still take before something refuses it or ends the process.
package struct AvailableMemory: Hashable, Sendable {
  /// What allows the least.
  package enum Bound: String, Codable, Hashable, Sendable {
    /// The memory of the whole system, `MemAvailable`.
    case system
    /// The limit of a control group, as containers and job schedulers set it.
    case controlGroup
    /// The limit of the process's address space, as `ulimit -v` sets it.
    case process
  }

  package let byteCount: Int
  package let bound: Bound

  package init(byteCount: Int, bound: Bound) {
    self.byteCount = byteCount
    self.bound = bound
  }

  /// Reads what is available now; `nil` where the system does not say.
  ///
  /// Pages of files that a control group could drop at once do not count as used.
  ///
  /// - Parameter root: The folder in which `proc` and `sys` lie.
  package static func current(below root: String = "/") -> AvailableMemory? {
    let files = SystemFiles(root: root)
    let candidates: [(Int?, Bound)] = [
      (files.systemByteCount, .system),
      (files.controlGroupByteCount, .controlGroup),
      (files.processByteCount, .process),
    ]
    return candidates.compactMap { byteCount, bound in
      byteCount.map { AvailableMemory(byteCount: max(0, $0), bound: bound) }
    }.min { $0.byteCount < $1.byteCount }
  }
}

extension AvailableMemory.Bound {
  /// The bound in a sentence, as in "of the 3.1 GiB that the system has left".
  package var clause: String {
    switch self {
    case .system: "that the system has left"
    case .controlGroup: "that the control group has left"
    case .process: "that the limit of the process leaves"
    }
  }
}

/// The files in which Linux says how much memory there is.
private struct SystemFiles {
  let root: String

  private func text(_ path: String) -> String? {
    guard let bytes = FileManager.default.contents(atPath: root.appendingPathComponent(path)) else {
      return nil
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private func number(_ path: String) -> Int? {
    // Without a limit, version 2 says `max`, and version 1 a number close to 2⁶³.
    text(path).flatMap { Int($0.filter { !$0.isWhitespace }) }
  }

  /// Returns the number after `key` in lines such as `MemAvailable:  16384 kB`.
  private func value(_ key: String, in path: String) -> Int? {
    for line in text(path)?.split(separator: "\n") ?? [] {
      let words = line.split(whereSeparator: \.isWhitespace)
      if words.count >= 2, words[0] == key { return Int(words[1]) }
    }
    return nil
  }

  private func kibibytes(_ key: String, in path: String) -> Int? {
    value(key, in: path).flatMap {
      let (bytes, overflow) = $0.multipliedReportingOverflow(by: 1024)
      return overflow ? nil : bytes
    }
  }

  var systemByteCount: Int? { kibibytes("MemAvailable:", in: "proc/meminfo") }

  /// What the limit of the address space leaves.
  var processByteCount: Int? {
    guard
      let line = text("proc/self/limits")?.split(separator: "\n").first(where: {
        $0.hasPrefix("Max address space")
      }),
      let limit = line.split(whereSeparator: \.isWhitespace).dropFirst(3).first.flatMap({ Int($0) }
      ),
      let used = kibibytes("VmSize:", in: "proc/self/status")
    else { return nil }
    return limit - used
  }

  /// The least that any of the process's control groups and their parents leaves.
  var controlGroupByteCount: Int? {
    var rests: [Int?] = []
    for line in text("proc/self/cgroup")?.split(separator: "\n") ?? [] {
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      let group = String(parts[2])
      if parts[0] == "0", parts[1].isEmpty {
        for mount in ["sys/fs/cgroup", "sys/fs/cgroup/unified"] {
          rests.append(
            rest(
              of: group, below: mount, limit: "memory.max", use: "memory.current",
              cache: "inactive_file"))
        }
      } else if parts[1].split(separator: ",").contains("memory") {
        rests.append(
          rest(
            of: group, below: "sys/fs/cgroup/memory", limit: "memory.limit_in_bytes",
            use: "memory.usage_in_bytes", cache: "total_inactive_file"))
      }
    }
    return rests.compactMap(\.self).min()
  }

  /// Returns what `group` and its parents leave; a container may see only some of them.
  private func rest(
    of group: String, below mount: String, limit: String, use: String, cache: String
  ) -> Int? {
    var components = group.split(separator: "/")
    var least: Int?
    while true {
      let folder = ([mount] + components.map(String.init)).joined(separator: "/")
      if let limit = number("\(folder)/\(limit)"), let used = number("\(folder)/\(use)") {
        let dropped = value(cache, in: "\(folder)/memory.stat") ?? 0
        least = min(least ?? .max, limit - max(0, used - dropped))
      }
      guard components.popLast() != nil else { return least }
    }
  }
}
