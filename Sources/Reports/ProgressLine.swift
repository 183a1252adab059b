import Glibc

/// The text of a progress bar at one moment.
package struct ProgressLine {
  private let label: String
  private let share: Double
  private let byteCount: Int?
  private let seconds: Double
  private let detail: String

  /// Creates the text's contents.
  ///
  /// - Parameters:
  ///   - share: The share of the work that is done, from 0 to 1.
  ///   - byteCount: The number of bytes done; `nil` if the work is not counted in bytes.
  ///   - seconds: The time since the work began.
  ///   - detail: Text after the share, such as a loss.
  package init(
    label: String, share: Double, byteCount: Int?, seconds: Double, detail: String = ""
  ) {
    self.label = label
    self.share = share
    self.byteCount = byteCount
    self.seconds = seconds
    self.detail = detail
  }

  /// Returns the line in fewer than `columns` characters, because a wrapped line cannot be redrawn.
  package func text(columns: Int) -> String {
    let filled = Int(share * 30)
    let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: 30 - filled)
    let rest = [percent] + (detail.isEmpty ? [] : [detail]) + pace
    let full = [label, bar] + rest
    let short = [label] + rest
    let line = [full, short, [percent]].map { $0.joined(separator: "  ") }
    return line.first { $0.count < columns } ?? ""
  }

  private var percent: String { "\(Int(share * 100)) %" }

  /// The rate and the remaining time, once there is enough progress to estimate them.
  private var pace: [String] {
    guard seconds >= 1, share >= 0.01 else { return [] }
    var pace: [String] = []
    if let byteCount {
      pace.append(String(printf: "%.1f MB/s", Double(byteCount) / seconds / 1e6))
    }
    pace.append("\(Self.clock(seconds * (1 - share) / share)) left")
    return pace
  }

  /// Returns a duration such as `0:09`, `12:34` or `1:02:03`.
  package static func clock(_ seconds: Double) -> String {
    let whole = Int(min(seconds, 359_999).rounded(.up))
    let (hours, minutes) = (whole / 3600, whole / 60 % 60)
    return hours > 0
      ? String(printf: "%d:%02d:%02d", hours, minutes, whole % 60)
      : String(printf: "%d:%02d", minutes, whole % 60)
  }
}
