import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct DistributedCheckpointTests {
  /// Checkpoints of `torch.distributed.checkpoint`, of one process and of four.
  @Test(arguments: try ExpectedArchive.all(in: "expected.json", below: ["dcp/"]))
  func readsCheckpointsOfTorch(_ expected: ExpectedArchive) throws {
    for access in [InputFile.Access.mapped, .read] {
      try expected.check(try PackageFolder.fixture(expected.path), access: access)
    }
  }

  @Test func folderStandsForItsIndex() throws {
    let folder = try PackageFolder.fixture("dcp/shards")
    let archive = try FormatRegistry.standard.open(folder)
    #expect(
      archive.sourceFiles
        == ["\(folder)/.metadata"] + (0...3).map { "\(folder)/__\($0)_0.distcp" })
    // Only 'short' and 'rows' are in several files.
    #expect(archive.fileOfTensor["copied"]?.hasSuffix(".distcp") ?? false)
    #expect(archive.fileOfTensor["grid"] == nil)
    #expect(archive.remarks == [])
  }

  private func withCopy(_ body: (String) throws -> Void) throws {
    let original = try PackageFolder.fixture("dcp/shards")
    try withTemporaryFolder { folder in
      let copy = folder.appending("copy")
      try FileManager.default.copyItem(atPath: original, toPath: copy)
      try body(copy)
    }
  }

  @Test func refusesMissingFiles() throws {
    try withCopy { folder in
      try FileManager.default.removeItem(atPath: "\(folder)/__2_0.distcp")
      #expect(
        throws: ModelError.malformed(
          "1 of 4 files are missing: '__2_0.distcp'", path: "\(folder)/.metadata")
      ) {
        try FormatRegistry.standard.open(folder)
      }
    }
  }

  @Test func refusesShortFiles() throws {
    try withCopy { folder in
      let path = "\(folder)/__1_0.distcp"
      let bytes = try Data(contentsOf: URL(filePath: path))
      try bytes.dropLast().write(to: URL(filePath: path))
      let error = #expect(throws: ModelError.self) { try FormatRegistry.standard.open(folder) }
      guard case .truncated(let expected, let found, let purpose)? = error?.problem else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(found == expected - 1)
      #expect(purpose.hasPrefix("a piece in '__1_0.distcp' from byte "))
    }
  }

  /// PyTorch does not check the sums of its archives.
  @Test func noticesChangedBytes() throws {
    try withCopy { folder in
      let archive = try FormatRegistry.standard.open(folder)
      let before = try #require(archive.tensors["rows"]).bytes()
      let path = URL(filePath: "\(folder)/__0_0.distcp")
      var bytes = try Data(contentsOf: path)
      let place = try #require(bytes.range(of: Data(before.slice(0..<20).array)))
      bytes[place.lowerBound] ^= 1
      try bytes.write(to: path)
      let changed = try FormatRegistry.standard.open(folder)
      let error = #expect(throws: ModelError.self) { try changed.tensors["rows"]?.bytes() }
      guard case .checksumMismatch? = error?.problem else {
        Issue.record("\(String(describing: error))")
        return
      }
    }
  }

  /// A piece of a tensor at the given offsets.
  private func piece(_ offsets: [Int], _ shape: Shape) -> DistributedCheckpointIndex.Piece {
    .init(offsets: offsets, shape: shape, place: .init(file: "f", offset: 0, byteCount: 0))
  }

  @Test func piecesMustCoverTensorOnce() throws {
    let tensor = DistributedTensor(elementType: .float32, shape: [4, 6])
    let grid = [
      piece([0, 0], [2, 3]), piece([0, 3], [2, 3]), piece([2, 0], [2, 4]), piece([2, 4], [2, 2]),
    ]
    #expect(throws: Never.self) { try tensor.check(grid.reversed()) }
    #expect(
      throws: ModelError.mismatch(expected: "pieces of 24 elements", found: "20")
    ) { try tensor.check(Array(grid.dropLast())) }
    #expect(throws: ModelError.malformed("its pieces at [0, 0] and [0, 2] overlap")) {
      try tensor.check([grid[0], piece([0, 2], [2, 3])] + grid.suffix(2))
    }
    #expect(
      throws: ModelError.mismatch(expected: "pieces inside [4, 6]", found: "[2, 3] at [3, 0]")
    ) { try tensor.check([piece([3, 0], [2, 3])]) }
  }
}
