import Formats
import Foundation
import FuzzTargets
import Storage
import TestSupport
import Testing

/// Past findings of the fuzzer, and a few inputs per target to exercise the targets themselves.
@Suite struct FindingsTests {
  @Test func everyFormatHasFuzzTarget() {
    let targets = Set(FuzzTarget.all.map(\.name))
    #expect(targets.count == FuzzTarget.all.count)
    for format in FormatRegistry.standard.formats {
      #expect(targets.contains(format.identifier.name))
    }
  }

  @Test(arguments: FuzzTarget.all.map(\.name))
  func pastFindingsStayFixed(_ name: String) throws {
    let target = try #require(FuzzTarget.all.first { $0.name == name })
    let folder = PackageFolder.root.appending(path: "Fuzz/Findings/\(name)").path
    let files = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    var inputs = files.sorted().compactMap {
      FileManager.default.contents(atPath: "\(folder)/\($0)")
    }
    let fixtures = PackageFolder.root.appending(path: "Tests/Fixtures/\(name)").path
    if ["edits", "statement", "trajectory"].contains(name) {
      let names = try FileManager.default.contentsOfDirectory(atPath: fixtures)
      inputs += names.sorted().compactMap {
        FileManager.default.contents(atPath: "\(fixtures)/\($0)")
      }
    }
    inputs += [Data(), Data([0]), Data("{}".utf8), Data([0x80, 2, 0x7D, 0x2E])]
    for input in inputs {
      do { try target.run(SharedBytes(input)) } catch is ModelError { continue }
    }
  }
}
