import Testing

@testable import Reports

@Suite struct ProgressLineTests {
  private func line(
    _ share: Double, seconds: Double, bytes: Int? = nil, columns: Int = 200
  ) -> String {
    ProgressLine(label: "packing", share: share, byteCount: bytes, seconds: seconds)
      .text(columns: columns)
  }

  @Test func lineShowsShareRateAndTimeLeft() {
    let half = String(repeating: "█", count: 15) + String(repeating: "░", count: 15)
    #expect(
      line(0.5, seconds: 10, bytes: 42_000_000) == "packing  \(half)  50 %  4.2 MB/s  0:10 left")
    #expect(line(0.5, seconds: 10) == "packing  \(half)  50 %  0:10 left")
    // It is too early for an estimate.
    #expect(line(0.5, seconds: 0.9, bytes: 1) == "packing  \(half)  50 %")
    let none = String(repeating: "░", count: 30)
    #expect(line(0.009, seconds: 100, bytes: 1) == "packing  \(none)  0 %")
  }

  @Test func lineFitsTerminal() {
    for columns in 1...100 {
      let text = line(0.25, seconds: 60, bytes: 10_000_000, columns: columns)
      #expect(text.count < columns)
    }
    #expect(line(0.25, seconds: 60, columns: 40) == "packing  25 %  3:00 left")
    #expect(line(0.25, seconds: 60, columns: 10) == "25 %")
    #expect(line(0.25, seconds: 60, columns: 4) == "")
  }

  @Test(arguments: [
    (0, "0:00"), (0.1, "0:01"), (59.2, "1:00"), (754, "12:34"), (3723, "1:02:03"),
    (.infinity, "99:59:59"),
  ])
  func clockFormatsDurations(_ seconds: Double, _ text: String) {
    #expect(ProgressLine.clock(seconds) == text)
  }
}
