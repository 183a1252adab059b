import Formats
import Foundation
import TestSupport
import Testing

@testable import Imaging
@testable import Storage
@testable import SuperResolution
@testable import Transform

@Suite struct DistillationCheckpointTests {
  /// A distillation of a small network on images in `folder`.
  private struct Subject {
    let fixture: DistillationFixture
    let images: ImageFolder

    init(_ folder: TemporaryFolder) throws {
      fixture = try DistillationFixture("swinir_direct_x2")
      let channelCount = try #require(fixture.images().first).channelCount
      for name in ["metric_1.png", "metric_3.png"] {
        try FileManager.default.copyItem(
          atPath: PackageFolder.fixture("images/\(name)"), toPath: folder.appending(name))
      }
      images = try ImageFolder(folder: folder.path, scale: 2, channelCount: channelCount)
    }

    func settings(steps: Int = 12, threads: Int = 2) -> DistillationSettings {
      var settings = DistillationSettings(for: .best, limit: .steps(steps), threads: threads)
      settings.patchSide = 16
      settings.batchCount = 2
      return settings
    }

    func distillation(_ settings: DistillationSettings) throws -> Distillation {
      var options = Distillation.Options(
        optimizer: Adam(rates: settings.rates), threads: settings.threads)
      options.loss = settings.loss
      return try fixture.distillation(options)
    }

    func run(_ settings: DistillationSettings) throws -> DistillationRun {
      try DistillationRun(distillation(settings), settings, images: images, validation: nil)
    }

    func checkpoint(_ settings: DistillationSettings, _ path: String) throws
      -> DistillationCheckpoint
    {
      DistillationCheckpoint(
        path: path,
        identity: try DistillationIdentity(
          distillation(settings), settings, images: images, validation: nil))
    }
  }

  /// Returns everything that the rest of a run and its result follow from, bit for bit.
  private func state(_ run: DistillationRun) -> [String: [UInt64]] {
    func bits(_ values: [Float]) -> [UInt64] { values.map { UInt64($0.bitPattern) } }
    let store = run.distillation.store
    return [
      "values": bits(store.values), "first": bits(store.firstMoments),
      "second": bits(store.secondMoments), "best": bits(run.best?.values ?? []),
      "counts": [
        UInt64(run.pace.stepCount), UInt64(run.distillation.stepCount),
        UInt64(run.best?.stepCount ?? 0), UInt64(run.record.vainComparisonCount),
      ],
      "record": [
        run.record.firstPSNR, run.record.bestPSNR, run.record.lastPSNR,
        run.record.firstLoss ?? -1, run.record.lastLoss ?? -1,
      ].map(\.bitPattern),
      "patches": [run.training.position.generatorState]
        + run.training.position.remaining.map { UInt64($0) },
    ]
  }

  /// A run interrupted after 0, 1, 5 or 12 of 12 steps ends like one that was not.
  @Test(arguments: [0, 1, 5, 12])
  func resumedRunEndsLikeUninterruptedRun(_ interruption: Int) throws {
    try withTemporaryFolder { folder in
      let subject = try Subject(folder)
      let settings = subject.settings()
      var undisturbed = try subject.run(settings)
      while !undisturbed.isDone { _ = try undisturbed.step() }

      let path = folder.appending("state")
      var first = try subject.run(settings)
      for _ in 0..<interruption { _ = try first.step() }
      var checkpoint = try subject.checkpoint(settings, path)
      try checkpoint.save(first, isDue: true)

      // Another number of threads continues the same distillation.
      let others = subject.settings(threads: 1)
      var second = try subject.run(others)
      try subject.checkpoint(others, path).restore(&second)
      #expect(state(second) == state(first))
      #expect(second.pace.share == first.pace.share)
      while !second.isDone { _ = try second.step() }
      #expect(state(second) == state(undisturbed))
    }
  }

  @Test func checkpointsOfOtherDistillationsAreRefused() throws {
    try withTemporaryFolder { folder in
      let subject = try Subject(folder)
      let settings = subject.settings()
      let path = folder.appending("state")
      let run = try subject.run(settings)
      var checkpoint = try subject.checkpoint(settings, path)
      try checkpoint.save(run, isDue: true)
      func expect(_ difference: String, _ change: (inout DistillationSettings) -> Void) throws {
        var other = settings
        change(&other)
        var run = run
        #expect(
          throws: ModelError(
            "it is the checkpoint of another distillation: \(difference)", path: path)
        ) { try subject.checkpoint(other, path).restore(&run) }
      }
      try expect("the limit was 12 steps, but is 13 steps") { $0.limit = .steps(13) }
      try expect("the limit was 12 steps, but is 1.5 minutes") { $0.limit = .minutes(1.5) }
      try expect("the batch was 2, but is 3") { $0.batchCount = 3 }
      try expect("the patches' size was 16, but is 17") { $0.patchSide = 17 }
      try expect("the seed was 0, but is 4") { $0.seed = 4 }
      try expect("the patience was unlimited, but is 2") { $0.patience = 2 }
      try expect(
        "the loss was pixels 1.0, features 0.02 rootMeanSquare, but is pixels 1.0, features 0.5 "
          + "rootMeanSquare"
      ) { $0.loss.features = 0.5 }

      // Other images are recognized by their content.
      let extra = try PackageFolder.fixture("images/metric_1.png")
      try FileManager.default.copyItem(atPath: extra, toPath: folder.appending("metric_2.png"))
      let more = try ImageFolder(
        folder: folder.path, scale: 2, channelCount: subject.images.channelCount)
      let (before, after) = (try subject.images.sha256(), try more.sha256())
      let other = DistillationCheckpoint(
        path: path,
        identity: try DistillationIdentity(
          subject.distillation(settings), settings, images: more, validation: nil))
      var unchanged = run
      #expect(
        throws: ModelError(
          "it is the checkpoint of another distillation: the image folder was \(before) "
            + "downscaled by 2, but is \(after) downscaled by 2", path: path)
      ) { try other.restore(&unchanged) }
      #expect(state(unchanged) == state(run))
    }
  }

  @Test func invalidCheckpointsAreRefused() throws {
    try withTemporaryFolder { folder in
      let subject = try Subject(folder)
      let settings = subject.settings()
      let path = folder.appending("state")
      let registry = FormatRegistry.standard
      var run = try subject.run(settings)
      let before = state(run)
      try registry.write(subject.fixture.network.weights, as: SafetensorsFormat(), to: path)
      #expect(
        throws: ModelError(
          "it already exists and is not a checkpoint of a distillation", path: path)
      ) { try subject.checkpoint(settings, path).restore(&run) }

      func damaged(_ change: (inout TensorArchive) throws -> Void) throws {
        var checkpoint = try subject.checkpoint(settings, path)
        try checkpoint.save(run, isDue: true)
        var archive = try registry.open(path, access: .read)
        try change(&archive)
        try registry.write(archive, as: SafetensorsFormat(), to: path, replacesExisting: true)
      }
      try damaged { $0.tensors["values"] = $0.tensors["record"] }
      #expect(
        throws: ModelError("the checkpoint is damaged: 'values' does not fit", path: path)
      ) { try subject.checkpoint(settings, path).restore(&run) }
      try damaged { archive in
        archive.tensors["counts"] = try Tensor(
          elementType: .int64, shape: [3], bytes: SharedBytes(elementsOf: [-1, 0, 0]))
      }
      #expect(
        throws: ModelError(
          "the checkpoint is damaged: its numbers are impossible", path: path)
      ) { try subject.checkpoint(settings, path).restore(&run) }
      try damaged { archive in
        archive.tensors["images"] = try Tensor(
          elementType: .int64, shape: [1], bytes: SharedBytes(elementsOf: [2]))
      }
      #expect(throws: ModelError.self) {
        try subject.checkpoint(settings, path).restore(&run)
      }
      #expect(state(run) == before)
    }
  }

  /// Learning at an absurd rate gains nothing on other images, so patience ends.
  @Test func patienceEndsRunWithoutGains() throws {
    try withTemporaryFolder { folder in
      let subject = try Subject(folder)
      var settings = subject.settings(steps: 16)
      settings.patience = 2
      for group in ParameterGroup.allCases { settings.rates[group] = 3 }
      var run = try subject.run(settings)
      while !run.isDone { _ = try run.step() }
      #expect(run.summary.isStoppedEarly)
      #expect(run.summary.stepCount == 4)
      #expect(run.summary.keptStepCount == 0)
      #expect(run.result == nil)
      #expect(run.summary.psnrAfter == run.summary.psnrBefore)
    }
  }
}
