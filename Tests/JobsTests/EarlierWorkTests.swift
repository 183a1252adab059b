import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Formats
@testable import Jobs
@testable import Storage

/// The work of others beside an output, and partial files that lose their name.
@Suite struct EarlierWorkTests {
  private func plan(in folder: TemporaryFolder) throws -> ConversionPlan {
    let input = folder.appending("in.safetensors")
    var archive = TensorArchive()
    archive.tensors["a"] = try Tensor(
      elementType: .float32, shape: #require(Shape([4])),
      bytes: SharedBytes(elementsOf: [1, 2, 3, 4] as [Float]))
    try FormatRegistry.standard.write(archive, as: SafetensorsFormat(), to: input)
    return try Conversion(
      ConversionRequest(
        input: input, output: folder.appending("out.safetensors"), root: nil,
        format: "safetensors", recipe: nil),
      copying: FormatRegistry.standard.open(input), root: nil
    ).plan
  }

  /// Several jobs of one plan and one of another may begin at the same moment.
  @Test func jobsSeeEveryOtherPlan() throws {
    try withTemporaryFolder { folder in
      let plan = try plan(in: folder)
      func journal(_ job: Int) -> String { "\(plan.request.output).job-\(job)-of-3" }
      for (job, fingerprint) in [plan.fingerprint, plan.fingerprint, "another"].enumerated() {
        try Data("{\"plan\":\"\(fingerprint)\",\"job\":\(job + 1),\"jobs\":3}\n".utf8)
          .write(to: URL(filePath: journal(job + 1)))
      }
      #expect(throws: ModelError.self) {
        try EarlierWork.refuseOtherPlans(
          than: plan, journal: journal(1), areOthersBeginning: true)
      }
      try FileManager.default.removeItem(atPath: journal(3))
      try EarlierWork.refuseOtherPlans(than: plan, journal: journal(1), areOthersBeginning: true)
    }
  }

  /// A file without a name is no copy of the source that is about to be deleted.
  @Test func removedPartialFileIsNotDurable() throws {
    try withTemporaryFolder { folder in
      let output = try PartialFile(
        for: folder.appending("out"), replacesExisting: false, opening: .either)
      try output.synchronize()
      unlink(output.path)
      #expect(throws: ModelError.self) { try output.synchronize() }
    }
  }

  /// Jobs that begin at the same moment must not turn one another away.
  @Test func jobsOpenOnePartialFileAtOnce() throws {
    try withTemporaryFolder { folder in
      let output = folder.appending("out")
      let refusals = Mutex([String]())
      DispatchQueue.concurrentPerform(iterations: 20_000) { _ in
        do {
          _ = try PartialFile(
            for: output, replacesExisting: false, opening: .either, lock: .shared)
        } catch {
          refusals.withLock { $0.append("\(error)") }
        }
      }
      #expect(refusals.withLock { $0 } == [])
    }
  }

  /// A name that stayed behind when its file was finished goes, and the file begun next stays.
  @Test func partialNameOfAFinishedFileIsRemoved() throws {
    try withTemporaryFolder { folder in
      let output = folder.appending("out")
      try Data("whole".utf8).write(to: URL(filePath: output))
      #expect(link(output, PartialFile.path(of: output)) == 0)
      PartialFile.removeName(ofFinished: output)
      #expect(FileManager.default.fileExists(atPath: PartialFile.path(of: output)) == false)
      let next = try PartialFile(for: output, replacesExisting: true, opening: .either)
      PartialFile.removeName(ofFinished: output)
      #expect(FileManager.default.fileExists(atPath: next.path))
      #expect(try Data(contentsOf: URL(filePath: output)) == Data("whole".utf8))
    }
  }

  @Test func removedJournalIsNotDurable() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("out.journal")
      let journal = try ConversionJournal(beginningAt: path, with: .object([:]))
      try journal.synchronize()
      unlink(path)
      #expect(throws: ModelError.self) { try journal.synchronize() }
    }
  }
}
