/// A file in which every record has its place before any record is made.
///
/// Threads, jobs and ranks can therefore each make some of the records, in any order, and the file is
/// the same.
package protocol PlacedFile: Sendable {
  /// What is to be made, in the order of the places.
  var records: [PlacedRecord] { get }
  /// Bytes of the file up to the end of the last record.
  var recordsEnd: Int { get }

  /// The record at `index`, made from its source: exactly as many bytes as planned.
  ///
  /// - Throws: `ModelError`, or what quantizing throws.
  func record(at index: Int) throws -> SharedBytes

  /// What makes the records a file, to be placed when all of them are.
  ///
  /// - Parameter checksums: the CRC-32 of each record.
  func pieces(checksums: [UInt32]) throws -> [PlacedPiece]
}

/// One record of a placed file.
package struct PlacedRecord: Hashable, Sendable {
  /// The tensor that it is made from.
  package let name: String
  /// Every tensor whose content it is.
  package let names: [String]
  /// Where it lies in the file.
  package let offset: Int
  /// Its length, known before its bytes.
  package let byteCount: Int
  /// Bytes that are read to make it.
  package let sourceByteCount: Int

  package init(
    name: String, names: [String], offset: Int, byteCount: Int, sourceByteCount: Int
  ) {
    self.name = name
    self.names = names
    self.offset = offset
    self.byteCount = byteCount
    self.sourceByteCount = sourceByteCount
  }
}

/// Bytes with their place.
package struct PlacedPiece: Sendable {
  /// Where the bytes lie in the file.
  package let offset: Int
  /// What lies there.
  package let bytes: SharedBytes

  package init(offset: Int, bytes: SharedBytes) {
    self.offset = offset
    self.bytes = bytes
  }
}

extension PlacedFile {
  /// The records' indices, those made from the most bytes first, so that no worker is left with a
  /// long one at the end.
  package var largestFirst: [Int] {
    let records = records
    return records.indices.sorted {
      (records[$0].sourceByteCount, $1) > (records[$1].sourceByteCount, $0)
    }
  }
}
