/// The prologue of a file whose header is lost. It has the header's checksum, and the header those of
/// all records, so a file with an equal prologue is the same file.
package struct PackedHeaderProof: Hashable, Sendable {
  private let prologue: [UInt8]

  init(_ prologue: PackedPrologue) {
    self.prologue = prologue.bytes
  }

  /// - Throws: `FormatError` when `other` is another file's prologue.
  func check(_ other: PackedPrologue) throws {
    guard prologue == other.bytes else {
      throw FormatError.malformed(
        "packing gives a file with another header than the prologue says: the recipe, its settings, "
          + "the source or the program's version were others")
    }
  }
}
