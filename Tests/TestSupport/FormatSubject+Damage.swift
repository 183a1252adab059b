import Formats
import Foundation
import Storage
import Testing

extension FormatSubject {
  /// Reads a damaged file, which must give an error of this library or, where the format cannot
  /// detect the damage, another archive. A crash ends the process and leaves the file in `folder`.
  ///
  /// - Returns: A complaint, or `nil`.
  private func complaint(
    reading bytes: [UInt8], original: TensorArchive, in folder: TemporaryFolder
  ) throws -> String? {
    let path = folder.appending("damaged")
    try writeUnsynced(bytes, to: path)
    let archive: TensorArchive
    do {
      archive = try readWhole(path)
      let file = try InputFile(path: path)
      for format in FormatRegistry.standard.formats { _ = format.recognizes(file) }
    } catch is ModelError {
      return nil
    } catch {
      return "the error is no ModelError: \(error)"
    }
    guard detection == .everyByte else { return nil }
    return try archive.firstDifference(from: original, ignoringOrder: !keepsOrder)
      .map { "read without an error, with a difference: \($0)" }
  }

  /// Checks that reading the sample file cut to any length is an error.
  public func checkTruncation(sourceLocation: SourceLocation = #_sourceLocation) throws {
    try withTemporaryFolder { folder in
      let path = try write(try sampleArchive(typeLimit: 3), in: folder)
      let bytes = [UInt8](try Data(contentsOf: URL(filePath: path)))
      let cut = folder.appending("cut")
      for count in 0..<bytes.count {
        try writeUnsynced(bytes[..<count], to: cut)
        do {
          _ = try readWhole(cut)
          Issue.record(
            "\(label) cut to \(count) of \(bytes.count) bytes is read without an error",
            sourceLocation: sourceLocation)
          return
        } catch is ModelError {
          continue
        }
      }
    }
  }

  /// Reads the sample file with one or a few bytes changed, inserted or removed at random.
  ///
  /// - Parameter seed: The seed, which repeats the same damage.
  public func checkMutation(
    seed: UInt64, count: Int, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    print("mutating \(label): \(count) files, seed \(seed)")
    try withTemporaryFolder { folder in
      let path = try write(try sampleArchive(seed: seed), in: folder)
      let original = try readWhole(path, access: .read)
      let bytes = [UInt8](try Data(contentsOf: URL(filePath: path)))
      for index in 0..<count {
        var random = SplitMix(seed: seed &+ UInt64(index))
        let damaged = Self.damage(bytes, using: &random)
        guard damaged != bytes else { continue }
        if let complaint = try complaint(reading: damaged, original: original, in: folder) {
          Issue.record(
            "\(label), seed \(seed), file \(index): \(complaint)", sourceLocation: sourceLocation)
        }
      }
    }
  }

  /// Damages one byte in half of the cases, because checksums detect some larger damage only with
  /// high probability.
  private static func damage(_ bytes: [UInt8], using random: inout SplitMix) -> [UInt8] {
    var bytes = bytes
    for _ in 0..<[1, 1, 2, 4].randomElement(using: &random)! {
      let position = Int.random(in: 0..<bytes.count, using: &random)
      switch Int.random(in: 0..<8, using: &random) {
      case 0: bytes.remove(at: position)
      case 1: bytes.insert(.random(in: 0...255, using: &random), at: position)
      case 2: bytes[position] = [0, 1, 0x7F, 0x80, 0xFF].randomElement(using: &random)!
      case 3: bytes[position] = .random(in: 0...255, using: &random)
      default: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      }
    }
    return bytes
  }
}
