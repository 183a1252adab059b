import Foundation
import TestSupport
import Testing

@testable import Storage

@Suite struct AvailableMemoryTests {
  /// Returns what is available on a system with these files.
  private func available(_ files: [String: String]) throws -> AvailableMemory? {
    try withTemporaryFolder { folder in
      for (name, text) in files {
        let url = URL(filePath: folder.appending(name))
        try FileManager.default.createDirectory(
          at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: url)
      }
      return AvailableMemory.current(below: folder.path)
    }
  }

  private static let system = [
    "proc/meminfo": "MemTotal:   9000 kB\nMemAvailable:   8000 kB\nSwapFree: 1 kB\n"
  ]

  @Test func systemStatesItsMemory() throws {
    #expect(
      try available(Self.system) == AvailableMemory(byteCount: 8_192_000, bound: .system))
    #expect(try available([:]) == nil)
    #expect(try available(["proc/meminfo": "MemTotal: 9000 kB\n"]) == nil)
  }

  /// A group of version 2 is bounded by its parents as well; files that can be dropped are no use.
  @Test func controlGroupsBoundMemory() throws {
    var files = Self.system
    files["proc/self/cgroup"] = "0::/slice/job\n"
    files["sys/fs/cgroup/slice/job/memory.max"] = "max\n"
    files["sys/fs/cgroup/slice/job/memory.current"] = "500000\n"
    #expect(try available(files)?.bound == .system)
    files["sys/fs/cgroup/slice/memory.max"] = "3000000\n"
    files["sys/fs/cgroup/slice/memory.current"] = "1200000\n"
    files["sys/fs/cgroup/slice/memory.stat"] = "anon 700000\ninactive_file 200000\n"
    #expect(
      try available(files) == AvailableMemory(byteCount: 2_000_000, bound: .controlGroup))
    files["sys/fs/cgroup/slice/job/memory.max"] = "400000\n"
    #expect(try available(files) == AvailableMemory(byteCount: 0, bound: .controlGroup))
  }

  /// In a container the group's own path is often not there, and its root stands for it.
  @Test func groupsOfVersion1BoundMemory() throws {
    var files = Self.system
    files["proc/self/cgroup"] = "4:memory,hugetlb:/docker/1f\n1:cpu:/docker/1f\n"
    files["sys/fs/cgroup/memory/memory.limit_in_bytes"] = "9223372036854771712\n"
    files["sys/fs/cgroup/memory/memory.usage_in_bytes"] = "1000000\n"
    #expect(try available(files)?.bound == .system)
    files["sys/fs/cgroup/memory/memory.limit_in_bytes"] = "4000000\n"
    files["sys/fs/cgroup/memory/memory.stat"] = "inactive_file 1\ntotal_inactive_file 500000\n"
    #expect(
      try available(files) == AvailableMemory(byteCount: 3_500_000, bound: .controlGroup))
  }

  @Test func limitOfAddressSpaceBoundsMemory() throws {
    var files = Self.system
    files["proc/self/status"] = "Name: x\nVmSize:\t    1000 kB\n"
    files["proc/self/limits"] =
      "Limit                     Soft Limit           Hard Limit           Units     \n"
      + "Max address space         unlimited            unlimited            bytes     \n"
    #expect(try available(files)?.bound == .system)
    files["proc/self/limits"] =
      "Max address space         3024000              unlimited            bytes     \n"
    #expect(try available(files) == AvailableMemory(byteCount: 2_000_000, bound: .process))
  }

  @Test func thisSystemHasMemory() throws {
    #expect(try #require(AvailableMemory.current()).byteCount > 1 << 20)
  }
}
