import TestSupport
import Testing

@testable import Storage

@Suite struct BytesTests {
  @Test(arguments: [[], [[]], [[1, 2, 3]], [[1], [], [2, 3]], [[], [4]]] as [[[UInt8]]])
  func joinedBytesAreConcatenated(parts: [[UInt8]]) {
    #expect(SharedBytes(joining: parts.map { SharedBytes($0) }).array == parts.flatMap(\.self))
  }

  /// A closure that may throw is where an error that nothing had thrown was once seen.
  @Test func copyInThrowingClosureThrowsNothing() throws {
    let content: [UInt8] = (0..<240).map { $0 }
    let copied: (UnsafeMutableRawBufferPointer) throws -> Void = { output in
      content.withUnsafeBytes { output.copy($0, at: 8) }
    }
    let bytes = try SharedBytes(count: 248, initializingWith: copied)
    #expect(bytes.array == [UInt8](repeating: 0, count: 8) + content)
  }

  /// The lengths lie around the boundaries of the pieces that are inflated at a time.
  @Test(arguments: [0, 1, 65_535, 65_536, 65_537, 300_000])
  func zlibStreamsRoundTrip(byteCount: Int) throws {
    var random = SplitMix(seed: 1)
    let content = SharedBytes((0..<byteCount).map { _ in UInt8(random.next() & 15) })
    let stream = SharedBytes(Zlib.compress(content))
    let inflated = try Zlib.decompress(stream, byteCount: byteCount, purpose: "a test")
    #expect(inflated.elementsEqual(content))
    #expect(Zlib.probe(stream, limit: byteCount) == (byteCount, true))
    #expect(Zlib.inflateWhatCanBe(stream, in: .zlib, limit: byteCount).elementsEqual(content))
    for wrong in [byteCount - 1, byteCount + 1] where wrong >= 0 {
      #expect(throws: ModelError.self) {
        try Zlib.decompress(stream, byteCount: wrong, purpose: "a test")
      }
    }
    let followed = SharedBytes(joining: [stream, SharedBytes([0])])
    #expect(throws: ModelError.malformed("1 byte after the compressed data of a test")) {
      try Zlib.decompress(followed, byteCount: byteCount, purpose: "a test")
    }
    let cut = stream.slice(0..<stream.count - 5)
    #expect(throws: ModelError.self) {
      try Zlib.decompress(cut, byteCount: byteCount, purpose: "a test")
    }
    #expect(!Zlib.probe(cut, limit: byteCount).isWhole)
  }
}
