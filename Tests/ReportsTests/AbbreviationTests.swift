import Testing

@testable import Reports

@Suite struct AbbreviationTests {
  @Test(arguments: [
    (60, "layers.0.residual_group.blocks.5.attn.qkv.weight"),
    (40, "layers.0.resid….blocks.5.attn.qkv.weight"),
    (37, "laye….0.resi….bloc….5.attn.qkv.weight"),
    (30, "…0…5.attn.qkv.weight"),
    (18, "…0…5…qkv.weight"),
    (13, "…0…5…weight"),
    (8, "la…eight"),
  ])
  func abbreviatedNamesKeepNumbers(_ limit: Int, _ expected: String) {
    let name = "layers.0.residual_group.blocks.5.attn.qkv.weight"
    #expect(name.abbreviated(to: limit) == expected)
    #expect(expected.count <= limit)
  }

  @Test func otherTextsLoseMiddle() {
    #expect("abcdefghijklmnop".abbreviated(to: 7) == "ab…mnop")
  }
}
