import Inspect
import Testing

@Suite struct ByteUnitTests {
  @Test(arguments: [
    ("1", 1), ("700000", 700_000), ("9223372036854775807", Int.max), ("1.9", 1), ("5B", 5),
    ("700kB", 700_000), ("700KB", 700_000), ("1.5MB", 1_500_000), ("1.5 MB", 1_500_000),
    (".5GB", 500_000_000), ("1KiB", 1024), ("2.5MiB", 2_621_440), ("2GiB", 2_147_483_648),
  ]) func sizesParseToWholeBytes(_ text: String, _ count: Int) {
    #expect(ByteUnit.byteCount(of: text) == count)
  }

  @Test(arguments: [
    "", "0", "0.5", "-1", "+1", "1e3", "inf", "MB", ".", "1.2.3MB", "2Mb", "2mb", "2TB", "2 M B",
    "9223372036854775808", "99999999999GB", " 1",
  ]) func invalidSizesAreRefused(_ text: String) {
    #expect(ByteUnit.byteCount(of: text) == nil)
  }
}
