import FoundationEssentials
import Glibc
import Reports
import Synchronization

/// A line on standard error that shows how much of the work is done, how fast, and how long it will
/// still take; only on a terminal.
///
/// The line is removed at the end, and before anything else is said, so that a terminal shows that
/// alone.
final class ProgressBar: Sendable {
  /// What the work is counted in.
  enum Unit: Sendable {
    /// Bytes, whose rate is shown.
    case bytes
    /// Parts of the whole.
    case share
  }

  private let label: String
  private let total: Int
  private let unit: Unit
  private let isShown: Bool
  private let start = ContinuousClock.now
  /// Whether the terminal's last line is a bar's.
  private static let isLineDrawn = Mutex(false)
  private let state = Mutex((done: 0, lastDrawn: ContinuousClock.now - .seconds(1)))

  /// - Parameter total: the amount of work.
  init(_ label: String, total: Int, unit: Unit = .bytes, isQuiet: Bool) {
    self.label = label
    self.total = max(1, total)
    self.unit = unit
    isShown = !isQuiet && Console.speaks && Console.isErrorATerminal
  }

  deinit { Self.erase() }

  /// Removes a bar's line, so that something else can be said there.
  static func erase() {
    isLineDrawn.withLock { isDrawn in
      if isDrawn { Console.writeError("\r\u{1B}[K") }
      isDrawn = false
    }
  }

  /// Counts `amount` more as done; may be called from any thread.
  ///
  /// - Parameter detail: what stands after the share.
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

/// A progress bar for work that tells which share of it is done.
final class ShareProgress: Sendable {
  private static let steps = 10_000
  private let bar: ProgressBar
  private let shown = Mutex(0)

  init(_ label: String, isQuiet: Bool) {
    bar = ProgressBar(label, total: Self.steps, unit: .share, isQuiet: isQuiet)
  }

  /// - Parameter share: from 0 to 1; may be called from any thread, and never goes back.
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
