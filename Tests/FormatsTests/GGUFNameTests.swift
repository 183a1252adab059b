import TestSupport
import Testing

@testable import Formats
@testable import Storage

@Suite struct GGUFNameTests {
  @Test(arguments: [
    String(repeating: "a", count: 63), "blk.0.attn_q.weight", "", String(repeating: "ü", count: 31),
  ])
  func shortNamesAreKept(name: String) {
    #expect(GGUFName(name).stored == name)
    #expect(!GGUFName(name).isShortened)
  }

  @Test(arguments: [
    String(repeating: "a", count: 64), String(repeating: "ü", count: 32),
    "layers.0.residual_group.blocks.0.attn.relative_position_bias_table",
    String(repeating: "\u{1F600}", count: 100),
  ])
  func longNamesKeepTheirEnds(name: String) {
    let stored = GGUFName(name).stored
    #expect(stored.utf8.count <= 63)
    #expect(stored.utf8.count > 55)
    #expect(stored.unicodeScalars.first == name.unicodeScalars.first)
    #expect(stored.unicodeScalars.last == name.unicodeScalars.last)
    #expect(GGUFName("\(name)x").stored != stored)
    #expect(GGUFName(stored).stored == stored)
  }

  @Test func shorteningFollowsDocumentedRule() {
    #expect(
      GGUFName("layers.0.residual_group.blocks.0.attn.relative_position_bias_table").stored
        .hasPrefix("layers.0.residual_group.blo~"))
  }

  /// Long names are shortened in the file and complete again when it is read.
  @Test func writtenNamesAreReadBackInFull() throws {
    let long = "layers.0.residual_group.blocks.0.attn.relative_position_bias_table"
    let tensor = try Tensor(
      elementType: .float32, shape: [1], bytes: SharedBytes([0, 0, 0x80, 0x3F]))
    try withTemporaryFolder { folder in
      let packed = folder.appending("m.condi")
      try PackedPlan<Never>(
        header: PackedHeader(producer: "tests"),
        items: [long, "short"].map {
          PackedItem(name: $0, role: .parameter, source: tensor, action: .keep)
        }
      ).file.write(to: packed)
      let path = folder.appending("m.gguf")
      let outcome = try ModelExport(
        try PackedModel(parsing: InputFile(path: packed)), to: .gguf
      ).write(to: path)
      #expect(
        outcome.tensors.map(\.changes) == [
          [
            "the name exceeds ggml's limit of 63 bytes and is shortened to '\(GGUFName(long).stored)'"
          ], [],
        ])
      #expect(
        outcome.notes.contains(
          "names longer than ggml's 63 bytes (1) are shortened; the metadata 'condi.export' holds "
            + "the full names"))
      let header = try GGUFHeader(reading: InputFile(path: path))
      #expect(header.entries.map(\.name) == [GGUFName(long).stored, "short"])
      #expect(try FormatRegistry.standard.open(path).tensors.keys == [long, "short"])
    }
  }
}
