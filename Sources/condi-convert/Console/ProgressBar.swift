import Foundation
import Synchronization

/// A line on standard error that shows how much of the work is done; only on a terminal.
///
/// The line is removed at the end, so that a terminal shows the report alone.
final class ProgressBar: Sendable {
  private let label: String
  private let total: Int
  private let isShown: Bool
  private let state = Mutex((done: 0, lastDrawn: ContinuousClock.now - .seconds(1)))

  /// - Parameter total: the amount of work in bytes.
  init(_ label: String, total: Int, isQuiet: Bool) {
    self.label = label
    self.total = max(1, total)
    isShown = !isQuiet && Console.isErrorATerminal
  }

  deinit {
    if isShown { draw("\r\u{1B}[K") }
  }

  /// Counts `amount` more bytes as done; may be called from any thread.
  ///
  /// - Parameter detail: what stands after the share.
  func advance(_ amount: Int, detail: String = "") {
    guard isShown else { return }
    state.withLock { state in
      state.done += amount
      let now = ContinuousClock.now
      guard now - state.lastDrawn > .milliseconds(100) else { return }
      state.lastDrawn = now
      let share = min(1, Double(state.done) / Double(total))
      let filled = Int(share * 30)
      let bar =
        String(repeating: "█", count: filled) + String(repeating: "░", count: 30 - filled)
      draw("\r\u{1B}[K\(label) \(bar) \(Int(share * 100)) %\(detail.isEmpty ? "" : " · ")\(detail)")
    }
  }

  private func draw(_ text: String) {
    try? FileHandle.standardError.write(contentsOf: Data(text.utf8))
  }
}
