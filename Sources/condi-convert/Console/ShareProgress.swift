import Synchronization

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
