import Formats
import Storage
import Testing

@Suite struct CoreNameGlobTests {
  @Test(arguments: [
    ("*", "", true), ("*", "a.b", true), ("a", "a", true), ("a", "A", false), ("a", "ab", false),
    ("*.weight", "layers.0.weight", true), ("*.weight", "weight", false),
    ("layers.*.qkv.*", "layers.0.attn.qkv.weight", true), ("?", "é", true), ("?", "", false),
    ("a?c", "abc", true), ("a?c", "ac", false), ("[abc]x", "bx", true), ("[a-c]x", "dx", false),
    ("[!a-c]x", "dx", true), ("[^a-c]x", "ax", false), ("[]]", "]", true), ("[a-]", "-", true),
    ("{a,b}.w", "b.w", true), ("{a,b}.w", "c.w", false), ("{a,}x", "x", true),
    ("{a,b}{c,d}", "bd", true), ("\\*", "*", true), ("\\*", "a", false), ("\\{a\\}", "{a}", true),
    ("**a", "ba", true), ("*a*b*c*", "xxaxxbxxc", true), ("*a*b*c*", "xxcxxbxxa", false),
  ])
  func patternsMatchNames(pattern: String, name: String, isMatch: Bool) throws {
    #expect(try NameGlob(pattern).matches(name) == isMatch)
  }

  @Test(arguments: [
    ("", "a name pattern is empty"), ("[ab", "'[' is not closed in the name pattern '[ab'"),
    ("{a,b", "'{' is not closed in the name pattern '{a,b'"),
    ("[c-a]", "the range 'c-a' is empty in the name pattern '[c-a]'"),
  ])
  func refusesInvalidPatterns(pattern: String, message: String) {
    #expect(throws: ModelError.malformed(message)) { try NameGlob(pattern) }
  }

  @Test func limitsAlternatives() throws {
    let eight = String(repeating: "{a,b}", count: 8)
    #expect(try NameGlob(eight).matches("abababab"))
    #expect(
      throws: ModelError(
        .limitExceeded(what: "a name pattern's alternatives", limit: 256, found: "512"))
    ) {
      try NameGlob(eight + "{a,b}")
    }
    #expect(throws: ModelError.unsupported("nested braces in the name pattern '{a,{b,c}}'")) {
      try NameGlob("{a,{b,c}}")
    }
  }

  /// Backtracking into every star would take longer than the age of the universe.
  @Test func manyStarsMatchWithoutBacktracking() throws {
    let glob = try NameGlob(String(repeating: "*a", count: 40) + "b")
    #expect(!glob.matches(String(repeating: "a", count: 2000)))
  }

  @Test func selectsNamesInOriginalOrder() throws {
    let names = ["b.weight", "a.weight", "a.bias"]
    #expect(try names.matching([]) == names)
    #expect(try names.matching([NameGlob("a.*"), NameGlob("*.weight")]) == names)
    #expect(try names.matching([NameGlob("a.*")]) == ["a.weight", "a.bias"])
    #expect(
      throws: ModelError.mismatch(expected: "a tensor name that matches 'c.*'", found: "none")
    ) {
      try names.matching([NameGlob("a.*"), NameGlob("c.*")])
    }
  }

  @Test(arguments: [
    ("layer.0.*", "; the closest is 'layers.0.qkv.weight'"),
    ("*.qvk.weight", "; the closest is 'layers.0.qkv.weight'"),
    ("{*.kv,*.v}.weights", "; the closest is 'layers.0.qkv.weight'"),
    ("*.wight", "; the closest is 'layers.0.qkv.weight'"),
    ("norm?.bias", "; the closest is 'norm.bias'"), ("nothing*", ""), ("z", ""),
  ])
  func misspeltPatternsNameTheClosest(_ pattern: String, suggestion: String) throws {
    let names = ["layers.0.qkv.weight", "norm.bias"]
    #expect(try NameGlob(pattern).suggestion(among: names) == suggestion)
    #expect(try NameGlob(pattern).suggestion(among: []).isEmpty)
  }
}
