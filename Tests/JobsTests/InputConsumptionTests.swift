import Foundation
import LinearAlgebra
import Synchronization
import TestSupport
import Testing
import Transform

@testable import Formats
@testable import Jobs
@testable import Storage

/// The order in which sources are consumed, and the room that the output needs meanwhile.
@Suite struct InputConsumptionTests {
  /// Writes five shards of eight tensors each, some much larger than others.
  private func shardedModel(
    in folder: TemporaryFolder
  ) throws -> (index: String, shards: [String]) {
    var random = SplitMix(seed: 3)
    var weightMap: [String: String] = [:]
    var shards: [String] = []
    for shard in 1...5 {
      let name = "model-0000\(shard)-of-00005.safetensors"
      var archive = TensorArchive()
      for tensor in 0..<8 {
        let count = tensor == shard % 8 ? 3000 : Int.random(in: 1...300, using: &random)
        archive.tensors["\(tensor).\(shard)"] = try Tensor(
          elementType: .float32, shape: #require(Shape([count])),
          bytes: SharedBytes(elementsOf: (0..<count).map { Float($0 * shard + tensor) }))
        weightMap["\(tensor).\(shard)"] = name
      }
      shards.append(folder.appending(name))
      try FormatRegistry.standard.write(archive, as: SafetensorsFormat(), to: shards[shard - 1])
    }
    let index = folder.appending("model.safetensors.index.json")
    try JSONSerialization.data(withJSONObject: ["weight_map": weightMap], options: .sortedKeys)
      .write(to: URL(filePath: index))
    return (index, shards)
  }

  private func withConsumption(
    _ body: (Conversion, InputConsumption, _ shards: [String]) throws -> Void
  ) throws {
    try withTemporaryFolder { folder in
      let (index, shards) = try shardedModel(in: folder)
      let archive = try FormatRegistry.standard.open(index)
      let conversion = try Conversion(
        ConversionRequest(
          input: index, output: folder.appending("out.safetensors"), root: nil,
          format: "safetensors", recipe: nil), copying: archive, root: nil)
      try body(conversion, InputConsumption(conversion, of: archive), shards)
    }
  }

  private func shard(of record: PlannedRecord<QuantizationSummary>) throws -> Int {
    try #require(Int(record.name.dropFirst(2))) - 1
  }

  private func isThere(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

  @Test func shardsAreConsumedInOrder() throws {
    try withConsumption { conversion, consumption, shards in
      #expect(consumption.files == shards)
      let records = try consumption.order.map {
        let record = conversion.file.records[$0]
        return (shard: try shard(of: record), byteCount: record.sourceByteCount)
      }
      #expect(records.count == 40)
      for (record, next) in zip(records, records.dropFirst()) {
        #expect(
          record.shard < next.shard
            || record.shard == next.shard && record.byteCount >= next.byteCount)
      }
    }
  }

  /// No thread touches the third shard while the first one exists, however long a record takes.
  @Test(arguments: [1, 2, 4, 16])
  func shardIsDeletedBeforeSecondNextIsTouched(_ threads: Int) throws {
    try withConsumption { conversion, consumption, shards in
      let order = consumption.order
      let prepared = Mutex<[String]>([])
      _ = try parallelMap(count: order.count, threads: threads) { position in
        let shard = try shard(of: conversion.file.records[order[position]])
        try consumption.making(
          order[position], preparing: { path in prepared.withLock { $0.append(path) } }
        ) {
          for earlier in shards.prefix(max(0, shard - 1)) {
            #expect(!isThere(earlier), "shard \(shard) with \(earlier)")
          }
          #expect(isThere(shards[shard]))
          // The first record of each shard takes the longest, which gives other threads more time
          // to come too early; any that does is detected.
          usleep(position % 8 == 0 ? 30_000 : 500)
        }
      }
      #expect(prepared.withLock { $0.sorted() } == shards)
      #expect(!shards.contains(where: isThere))
    }
  }

  private struct Failure: Error {}

  @Test func failureCancelsWaitingThreads() throws {
    try withConsumption { conversion, consumption, shards in
      let order = consumption.order
      // These records are of the third shard, which has to wait while the first one exists.
      let late = try order.filter { try shard(of: conversion.file.records[$0]) == 2 }.prefix(3)
      let waiting = Mutex<[Int32]>([])
      let errors = Mutex<[any Error]>([])
      let group = DispatchGroup()
      #expect(throws: Failure.self) {
        try consumption.making(order[0], preparing: { _ in }) {
          for index in late {
            group.enter()
            Thread.detachNewThread {
              do {
                let thread = try ThreadStates.currentThread()
                waiting.withLock { $0.append(thread) }
                try consumption.making(index, preparing: { _ in }) {}
              } catch {
                errors.withLock { $0.append(error) }
              }
              group.leave()
            }
          }
          while waiting.withLock({ $0.count }) + errors.withLock({ $0.count }) < late.count {
            usleep(500)
          }
          try ThreadStates.waitUntilAsleep(in: getpid()) { thread in
            waiting.withLock { $0.contains(thread) }
          }
          throw Failure()
        }
      }
      group.wait()
      #expect(errors.withLock { $0.count == 3 && $0.allSatisfy { $0 is CancellationError } })
      #expect(isThere(shards[0]) && isThere(shards[2]))
    }
  }

  /// When a disk fails, only the first thread that makes bytes durable learns that some were lost.
  @Test func failureStopsFurtherDeletion() throws {
    try withConsumption { conversion, consumption, shards in
      let records = conversion.file.records.indices
      let first = try records.filter { try shard(of: conversion.file.records[$0]) == 0 }
      let second = try records.filter { try shard(of: conversion.file.records[$0]) == 1 }
      #expect(throws: Failure.self) {
        try consumption.complete(first) { _ in throw Failure() }
      }
      #expect(throws: CancellationError.self) {
        try consumption.complete(second) { _ in }
      }
      #expect(shards.allSatisfy(isThere))
    }
  }

  @Test func requiredRoomIsThatOfTwoShards() throws {
    try withConsumption { conversion, consumption, shards in
      let records = conversion.file.records
      var byteCounts = [Int](repeating: 0, count: 5)
      for record in records { byteCounts[try shard(of: record)] += record.byteCount }
      // A deleted shard frees what its tensors took.
      let growth = consumption.largestGrowth(done: []) { path in
        shards.firstIndex(of: path).map { byteCounts[$0] } ?? 0
      }
      #expect(growth == zip(byteCounts, byteCounts.dropFirst()).map(+).max())
      // Nothing is freed if the shards are on another disk.
      let whole = records.reduce(0) { $0 + $1.byteCount }
      #expect(consumption.largestGrowth(done: []) { _ in 0 } == whole)
      // A record that is already in place needs no room.
      let largest = try #require(
        records.indices.max { records[$0].byteCount < records[$1].byteCount })
      #expect(
        consumption.largestGrowth(done: [largest]) { _ in 0 } == whole - records[largest].byteCount)
      // A file that is already consumed has made room for the two after it.
      let first = try records.indices.filter { try shard(of: records[$0]) == 0 }
      let next = consumption.largestGrowth(done: Set(first)) { $0 == shards[0] ? whole : 0 }
      #expect(next == 0)
    }
  }
}
