import Formats
import Storage

/// The masks of a checkpoint, which tell what layers shift their windows. The original code registers
/// one in exactly those layers: in none if a network was trained on images no larger than a window.
enum ShiftMasks {
  /// There are masks, so a layer without one does not shift.
  case present
  /// There are no masks in the whole state dictionary of a module.
  case absent
  /// There are no masks, but buffers may have been left out.
  case unknown

  /// - Parameter hasBuffers: whether the checkpoint is known to have its buffers.
  init(_ archive: TensorArchive, hasBuffers: Bool = false) {
    if archive.tensors.keys.contains(where: { $0.hasSuffix(".attn_mask") }) {
      self = .present
    } else {
      self = hasBuffers || archive.isWholeStateDictionary ? .absent : .unknown
    }
  }

  func shifts(_ weights: WeightReader, _ block: String, _ layer: Int) -> Bool {
    switch self {
    case .present: weights.contains("\(block).attn_mask")
    case .absent: false
    case .unknown: layer % 2 == 1
    }
  }

  /// Which layers shift their windows.
  struct Summary {
    /// Whether every other layer does, as in the published networks.
    let isUsual: Bool
    let text: String

    init(_ shifts: [[Bool]], window: Int) {
      let layers = shifts.flatMap { group in
        group.enumerated().map { (found: $1, usual: $0 % 2 == 1 && window > 1) }
      }
      let count = layers.count { $0.found }
      isUsual = layers.allSatisfy { $0.found == $0.usual }
      text =
        count == 0
        ? "no layer shifts its windows"
        : "\(count) of \(counted(layers.count, "layer")) shift their windows"
    }
  }

  func remarks(_ summary: Summary) -> [String] {
    switch (self, summary.isUsual) {
    case (.absent, _):
      [
        "no layer shifts its windows: the whole state dictionary has no mask (attn_mask), as of a "
          + "network trained on images no larger than a window"
      ]
    case (.present, false): ["\(summary.text), as the checkpoint's masks (attn_mask) say"]
    case (.present, true): []
    case (.unknown, _):
      [
        "the checkpoint has no masks (attn_mask), so every other layer is taken to shift its "
          + "windows, as in the published networks"
      ]
    }
  }
}
