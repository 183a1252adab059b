import Storage
import Testing

struct JSONObjectReaderTests {
  private func reader(_ text: String, path: String = "") throws -> JSONObjectReader {
    try JSONObjectReader(JSONDocument.parse(SharedBytes(text.utf8)), path: path)
  }

  private func message(
    _ text: String, _ read: (inout JSONObjectReader) throws -> Void
  ) throws -> String? {
    var reader = try reader(text)
    return #expect(throws: ModelError.self) { try read(&reader) }?.description
  }

  @Test func readMembersAreNoLongerRemaining() throws {
    var reader = try reader(#"{"a": 1, "b": {"c": [{"d": "e"}]}, "f": null, "g": 2.5}"#)
    #expect(try reader.integer("a", in: 1...8) == 1)
    #expect(try reader.integer("a") == nil)
    let texts = try reader.object("b") { inner in
      try inner.require("c", inner.objects("c") { try $0.require("d", $0.string("d")) })
    }
    #expect(texts == ["e"])
    #expect(try reader.number("h") == nil)
    #expect(Array(reader.remaining.keys) == ["f", "g"])
    #expect(reader.take("f") == .null)
    #expect(try reader.number("g", atLeast: 2.5) == 2.5)
    try reader.finish()
  }

  @Test func errorsNameThePathAndWhatWasExpectedAndFound() throws {
    #expect(
      try message(#"{"rules": [{}, {"bits": 9}]}"#) {
        _ = try $0.objects("rules") { try $0.integer("bits", in: 1...8) }
      } == "rules[1].bits: expected an integer from 1 to 8, found 9")
    #expect(
      try message(#"{"a": {"b": -1}}"#) { _ = try $0.object("a") { try $0.count("b") } }
        == "a.b: expected an integer of at least 0, found -1")
    #expect(
      try message(#"{"a": [1]}"#) { _ = try $0.objects("a") { _ in } }
        == "a[0]: expected an object, found 1")
    #expect(
      try message(#"{"a": 0.5}"#) { _ = try $0.number("a", atLeast: 1) }
        == "a: expected a number of at least 1, found 0.5")
    #expect(
      try message(#"{"a": "\#(String(repeating: "x", count: 61))"}"#) { _ = try $0.boolean("a") }
        == "a: expected true or false, found a string of 61 characters")
    #expect(
      try message(#"{"a": {"b": "c", "d": []}}"#) { _ = try $0.object("a") { try $0.strings() } }
        == "a.d: expected a string, found an empty list")
    #expect(
      #expect(throws: ModelError.self) { try reader("[1]", path: "header") }?.description
        == "header: expected an object, found a list")
  }

  @Test func requiredMembersSayWhatWasExpected() throws {
    #expect(
      try message("{}") { _ = try $0.require("a", $0.array("a")) }
        == "a: expected a list, found none")
    #expect(
      try message("{}") { _ = try $0.require("a", $0.take("a")) }
        == "a: expected a value, found none")
  }

  @Test func unknownMembersAreRefusedWithTheKnown() throws {
    #expect(
      try message(#"{"a": {"b": 1, "x": 2, "c": 3}}"#) {
        _ = try $0.object("a") { inner in
          _ = try inner.integer("b")
          _ = try inner.integer("c")
          try inner.finish()
        }
      } == "a: unknown key 'x'; known keys are b, c")
  }
}
