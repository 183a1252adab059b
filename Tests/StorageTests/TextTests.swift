import Testing

@testable import Storage

@Suite struct TextTests {
  @Test(
    arguments: [
      ("a/b/model.tar.PTH", "model.tar.PTH", "a/b", "a/b/", "pth", "model.tar"),
      ("model.pth", "model.pth", "", "", "pth", "model"),
      ("/model", "model", "/", "/", "", "model"),
      ("a.b/model", "model", "a.b", "a.b/", "", "model"),
      ("a/.hidden", ".hidden", "a", "a/", "", ".hidden"),
      ("a/ü\u{301}.npz", "ü\u{301}.npz", "a", "a/", "npz", "ü\u{301}"),
      // A combining mark after a slash does not hide the slash.
      ("a/\u{301}.npz", "\u{301}.npz", "a", "a/", "npz", "\u{301}"),
      ("", "", "", "", "", ""),
    ] as [(String, String, String, String, String, String)])
  func pathComponentsAreExtracted(
    path: String, last: String, folder: String, prefix: String, pathExtension: String, stem: String
  ) {
    #expect(path.lastPathComponent == last)
    #expect(path.deletingLastPathComponent == folder)
    #expect(path.folderPrefix == prefix)
    #expect(path.pathExtension == pathExtension)
    #expect(path.pathStem == stem)
  }

  @Test func namesAreAppendedToPaths() {
    #expect("".appendingPathComponent("a") == "a")
    #expect("a".appendingPathComponent("b/c") == "a/b/c")
    #expect("a/".appendingPathComponent("b") == "a/b")
  }

  @Test func numbersAreFormattedLikePrintf() {
    #expect(String(printf: "%.*f", 2, 38.125) == "38.12")
    #expect(String(printf: "%.3e", 123_456.0) == "1.235e+05")
    #expect(String(printf: "%d:%02d %%", 3, 7) == "3:07 %")
    #expect(String(printf: "%.1f", Double.infinity) == "inf")
    #expect(String(printf: "%.3f", 1e300).utf8.count == 305)
    #expect(String(printf: "") == "")
  }

  @Test func firstRangeFindsTextInBytes() {
    let bytes = SharedBytes(Array("abcabd".utf8))
    #expect(bytes.firstRange(of: "abd") == 3..<6)
    #expect(bytes.firstRange(of: "ab") == 0..<2)
    #expect(bytes.firstRange(of: "abe") == nil)
    #expect(bytes.firstRange(of: "abcabda") == nil)
    #expect(SharedBytes().firstRange(of: "a") == nil)
  }
}
