import FoundationEssentials
import Glibc
import Reports
import Synchronization

/// A line on standard error that shows progress, speed and remaining time, if that is a terminal.
///
/// The line is erased at the end and before any other message, so that it never remains on the
/// terminal.
final class ProgressBar: Sendable {
  /// The unit in which work is counted.
  enum Unit: Sendable {
    /// Bytes, with their rate shown.
    case bytes
    /// Shares of the whole.
    case share
  }

  private let label: String
  private let total: Int
  private let unit: Unit
  private let isShown: Bool
  private let start = ContinuousClock.now
  /// Whether the terminal's last line is a progress bar.
  private static let isLineDrawn = Mutex(false)
  private let state = Mutex((done: 0, lastDrawn: ContinuousClock.now - .seconds(1)))

  /// Creates a progress bar.
  ///
  /// - Parameter total: The amount of work.
  init(_ label: String, total: Int, unit: Unit = .bytes, isQuiet: Bool) {
    self.label = label
    self.total = max(1, total)
    self.unit = unit
    isShown = !isQuiet && Console.speaks && Console.isErrorATerminal
  }

  /// Creates a progress bar for work that reports its completed share.
  convenience init(_ label: String, isQuiet: Bool) {
    self.init(label, total: 10_000, unit: .share, isQuiet: isQuiet)
  }

  deinit { Self.erase() }

  /// Erases a bar's line, to make room for a message.
  static func erase() {
    isLineDrawn.withLock { isDrawn in
      if isDrawn { Console.writeError("\r\u{1B}[K") }
      isDrawn = false
    }
  }

  /// Adds `amount` to the completed work. It may be called from any thread.
  func advance(_ amount: Int) { draw { $0 += amount } }

  /// Sets the completed work. It may be called from any thread; the bar never goes backwards.
  ///
  /// - Parameter detail: Text after the share.
  func reach(_ done: Int, detail: String = "") { draw(detail) { $0 = max($0, done) } }

  /// Sets the completed share, from 0 to 1, of a bar that counts shares.
  func reach(share: Double, detail: String = "") {
    reach(Int(min(1, max(0, share)) * Double(total)), detail: detail)
  }

  private func draw(_ detail: String = "", _ change: (inout Int) -> Void) {
    guard isShown else { return }
    state.withLock { state in
      change(&state.done)
      let now = ContinuousClock.now
      guard now - state.lastDrawn > .milliseconds(100) else { return }
      state.lastDrawn = now
      let line = ProgressLine(
        label: label, share: min(1, max(0, Double(state.done) / Double(total))),
        byteCount: unit == .bytes ? state.done : nil, seconds: (now - start) / .seconds(1),
        detail: detail)
      Self.isLineDrawn.withLock { isDrawn in
        Console.writeError("\r\u{1B}[K\(line.text(columns: Console.messageWidth))")
        isDrawn = true
      }
    }
  }
}
