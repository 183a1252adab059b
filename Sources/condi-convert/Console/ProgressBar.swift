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

  deinit { Self.erase() }

  /// Erases a bar's line, to make room for a message.
  static func erase() {
    isLineDrawn.withLock { isDrawn in
      if isDrawn { Console.writeError("\r\u{1B}[K") }
      isDrawn = false
    }
  }

  /// Adds `amount` to the completed work. It may be called from any thread.
  ///
  /// - Parameter detail: Text after the share.
  func advance(_ amount: Int, detail: String = "") {
    guard isShown else { return }
    state.withLock { state in
      state.done += amount
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

/// A progress bar for work that reports its completed share.
final class ShareProgress: Sendable {
  private static let steps = 10_000
  private let bar: ProgressBar
  private let shown = Mutex(0)

  init(_ label: String, isQuiet: Bool) {
    bar = ProgressBar(label, total: Self.steps, unit: .share, isQuiet: isQuiet)
  }

  /// Reports progress.
  ///
  /// - Parameter share: The completed share, from 0 to 1, from any thread; the bar never goes
  ///   backwards.
  func report(_ share: Double, detail: String = "") {
    let target = Int(min(1, max(0, share)) * Double(Self.steps))
    let advance = shown.withLock { shown in
      let advance = max(0, target - shown)
      shown += advance
      return advance
    }
    bar.advance(advance, detail: detail)
  }
}
