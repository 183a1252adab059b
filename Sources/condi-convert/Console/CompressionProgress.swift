import Storage
import Synchronization
import Transform

/// Shows what a compressor does: one progress bar per activity, and a line per remark.
final class CompressionProgress: Sendable {
  private let byteCount: Int
  private let isQuiet: Bool
  private let current = Mutex<(label: String, bar: ProgressBar)?>(nil)

  /// - Parameter byteCount: the bytes of the model's tensors.
  init(byteCount: Int, isQuiet: Bool) {
    self.byteCount = byteCount
    self.isQuiet = isQuiet
  }

  /// Shows an event. It may be called from any thread.
  func show(_ event: CompressionEvent) {
    switch event {
    case .remark(let text): Console.note(text, unless: isQuiet)
    case .calibrating(let doneCount, let count):
      bar("calibrating", total: count, .share).reach(doneCount)
    case .distilling(let progress):
      let loss = String(printf: "%.4g", progress.loss)
      let psnr = String(printf: "%.2f", progress.psnr)
      bar("distilling", total: 10_000, .share).reach(
        share: progress.share,
        detail: "step \(progress.stepCount), loss \(loss), \(psnr) dB")
    case .packing(_, let count):
      bar("packing", total: byteCount, .bytes).advance(count)
    }
  }

  private func bar(_ label: String, total: Int, _ unit: ProgressBar.Unit) -> ProgressBar {
    current.withLock { current in
      if let current, current.label == label { return current.bar }
      let bar = ProgressBar(label, total: total, unit: unit, isQuiet: isQuiet)
      current = (label, bar)
      return bar
    }
  }
}
