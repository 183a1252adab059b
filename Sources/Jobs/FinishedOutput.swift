import Formats
import Foundation

/// An output that took its name in the moment before its journal was to be removed.
enum FinishedOutput {
  /// Whether the output of `plan` is there with every record that was planned, as the journal says
  /// them.
  ///
  /// - Throws: `FormatError` when the output cannot be read.
  static func isThere(of plan: ConversionPlan, _ journal: JournalContent) throws -> Bool {
    guard FileManager.default.fileExists(atPath: plan.request.output) else { return false }
    let results = try journal.results + RankShare.results(of: plan)
    let checksums = Dictionary(results.map { ($0.index, $0.checksum) }) { $1 }
    let file = try InputFile(path: plan.request.output, access: .read)
    return try plan.header.entries.enumerated().allSatisfy { index, entry in
      guard let checksum = checksums[index], entry.byteCount <= file.byteCount - entry.offset else {
        return false
      }
      return try file.checksum(at: entry.offset, byteCount: entry.byteCount) == checksum
    }
  }
}

extension InputFile {
  /// The CRC-32 of bytes of the file, read by pieces.
  fileprivate func checksum(at offset: Int, byteCount: Int) throws -> UInt32 {
    let pieceByteCount = 1 << 20
    var checksum: UInt32 = 0
    for start in stride(from: 0, to: byteCount, by: pieceByteCount) {
      let piece = try bytes(
        at: offset + start, count: min(pieceByteCount, byteCount - start), purpose: "its record")
      checksum = CRC32.checksum(piece, seed: checksum)
    }
    return checksum
  }
}
